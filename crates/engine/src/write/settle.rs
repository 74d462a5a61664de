//! Which records are meant: ids of our own, and what conditions find
//! (<https://hl7.org/fhir/R4/http.html#cond-update>). Entries of a transaction are settled
//! in FHIR's order: deletes, creates, updates and patches; each condition sees what the
//! entries before it leave (decision 0037).

use std::collections::HashMap;

use phial_base::{LogicalId, random_logical_id};
use phial_fhir::Node;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::json::Doc;

use super::overlay::Overlay;
use super::refer::Names;
use super::{Method, Write};
use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

/// The most records that one conditional delete ends.
pub(crate) const MOST_DELETED: usize = 1_000;
/// The entry of a Provenance that came beside the writes.
pub(super) const PROVENANCE: usize = usize::MAX;

/// A write with its id settled, before it is planned.
pub(crate) struct Settled {
    pub(crate) write: Write,
    pub(crate) id: LogicalId,
    /// The number of the write among those that came.
    pub(super) entry: usize,
    /// Set when `If-None-Exist` matched: nothing is to be written.
    pub(super) existing: bool,
    /// Set when the condition of a delete matched nothing.
    pub(super) nothing: bool,
}

impl Settled {
    fn new(write: Write, id: LogicalId, entry: usize) -> Self {
        Settled { write, id, entry, existing: false, nothing: false }
    }
}

const fn rank(method: Method) -> u8 {
    match method {
        Method::Delete => 0,
        Method::Create => 1,
        Method::Update | Method::Patch => 2,
    }
}

impl Engine {
    /// Gives every write its id, evaluating conditions.
    pub(super) fn settle(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        writes: Vec<Write>,
        provenance: Option<Doc>,
    ) -> Result<Vec<Settled>, Failure> {
        // Ids that hang on no condition first: whatever refers to them is known by then.
        let ids: Vec<Option<LogicalId>> = writes
            .iter()
            .map(|w| match (&w.id, &w.condition) {
                (Some(id), _) => Some(id.clone()),
                (None, None) => Some(random_logical_id(self.rng())),
                (None, Some(_)) => None,
            })
            .collect();
        let mut names = Names::default();
        for (write, id) in writes.iter().zip(&ids) {
            if let Some(id) = id {
                names.add(write, id);
            }
        }
        let mut order: Vec<(usize, Write, Option<LogicalId>)> =
            writes.into_iter().zip(ids).enumerate().map(|(n, (w, id))| (n, w, id)).collect();
        order.sort_by_key(|(_, write, _)| rank(write.method));
        let mut overlay = Overlay::default();
        let mut settled: Vec<Settled> = Vec::with_capacity(order.len() + 1);
        for (entry, write, id) in order {
            if let Some(id) = id {
                settled.push(Settled::new(write, id, entry));
                continue;
            }
            let found = self.meant(tenant, caller, &write, &mut overlay, &settled, &names)?;
            if let [one] = found.as_slice() {
                names.add(&write, one);
            }
            match write.method {
                Method::Create => settled.push(self.conditional_create(write, entry, found)?),
                Method::Update => {
                    let one = self.conditional_update(tenant, caller, write, entry, found)?;
                    names.add(&one.write, &one.id);
                    settled.push(one);
                }
                Method::Patch => {
                    let id = only(found)?.ok_or(Failure::NotFound)?;
                    settled.push(Settled::new(write, id, entry));
                }
                Method::Delete => self.conditional_delete(write, entry, found, &mut settled)?,
            }
        }
        settled.sort_by_key(|s| s.entry);
        if let Some(body) = provenance {
            settled.push(self.provenance(body)?);
        }
        Ok(settled)
    }

    fn meant(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        write: &Write,
        overlay: &mut Overlay,
        settled: &[Settled],
        names: &Names,
    ) -> Result<Vec<LogicalId>, Failure> {
        let condition = write.condition.as_deref().unwrap_or_default();
        let most = if write.many { MOST_DELETED } else { 1 };
        let query = self.condition(caller, write.ty, condition, &write.place)?;
        let overlay = Some((overlay, settled, names));
        let found = self.matching(tenant, caller, &query, most + 1, overlay)?;
        if write.many && found.len() > most {
            return Err(Failure::Conflict {
                precondition: true,
                refusal: Refusal::new(
                    IssueCode::TooCostly,
                    write.place.clone(),
                    format!("the condition matches more than {MOST_DELETED} records"),
                ),
            });
        }
        Ok(found)
    }

