//! Lists of codes on the stage, and whether what is stored has the labels that they give.

use std::collections::BTreeSet;

use phial_base::{Label, LabelSet};
use phial_fhir::sensitive::Labeller;

use super::Stage;

/// What the patients and the subscription of the stage bear.
pub(super) const SYSTEM: &str = "http://snomed.info/sct";
pub(super) const CODE: &str = "87915002";
/// A label that takes a record from nobody who is on the stage.
const LABEL: Label = Label::HTEST;

impl Stage {
    pub(super) fn labeller(&self) -> Labeller {
        let own = format!("label {}\nsnomed {CODE}\n", LABEL.code());
        Labeller::with(if self.model.lists == 0 { "" } else { &own }).unwrap()
    }

    /// Every version has the labels of the lists of the last start, old ones too.
    pub(super) fn labels_are_those_of_the_lists(&self, why: &str) {
        let coded: BTreeSet<&str> = self.model.told.keys().copied().chain(["s1"]).collect();
        let listed = self.model.lists == 1;
        self.vessel(|v| {
            let mut all = Vec::new();
            v.records()
                .all(&mut |_, row, version, _| {
                    all.push((row, version));
                    Ok(())
                })
                .unwrap();
            for (row, version) in all {
                let Some(found) = v.find_version(row, version).unwrap() else { continue };
                let h = &found.header;
                if h.deleted {
                    continue;
                }
                let bears = listed && coded.contains(h.id.as_str());
                let wanted = if bears { LabelSet::NONE.with(LABEL) } else { LabelSet::NONE };
                assert_eq!(h.labels, wanted, "{why}: {} {} v{version}", h.ty, h.id.as_str());
            }
        })
        .unwrap();
    }
}
