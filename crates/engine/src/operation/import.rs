//! Import: bundles taken in as an audited subject, entry by entry when one of them
//! is not valid.

use phial_audit::EventKind;
use phial_fhir::issue::Issue;
use phial_fhir::json::Doc;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;
use crate::interaction::batch::Asked;
use crate::write::Write;

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
        loop {
            let mut writes: Vec<Write> = Vec::new();
            for (i, one) in self.entries(doc)?.into_iter().enumerate() {
                if done.rejected.iter().any(|(at, _)| *at == i) {
                    continue;
                }
                match one {
                    Ok(Asked::Write(write)) => writes.push(write),
                    Ok(_) => {}
                    Err(Failure::Invalid(Refusal { issues })) => done.rejected.push((i, issues)),
                    Err(other) => return Err(other),
                }
            }
            if writes.is_empty() {
                return Ok(done);
            }
            match self.write_all(caller, EventKind::Import, writes).await {
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