    fn conditional_create(
        &self,
        write: Write,
        entry: usize,
        found: Vec<LogicalId>,
    ) -> Result<Settled, Failure> {
        Ok(match only(found)? {
            Some(id) => Settled { existing: true, ..Settled::new(write, id, entry) },
            None => Settled::new(write, random_logical_id(self.rng()), entry),
        })
    }

    /// <https://hl7.org/fhir/R4/http.html#cond-update>
    fn conditional_update(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        write: Write,
        entry: usize,
        found: Vec<LogicalId>,
    ) -> Result<Settled, Failure> {
        let path =
            if write.place.is_empty() { "id".to_owned() } else { format!("{}.id", write.place) };
        let given = write.body.as_ref().and_then(|d| d.root().member("id"));
        let given = match given.map(|n| n.as_str().map(|t| LogicalId::new(&t))) {
            None => None,
            Some(Some(Ok(id))) => Some(id),
            Some(_) => return Err(Failure::invalid(IssueCode::Value, path, "no valid logical id")),
        };
        let id = match (only(found)?, given) {
            (Some(id), None) => id,
            (Some(id), Some(given)) if id == given => id,
            (Some(_), Some(_)) => {
                return Err(Failure::invalid(
                    IssueCode::Value,
                    path,
                    "the id in the resource is not that of the record that matches",
                ));
            }
            (None, None) => random_logical_id(self.rng()),
            (None, Some(given)) => {
                let there = tenant.vessel.find(write.ty, &given);
                let there = there.map_err(Self::store_failure(caller))?;
                if there.is_some_and(|o| !o.header.deleted) {
                    return Err(Failure::Conflict {
                        precondition: false,
                        refusal: Refusal::new(
                            IssueCode::Conflict,
                            path,
                            "nothing matches, and the id in the resource is another record's",
                        ),
                    });
                }
                given
            }
        };
        Ok(Settled::new(write, id, entry))
    }

    fn conditional_delete(
        &self,
        write: Write,
        entry: usize,
        found: Vec<LogicalId>,
        settled: &mut Vec<Settled>,
    ) -> Result<(), Failure> {
        if found.is_empty() {
            // An ordinary delete of nothing.
            let id = random_logical_id(self.rng());
            settled.push(Settled { nothing: true, ..Settled::new(write, id, entry) });
            return Ok(());
        }
        if write.many {
            let all = found.into_iter().map(|id| Settled::new(write.clone(), id, entry));
            settled.extend(all);
        } else if let Some(id) = only(found)? {
            settled.push(Settled::new(write, id, entry));
        }
        Ok(())
    }

    /// The Provenance of the `X-Provenance` header
    /// (<https://hl7.org/fhir/R4/provenance.html#header>): its target is ours to say.
    fn provenance(&self, body: Doc) -> Result<Settled, Failure> {
        let place = "X-Provenance";
        let bad = |member: &str, text: &str| {
            Err(Failure::invalid(IssueCode::Invalid, format!("{place}.{member}"), text))
        };
        let root = body.root();
        let Some(ty) = ResourceType::from_name("Provenance") else { return Err(Failure::NotFound) };
        if root.member("resourceType").and_then(Node::as_str).as_deref() != Some(ty.name()) {
            return bad("resourceType", "the header holds a Provenance");
        }
        if root.member("target").is_some() {
            return bad("target", "the target is what this request writes: leave it out");
        }
        let mut write = Write::new(Method::Create, ty, None);
        write.body = Some(body);
        write.place = place.to_owned();
        Ok(Settled::new(write, random_logical_id(self.rng()), PROVENANCE))
    }
}

/// The one record that a condition may match.
fn only(found: Vec<LogicalId>) -> Result<Option<LogicalId>, Failure> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (one, None) => Ok(one),
        _ => Err(Failure::Conflict {
            precondition: true,
            refusal: Refusal::new(
                IssueCode::MultipleMatches,
                "",
                "the condition matches more than one record",
            ),
        }),
    }
}

/// The records of a transaction by row, for those that ask by condition.
pub(super) type ByRow = HashMap<phial_base::RowId, Option<LogicalId>>;
