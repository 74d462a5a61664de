//! What is asked for on the stage beyond one patient's record.

use phial_engine::interaction::search::Search;
use phial_engine::{Failure, Write};
use phial_fhir::definitions::ResourceType;
use phial_fhir::{Doc, Limits};

use super::{Stage, id, patient, said};

impl Stage {
    pub(super) fn put_joint(&self, a: &str, b: &str) -> Result<(), Failure> {
        let text = format!(
            r#"{{"resourceType":"Provenance","id":"joint","target":[{{"reference":"Patient/{a}"}},{{"reference":"Patient/{b}"}}],"recorded":"2026-01-01T00:00:00Z","agent":[{{"who":{{"display":"x"}}}}]}}"#
        );
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let engine = &self.live.as_ref().unwrap().engine;
        let caller = self.caller("import-client");
        let ty = ResourceType::from_name("Provenance").unwrap();
        self.wait(engine.write(&caller, Write::update(ty, id("joint"), doc), None)).map(|_| ())
    }

    pub(super) fn search(&self, pairs: &[(&str, &str)]) -> Result<usize, String> {
        let engine = self.live()?.engine.clone();
        let search = Search {
            ty: patient(),
            pairs: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            compartment: None,
            base: "https://here/fhir".to_owned(),
            lenient: false,
        };
        let caller = self.caller("import-client");
        let task = self
            .runtime
            .spawn(async move { engine.search(&caller, search).await.map(|r| r.body().to_vec()) });
        let found = self.wait(task).unwrap().map_err(said)?;
        let json: serde_json::Value = serde_json::from_slice(&found).unwrap();
        Ok(json["entry"].as_array().map_or(0, Vec::len))
    }
}
