//! `$everything`: the chart of a patient, or all that belongs to an encounter
//! (<https://hl7.org/fhir/R4/patient-operation-everything.html>,
//! <https://hl7.org/fhir/R4/encounter-operation-everything.html>).
//!
//! It is a search of every type in the compartment, one after the other, and what those
//! records refer to. So whatever holds for a search holds here: a class that the role
//! does not see takes no part, each record passes policy by itself before it is opened,
//! what is denied is absent, and the audit entry names every record given. The first
//! record of a chart is the patient, and whoever may not read that one is told that
//! there is none. Records of other patients never come with it.
//!
//! Pages are of one moment, as with a search: the token holds the position in the log.
//! Permission and purge count afresh on each page.

use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{LogicalId, Seq};
use phial_fhir::capability::stored_types;
use phial_fhir::compartment::parameters_of;
use phial_fhir::definitions::{ResourceType, compartment};
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Include, Query, SearchType, params, parse_query, primary_date_param};
use phial_policy::{Action, Permit};
use phial_store::index::Hit;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::search::{BundleWriter, Found};
use crate::paging::{EverythingToken, Paging};
use crate::released::Released;

/// `$everything` as it was asked for.
#[derive(Clone, Debug)]
pub struct Everything {
    /// Patient or Encounter.
    pub ty: ResourceType,
    /// Its logical id.
    pub id: LogicalId,
    /// Parameters in the order given, decoded.
    pub pairs: Vec<(String, String)>,
    /// The FHIR base URL, for links and `fullUrl`.
    pub base: String,
}

/// What the parameters ask for.
#[derive(Default)]
struct Wanted {
    count: Option<u32>,
    /// `_type`: nothing but these.
    types: Option<Vec<ResourceType>>,
    /// `_since`, as a condition on `_lastUpdated`.
    since: Option<(String, String)>,
    /// `start` and `end`, as values of a date parameter.
    care: Vec<String>,
}

