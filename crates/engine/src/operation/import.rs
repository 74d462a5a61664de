//! Import: bundles taken in as an audited subject, entry by entry when one of them
//! is not valid.
//!
//! The same bundle again stores nothing twice, whenever and wherever it was interrupted:
//! what gets an id of ours gets the same one each time, and what is there already as it
//! came is left as it is. So no journal of progress is kept, which could be wrong.

use phial_audit::EventKind;
use phial_base::Version;
use phial_fhir::issue::Issue;
use phial_fhir::json::Doc;
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;
use crate::interaction::batch::Asked;
use crate::write::{Method, Plan, Settled, Write};

/// What became of one bundle.
#[derive(Debug, Default)]
pub struct Imported {
    /// Types of the resources stored or found there already, one each.
    pub stored: Vec<phial_fhir::definitions::ResourceType>,
    /// Index of each entry that was rejected, with its issues.
    pub rejected: Vec<(usize, Vec<Issue>)>,
}

impl Engine {
    /// Takes in a transaction or batch Bundle as one commit. Entries that are not
    /// valid are left out and reported; the others are stored.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the Bundle itself can't be read; else as
    /// [`Engine::transaction`].
    pub async fn import(&self, caller: &Caller, doc: &Doc) -> Result<Imported, Failure> {
        let mut done = Imported::default();
        let tenant = self.home(caller)?;
        let bundle = phial_crypto::sha256(doc.root().text().as_bytes());
        loop {
            let mut writes: Vec<Write> = Vec::new();
            for (i, one) in self.entries(doc, None)?.into_iter().enumerate() {
                if done.rejected.iter().any(|(at, _)| *at == i) {
                    continue;
                }
                match one {
                    Ok((Asked::Write(mut write), _)) => {
                        let unnamed = write.id.is_none() && write.condition.is_none();
                        if write.method == Method::Create && unnamed {
                            let id = tenant.vessel.import_id(&bundle, i);
                            write.id = Some(id.map_err(Self::store_failure(caller))?);
                        }
                        writes.push(write);
                    }
                    Ok(_) => {}
                    Err(Failure::Invalid(Refusal { issues })) => done.rejected.push((i, issues)),
                    Err(other) => return Err(other),
                }
            }
            if writes.is_empty() {
                return Ok(done);
            }
            match self.write_all(caller, EventKind::Import, writes, None).await {
                Ok(written) => {
                    done.stored = written.iter().map(|w| w.ty).collect();
                    return Ok(done);
                }
                Err(Failure::Invalid(Refusal { issues })) => {
                    let before = done.rejected.len();
                    for issue in issues {
                        let Some(at) = entry_of(&issue.path) else {
                            return Err(Failure::Invalid(Refusal { issues: vec![issue] }));
                        };
                        match done.rejected.iter_mut().find(|(i, _)| *i == at) {
                            Some((_, known)) => known.push(issue),
                            None => done.rejected.push((at, vec![issue])),
                        }
                    }
                    if done.rejected.len() == before {
                        return Err(Failure::NotFound);
                    }
                }
                Err(other) => return Err(other),
            }
        }
    }
}

impl Plan<'_> {
    /// Whether an import need not store this: the record that it creates is there, or
    /// was and is deleted; or the current version is what it would store, to the byte.
    pub(crate) fn imported_before(&self, s: &Settled, old: &Unopened) -> Result<bool, Failure> {
        match (s.write.method, &s.write.body) {
            (Method::Create, _) => Ok(true),
            (Method::Update, Some(doc)) if !old.header.deleted => self.holds(s, doc, old),
            _ => Ok(false),
        }
    }

    fn holds(&self, s: &Settled, doc: &Doc, old: &Unopened) -> Result<bool, Failure> {
        let Plan { engine, tenant, caller, .. } = self;
        let Ok(permit) = engine.decide(tenant, caller, Action::Read, old)? else {
            return Ok(false);
        };
        let Ok(at) = jiff::Timestamp::from_microsecond(old.header.last_updated) else {
            return Ok(false);
        };
        let mut failed = None;
        let version: Version = old.version;
        let text = phial_fhir::stamp(doc, &s.id, version, &format!("{at:.3}"), &mut |link| {
            self.referred(s, link, &mut failed)
        });
        let (Ok(text), None) = (text, failed) else { return Ok(false) };
        let opened = tenant.vessel.open_record(&permit, old).map_err(self.failed())?;
        Ok(opened.withheld.is_empty() && opened.body() == text)
    }
}

/// The entry that a path such as `Bundle.entry[12].resource.code` is in.
fn entry_of(path: &str) -> Option<usize> {
    path.strip_prefix("Bundle.entry[")?.split(']').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_entry() {
        assert_eq!(entry_of("Bundle.entry[12].resource.Patient.name[0]"), Some(12));
        assert_eq!(entry_of("Patient.name"), None);
    }
}