impl Wanted {
    fn of(pairs: &[(String, String)]) -> Result<Self, Failure> {
        let mut wanted = Wanted::default();
        for (name, value) in pairs {
            match name.as_str() {
                "_page" => {}
                "_count" => {
                    let count = value.parse().ok().filter(|n| *n > 0);
                    wanted.count = Some(count.ok_or_else(|| bad("_count", "a number above 0"))?);
                }
                "_type" => {
                    let types = wanted.types.get_or_insert_default();
                    for name in value.split(',') {
                        let ty = ResourceType::from_name(name.trim())
                            .ok_or_else(|| bad("_type", "names of resource types"))?;
                        types.push(ty);
                    }
                }
                "_since" => {
                    let pair = ("_lastUpdated".to_owned(), format!("ge{value}"));
                    condition("Patient", &pair).ok_or_else(|| bad("_since", "an instant"))?;
                    wanted.since = Some(pair);
                }
                "start" | "end" => {
                    let prefix = if name == "start" { "ge" } else { "le" };
                    let value = format!("{prefix}{value}");
                    condition("Encounter", &("date".to_owned(), value.clone()))
                        .ok_or_else(|| bad(name, "a date"))?;
                    wanted.care.push(value);
                }
                "_format" | "_pretty" => {}
                _ => {
                    return Err(Failure::invalid(
                        IssueCode::NotSupported,
                        "",
                        "$everything takes start, end, _since, _type and _count",
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

fn bad(name: &str, expected: &str) -> Failure {
    Failure::invalid(IssueCode::Value, name, format!("{name} is not {expected}"))
}

/// Whether a search of the type may have this condition.
fn condition(ty: &str, pair: &(String, String)) -> Option<Query> {
    parse_query(ResourceType::from_name(ty)?, std::slice::from_ref(pair)).ok()
}

impl Engine {
    /// One page of what belongs to a patient or an encounter, as a searchset Bundle.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when the patient or encounter is absent or invisible, the
    /// same in both cases; [`Failure::Gone`] when it was deleted, and for a paging token
    /// past its life; [`Failure::Invalid`] for a parameter that is none of the
    /// operation's; [`Failure::Busy`] when a store, the keys or the audit log can't be
    /// reached.
    pub async fn everything(
        &self,
        caller: &Caller,
        asked: Everything,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Operation);
        entry::note(&mut e, DetailKey::Operation, "everything".to_owned());
        let row = tenant.vessel.row_id(asked.ty, &asked.id).map_err(Self::store_failure(caller))?;
        let found = tenant.vessel.find_row(row).map_err(Self::store_failure(caller))?;
        let Some(found) = found else {
            entry::absent(&mut e, asked.ty, row);
            let outcome = OutcomeCode::NotFound;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        };
        match self.decide(tenant, caller, Action::Read, &found)? {
            Err(denial) => {
                entry::denied(&mut e, &found, &denial);
                let outcome = OutcomeCode::Denied;
                return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
            }
            Ok(permit) if found.header.deleted => {
                entry::target(&mut e, &found, &permit);
                let outcome = OutcomeCode::NotFound;
                return Err(self.refuse(tenant, caller, e, outcome, Failure::Gone).await);
            }
            Ok(_) => {}
        }
        match self.everything_page(tenant, caller, &asked, &found, &mut e) {
            Ok(Found { body, permits }) => {
                self.release(tenant, caller, e, &permits, body, None).await
            }
            Err(failure @ (Failure::Invalid(_) | Failure::Gone)) => {
                let mut e = entry::of(caller, EventKind::Operation);
                entry::note(&mut e, DetailKey::Operation, "everything".to_owned());
                entry::absent(&mut e, asked.ty, row);
                Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    fn everything_page(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        asked: &Everything,
        focus: &Unopened,
        e: &mut Entry,
    ) -> Result<Found, Failure> {
        let keys = tenant
            .vessel
            .keystore()
            .tenant_keys(&caller.subject.tenant)
            .map_err(Self::store_failure(caller))?;
        let name = format!("{}/{}", asked.ty.name(), asked.id.as_str());
        let token =
            EverythingToken::asked(&asked.pairs, &keys.paging, caller, |t| t.record == name)?;
        let pairs = token.as_ref().map_or_else(|| asked.pairs.clone(), |t| t.pairs.clone());
        let wanted = Wanted::of(&pairs)?;
        let phases = self.phases(caller, asked, &wanted)?;
        let most = self.settings().max_page_size;
        let limit = wanted.count.unwrap_or(most).min(most);

        let caught_up = tenant.vessel.catch_up().map_err(Self::store_failure(caller))?;
        let at = token.as_ref().map_or(caught_up, |t| Seq(t.at));
        let mut phase = token.as_ref().map_or(0, |t| t.phase);
        let mut after = EverythingToken::behind(token.as_ref().and_then(|t| t.after.as_deref()))?;
        let first = token.clone().unwrap_or_else(|| EverythingToken {
            record: name,
            pairs: pairs.iter().filter(|(k, _)| k != "_page").cloned().collect(),
            at: at.0,
            phase: 0,
            after: None,
            taken: EverythingToken::since(None, caller),
        });
        let access = self.access(tenant, caller, Action::Search)?;
        let viewer = caller.viewer();
        let mut hits: Vec<Hit> = Vec::new();
        let mut next = None;
        while let Some(query) = phases.get(phase as usize) {
            let left = limit - u32::try_from(hits.len()).unwrap_or(limit).min(limit);
            if left == 0 {
                next = Some(EverythingToken { phase, after: None, ..first.clone() });
                break;
            }
            let page = tenant
                .vessel
                .search(query, &viewer, &access, at, after.as_ref(), left, false)
                .map_err(Self::store_failure(caller))?;
            hits.extend(page.hits);
            if let Some(key) = page.next {
                next = Some(EverythingToken { phase, after: Some(key.encode()), ..first.clone() });
                break;
            }
            after = None;
            phase += 1;
        }
        let included = tenant
            .vessel
            .includes(&referred_by(&hits, &wanted), &hits, &viewer, &access, at)
            .map_err(Self::store_failure(caller))?;

        let mut out = BundleWriter::new(&asked.base, None, 4096 * (1 + hits.len()));
        let link = |t: &EverythingToken| {
            let token = t.seal(&keys.paging, caller, self);
            format!("{}/{}/$everything?_page={token}", asked.base, t.record)
        };
        out.link("self", &link(&first));
        if let Some(next) = &next {
            out.link("next", &link(next));
        }
        let mut permits: Vec<Permit> = Vec::new();
        let older = token.is_some();
        for (hits, mode) in [(&hits, "match"), (&included, "include")] {
            self.each_hit(tenant, caller, hits, &mut |hit, found| {
                if mode == "include" && !goes_with(asked, focus, &found) {
                    return Ok(());
                }
                if older && !self.still_visible(tenant, caller, hit)? {
                    return Ok(());
                }
                self.deliver(tenant, caller, found, mode, None, e, &mut permits, &mut out)
            })?;
        }
        for patient in &focus.header.patients {
            e.patient(patient);
        }
        Ok(Found { body: out.finish(), permits })
    }

    /// The searches that make up the operation, in the order of its pages: the patient
    /// or encounter, then the types of the compartment. A type of which the role never
    /// sees anything has none.
    fn phases(
        &self,
        caller: &Caller,
        asked: &Everything,
        wanted: &Wanted,
    ) -> Result<Vec<Query>, Failure> {
        let member = |ty: ResourceType| match asked.ty.name() {
            "Patient" => !parameters_of(ty).is_empty() || matches!(ty.name(), "Bundle" | "Binary"),
            _ => !compartment(asked.ty, ty).is_empty(),
        };
        let others = stored_types().filter(|ty| *ty != asked.ty && member(*ty));
        let mut phases = Vec::new();
        for ty in std::iter::once(asked.ty).chain(others) {
            if wanted.types.as_ref().is_some_and(|types| !types.contains(&ty))
                || self.policy().ever(&caller.subject, Action::Search, ty.name()).is_empty()
            {
                continue;
            }
            let mut pairs: Vec<(String, String)> = wanted.since.iter().cloned().collect();
            let date = primary_date_param(ty)
                .filter(|p| p.unsearchable().is_none())
                .filter(|_| !wanted.care.is_empty() && ty != asked.ty);
            let mut queries = Vec::new();
            match date {
                None => queries.push(pairs),
                // What bears no date may be of that time, too: a chart must not lose it.
                Some(date) => {
                    let mut undated = pairs.clone();
                    undated.push((format!("{}:missing", date.code()), "true".to_owned()));
                    pairs.extend(wanted.care.iter().map(|v| (date.code().to_owned(), v.clone())));
                    queries.extend([pairs, undated]);
                }
            }
            for pairs in queries {
                let mut query = parse_query(ty, &pairs)
                    .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
                query.compartment = Some((asked.ty, asked.id.clone()));
                // A role that does not see when something was can't ask by it.
                if self.guard(caller, &query).is_ok() {
                    phases.push(query);
                }
            }
        }
        Ok(phases)
    }
}

/// Whether what a record of the chart refers to comes with it: the directory does, and for
/// an encounter its own patient's records. Other patients never do.
fn goes_with(asked: &Everything, focus: &Unopened, found: &Unopened) -> bool {
    let about = &found.header.patients;
    about.is_empty() || asked.ty.name() != "Patient" && *about == focus.header.patients
}

/// Everything that the hits may refer to.
fn referred_by(hits: &[Hit], wanted: &Wanted) -> Vec<Include> {
    let mut types: Vec<ResourceType> = hits.iter().map(|h| h.ty).collect();
    types.sort_unstable();
    types.dedup();
    let targets: Vec<Option<ResourceType>> = match &wanted.types {
        Some(types) => types.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let mut all = Vec::new();
    for source in types {
        for param in params(source) {
            if param.kind() == SearchType::Reference && param.unsearchable().is_none() {
                all.extend(targets.iter().map(|target| Include {
                    source: Some(source),
                    param: Some(param),
                    target: *target,
                    iterate: false,
                }));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<Wanted, Failure> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Wanted::of(&pairs)
    }

    #[test]
    fn parameters_are_those_of_the_operation() {
        let wanted = check(&[
            ("_type", "Observation,Condition"),
            ("_type", "Encounter"),
            ("start", "2020-01"),
            ("end", "2021"),
            ("_since", "2021-01-01T00:00:00Z"),
            ("_count", "7"),
        ])
        .unwrap();
        assert_eq!(wanted.types.unwrap().len(), 3);
        assert_eq!(wanted.care, ["ge2020-01", "le2021"]);
        assert_eq!(wanted.count, Some(7));
        assert_eq!(wanted.since.unwrap().1, "ge2021-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_no_parameter_or_no_value_is_refused_without_repeating_it() {
        for (name, value) in [
            ("code", "Zephyrhaugen"),
            ("_count", "0"),
            ("_count", "Zephyrhaugen"),
            ("_type", "Observation,Zephyrhaugen"),
            ("_since", "Zephyrhaugen"),
            ("start", "Zephyrhaugen"),
            ("end", "ge2020"),
        ] {
            match check(&[(name, value)]) {
                Err(f @ Failure::Invalid(_)) => {
                    assert!(!format!("{f:?}").contains("Zephyrhaugen"), "{name}");
                }
                _ => panic!("{name}={value} was taken"),
            }
        }
    }

    #[test]
    fn every_type_with_a_date_can_be_asked_for_by_it() {
        for ty in stored_types() {
            let Some(date) = primary_date_param(ty).filter(|p| p.unsearchable().is_none()) else {
                continue;
            };
            for pair in [
                (date.code().to_owned(), "ge2020".to_owned()),
                (format!("{}:missing", date.code()), "true".to_owned()),
            ] {
                assert!(condition(ty.name(), &pair).is_some(), "{ty}?{}", pair.0);
            }
        }
    }
}
