//! How a viewer is tied to patients, read off the current records themselves: care
//! teams, encounters, appointments, general practitioner, a role at the managing
//! organization, being the patient. Ended, cancelled and mistaken records tie nobody, nor
//! does a care team that is proposed or suspended, and a record ties from and until its own
//! time says: a care team during its period and its participant's within it, an
//! encounter from a week before it until three years after it (for as long CPT speaks of an
//! established patient), an appointment from when it is booked until 90 days after it.
//! Without a time it ties until it ends.
//!
//! Found once per viewer and kept until a record changes that could change the answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use phial_base::LogicalId;
use phial_fhir::ResourceType;
use phial_fhir::search::{ParamId, param};
use phial_policy::{Relationship, RelationshipSet};
use rusqlite::Connection;

use super::dict::{Kind, Names};
use super::list::{self, Which};
use super::predicate::Version;
use super::stored::{fetch, res_text, resource, terms};
use super::values::Val;
use super::write::patient_type;
use super::{Index, Viewer, db, lock, unusable};
use crate::error::Error;

/// Viewers whose relationships are kept.
const KEPT: usize = 512;
/// Patients whose ids are kept by their number.
const NUMBERS: usize = 100_000;

/// A kind of record that ties a practitioner to the patients that it names.
struct Source {
    ty: ResourceType,
    tie: Relationship,
    /// Parameters that name the practitioner or one of their roles.
    who: Vec<u16>,
    /// Parameters that name the patient; empty: the record is the patient's own.
    whom: Vec<u16>,
    status: Option<u16>,
    /// States in which it ties nobody.
    ended: &'static [&'static str],
    /// The parameter of its time.
    date: Option<u16>,
    /// How long before and after its time it ties, microseconds.
    slack: (i64, i64),
}

const DAY: i64 = 86_400_000_000;

struct Sources {
    ties: Vec<Source>,
    role: Option<RoleParams>,
    managing: Option<(ResourceType, u16)>,
    types: HashSet<u8>,
}

struct RoleParams {
    ty: ResourceType,
    practitioner: u16,
    organization: u16,
    active: u16,
}

fn numbers(ty: ResourceType, codes: &[&str]) -> Vec<u16> {
    codes.iter().filter_map(|c| param(ty, c).map(ParamId::number)).collect()
}

fn sources() -> &'static Sources {
    static SOURCES: OnceLock<Sources> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut ties = Vec::new();
        let mut add = |name, tie, who: &[&str], whom: &[&str], ended, (before, after)| {
            if let Some(ty) = ResourceType::from_name(name) {
                ties.push(Source {
                    ty,
                    tie,
                    who: numbers(ty, who),
                    whom: numbers(ty, whom),
                    status: param(ty, "status").map(ParamId::number),
                    ended,
                    date: param(ty, "date").map(ParamId::number),
                    slack: (before * DAY, after * DAY),
                });
            }
        };
        add(
            "CareTeam",
            Relationship::CareTeam,
            &["participant"],
            &["patient", "subject"],
            &["proposed", "suspended", "inactive", "entered-in-error"],
            (0, 0),
        );
        add(
            "Encounter",
            Relationship::Encounter,
            &["participant", "practitioner"],
            &["patient", "subject"],
            &["cancelled", "entered-in-error"],
            (7, 3 * 365),
        );
        add(
            "Appointment",
            Relationship::Appointment,
            &["actor", "practitioner"],
            &["actor", "patient"],
            &["cancelled", "noshow", "entered-in-error"],
            (i64::MAX / DAY, 90),
        );
        let gp = Relationship::GeneralPractitioner;
        add("Patient", gp, &["general-practitioner"], &[], &[], (0, 0));
        let role = ResourceType::from_name("PractitionerRole").and_then(|ty| {
            let number = |code| param(ty, code).map(ParamId::number);
            Some(RoleParams {
                ty,
                practitioner: number("practitioner")?,
                organization: number("organization")?,
                active: number("active")?,
            })
        });
        let managing = ResourceType::from_name("Patient")
            .and_then(|ty| Some((ty, param(ty, "organization")?.number())));
        let types =
            ties.iter().map(|t| t.ty).chain(role.iter().map(|r| r.ty)).map(ResourceType::number);
        Sources { types: types.collect(), ties, role, managing }
    })
}

/// Whether records of this type tie anybody.
pub(super) fn matters(ty: ResourceType) -> bool {
    sources().types.contains(&ty.number())
}

/// Adds the resources that a version refers to.
pub(super) fn touched_by_values(names: &Names, vals: &[Val], out: &mut HashSet<i64>) {
    for v in vals {
        if let Val::Post { pcode, term } = v
            && names.pcode(*pcode).is_some_and(|p| p.kind == Kind::Ref)
        {
            out.insert(*term);
        }
    }
}

/// As [`touched_by_values`], of a stored version.
pub(super) fn touched_by_version(
    conn: &Connection,
    names: &Names,
    vid: i64,
    out: &mut HashSet<i64>,
) -> Result<(), Error> {
    if let Some(v) = fetch(conn, names, vid)? {
        touched_by_values(names, &v.vals, out);
    }
    Ok(())
}

/// From when until when a relationship holds, microseconds since the epoch, both included.
type Span = (i64, i64);

const ALWAYS: Span = (i64::MIN, i64::MAX);

/// A viewer's relationships, by patient number.
#[derive(Debug, Default)]
pub(super) struct Related {
    /// Those that hold at all times.
    ties: HashMap<i64, RelationshipSet>,
    /// Those that hold for a time.
    timed: HashMap<i64, Vec<(Relationship, Span)>>,
    /// Records whose mention in a changed record makes this stale.
    rests_on: HashSet<i64>,
}

impl Related {
    /// The relationships at a moment, or (`None`) those of any moment.
    pub(super) fn of(&self, patient: i64, now: Option<i64>) -> RelationshipSet {
        let always = self.ties.get(&patient).copied().unwrap_or_default();
        let Some(timed) = self.timed.get(&patient) else { return always };
        let holds = |(low, high): Span| now.is_none_or(|now| low <= now && now <= high);
        timed.iter().filter(|(_, span)| holds(*span)).fold(always, |set, (r, _)| set.with(*r))
    }

    /// Every set of relationships that the viewer can have at a moment to what a record is
    /// about: to no patient, to one, or to several at once.
    pub(super) fn sets(&self, now: Option<i64>) -> HashSet<RelationshipSet> {
        let patients = self.ties.keys().chain(self.timed.keys());
        let to_one: HashSet<RelationshipSet> = patients.map(|p| self.of(*p, now)).collect();
        let mut all = HashSet::from([RelationshipSet::NONE]);
        for r in &to_one {
            let with: Vec<_> = all.iter().map(|other| r.and(*other)).collect();
            all.extend(with);
            all.insert(*r);
        }
        all
    }

    /// Whether a relationship holds at all times already.
    fn always(&self, patient: i64, r: Relationship) -> bool {
        self.ties.get(&patient).is_some_and(|set| set.has(r))
    }

    fn tie(&mut self, patient: i64, r: Relationship, span: Span) {
        if span == ALWAYS {
            let set = self.ties.entry(patient).or_default();
            *set = set.with(r);
            return;
        }
        let timed = self.timed.entry(patient).or_default();
        let within = |(low, high): Span| low <= span.0 && span.1 <= high;
        if !timed.iter().any(|(known, s)| *known == r && within(*s)) {
            timed.push((r, span));
        }
    }
}

/// Relationships of the viewers seen last.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Grows with every change, so that what was read before one is not kept after it.
    epoch: u64,
    by_viewer: HashMap<Viewer, Arc<Related>>,
    order: VecDeque<Viewer>,
}

impl Cache {
    /// Forgets the viewers that rest on one of these; all of them for `None`.
    pub(super) fn invalidate(&mut self, touched: Option<&HashSet<i64>>) {
        self.epoch += 1;
        match touched {
            Some(touched) => self.by_viewer.retain(|_, r| r.rests_on.is_disjoint(touched)),
            None => self.by_viewer.clear(),
        }
        let kept = &self.by_viewer;
        self.order.retain(|v| kept.contains_key(v));
    }
}

/// Reads one viewer's relationships.
struct Reading<'a> {
    index: &'a Index,
    conn: &'a Connection,
    names: &'a Names,
    at: i64,
}

impl Reading<'_> {
    /// The current versions of a type that refer to `target` by one of the parameters.
    fn referring(
        &self,
        ty: ResourceType,
        by: &[u16],
        target: i64,
        each: &mut dyn FnMut(i64, i64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let pcodes: HashSet<u32> = by
            .iter()
            .flat_map(|p| self.names.of_param(ty.number(), *p).iter().copied())
            .filter(|p| self.names.pcode(*p).is_some_and(|p| p.kind == Kind::Ref))
            .collect();
        for pcode in pcodes {
            let which = Which::Terms { pcode, low: target, high: target };
            list::scan(self.conn, which, &mut |list, e| {
                if self.index.live(e.seq, self.at) {
                    each(e.seq, list.patient)?;
                }
                Ok(true)
            })?;
        }
        Ok(())
    }

    fn has_code(&self, v: &Version, param: u16, codes: &HashSet<i64>) -> bool {
        v.vals.iter().any(|val| {
            matches!(val, Val::Post { pcode, term }
                if codes.contains(term) && self.names.has_param(*pcode, param))
        })
    }

    fn terms(&self, codes: &[&str]) -> Result<HashSet<i64>, Error> {
        let mut all = HashSet::new();
        for code in codes {
            all.extend(terms(self.conn, None, code)?);
        }
        Ok(all)
    }

    /// From when until when a version ties.
    fn span(&self, v: &Version, source: &Source) -> Span {
        let Some(param) = source.date else { return ALWAYS };
        let (before, after) = source.slack;
        let spans = v.vals.iter().filter_map(|val| match val {
            Val::Date { pcode, low, high } if self.names.has_param(*pcode, param) => {
                Some((*low, *high))
            }
            _ => None,
        });
        spans
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .map_or(ALWAYS, |(low, high)| (low.saturating_sub(before), high.saturating_add(after)))
    }

    /// The patients that a version names by one of the parameters.
    fn named(&self, v: &Version, by: &[u16]) -> Result<Vec<i64>, Error> {
        let about = if v.patient < 0 {
            super::write::members(self.conn, -v.patient)?
        } else {
            vec![v.patient]
        };
        Ok(v.vals
            .iter()
            .filter_map(|val| {
                let p = self.names.pcode(val.pcode())?;
                if p.kind != Kind::Ref || !p.params.iter().any(|q| by.contains(q)) {
                    return None;
                }
                match val {
                    Val::Own { .. } => Some(v.patient),
                    Val::Post { term, .. } => about.contains(term).then_some(*term),
                    _ => None,
                }
            })
            .collect())
    }

    fn practitioner(&self, id: &LogicalId, out: &mut Related) -> Result<(), Error> {
        let Some(ty) = ResourceType::from_name("Practitioner") else { return Ok(()) };
        let Some(me) = resource(self.conn, ty.number(), id.as_str())? else {
            return Ok(());
        };
        // The practitioner and their roles; the organizations where they have them.
        let mut faces = vec![me];
        let mut organizations = HashSet::new();
        if let Some(role) = &sources().role {
            let no = self.terms(&["false"])?;
            self.referring(role.ty, &[role.practitioner], me, &mut |seq, _| {
                let Some(v) = fetch(self.conn, self.names, db::vid(role.ty.number(), seq))? else {
                    return Ok(());
                };
                if self.has_code(&v, role.active, &no) {
                    return Ok(());
                }
                faces.push(v.res);
                for val in &v.vals {
                    if let Val::Post { pcode, term } = val
                        && self.names.has_param(*pcode, role.organization)
                        && self.names.pcode(*pcode).is_some_and(|p| p.kind == Kind::Ref)
                    {
                        organizations.insert(*term);
                    }
                }
                Ok(())
            })?;
        }
        for source in &sources().ties {
            let ended = self.terms(source.ended)?;
            for face in &faces {
                self.referring(source.ty, &source.who, *face, &mut |seq, patient| {
                    if source.whom.is_empty() {
                        out.tie(patient, source.tie, ALWAYS);
                        return Ok(());
                    }
                    // Many encounters with one patient: the first that always holds is enough.
                    if patient > 0 && out.always(patient, source.tie) {
                        return Ok(());
                    }
                    let Some(v) = fetch(self.conn, self.names, db::vid(source.ty.number(), seq))?
                    else {
                        return Ok(());
                    };
                    if source.status.is_some_and(|s| self.has_code(&v, s, &ended)) {
                        return Ok(());
                    }
                    let spans = within(self.span(&v, source), held(&v, *face));
                    for p in self.named(&v, &source.whom)? {
                        for span in &spans {
                            out.tie(p, source.tie, *span);
                        }
                    }
                    Ok(())
                })?;
            }
        }
        if let Some((ty, param)) = &sources().managing {
            for o in &organizations {
                self.referring(*ty, &[*param], *o, &mut |_, patient| {
                    out.tie(patient, Relationship::Assignment, ALWAYS);
                    Ok(())
                })?;
            }
        }
        out.rests_on.extend(faces);
        out.rests_on.extend(organizations);
        Ok(())
    }
}

/// For how long a version's references to `face` hold; `None` when it does not say of any
/// reference.
fn held(v: &Version, face: i64) -> Option<Vec<Span>> {
    let all = || {
        v.vals.iter().filter_map(|val| match val {
            Val::Held { who, low, high, .. } => Some((*who, (*low, *high))),
            _ => None,
        })
    };
    all().next()?;
    Some(all().filter(|(who, _)| *who == face).map(|(_, span)| span).collect())
}

/// The spans as far as they lie within the record's own.
fn within(whole: Span, spans: Option<Vec<Span>>) -> Vec<Span> {
    let Some(spans) = spans else { return vec![whole] };
    let cut = |(low, high): Span| (low.max(whole.0), high.min(whole.1));
    spans.into_iter().map(cut).filter(|(low, high)| low <= high).collect()
}

/// The patients whom the viewer itself names, and how.
fn tied_by_name(viewer: &Viewer) -> impl Iterator<Item = (&LogicalId, Relationship)> {
    let own = viewer.patient.as_ref().map(|id| (id, Relationship::SelfPatient));
    own.into_iter().chain(viewer.launch.as_ref().map(|id| (id, Relationship::Launch)))
}

impl Index {
    /// The viewer's relationships as of everything applied.
    pub(super) fn related(&self, viewer: &Viewer) -> Result<Arc<Related>, Error> {
        let epoch = {
            let cache = lock(&self.viewers);
            if let Some(r) = cache.by_viewer.get(viewer) {
                return Ok(r.clone());
            }
            cache.epoch
        };
        let mut related = Related::default();
        // Whoever has no record yet may get one: then nothing is kept.
        let mut keep = true;
        {
            let at = i64::try_from(self.applied().0).map_err(|_| Error::Invalid("sequence"))?;
            let conn = self.readers.reader()?;
            let names = self.names();
            let reading = Reading { index: self, conn: &conn, names: &names, at };
            if let Some(id) = &viewer.practitioner {
                reading.practitioner(id, &mut related)?;
                keep &= !related.rests_on.is_empty();
            }
            for (id, tie) in tied_by_name(viewer) {
                match resource(&conn, patient_type(), id.as_str())? {
                    Some(p) => related.tie(p, tie, ALWAYS),
                    None => keep = false,
                }
            }
        }
        let related = Arc::new(related);
        let mut cache = lock(&self.viewers);
        if keep && cache.epoch == epoch && !cache.by_viewer.contains_key(viewer) {
            if cache.order.len() >= KEPT
                && let Some(oldest) = cache.order.pop_front()
            {
                cache.by_viewer.remove(&oldest);
            }
            cache.order.push_back(viewer.clone());
            cache.by_viewer.insert(viewer.clone(), related.clone());
        }
        Ok(related)
    }

    /// How the viewer is tied to a record about these patients at any moment: the
    /// relationships that hold with each of them. None for a record about no patient.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn relationships(
        &self,
        viewer: &Viewer,
        patients: &[LogicalId],
    ) -> Result<RelationshipSet, Error> {
        self.relationships_inner(viewer, patients, None).map_err(unusable)
    }

    /// As [`Index::relationships`], at this moment: microseconds since the epoch.
    ///
    /// # Errors
    /// As [`Index::relationships`].
    pub fn relationships_at(
        &self,
        viewer: &Viewer,
        patients: &[LogicalId],
        now: i64,
    ) -> Result<RelationshipSet, Error> {
        self.relationships_inner(viewer, patients, Some(now)).map_err(unusable)
    }

    /// The id of a patient whose number a list has.
    pub(super) fn patient(
        &self,
        conn: &Connection,
        number: i64,
    ) -> Result<Option<LogicalId>, Error> {
        if let Some(id) = lock(&self.patients).get(&number) {
            return Ok(Some(id.clone()));
        }
        let Ok(id) = LogicalId::new(&res_text(conn, number)?.1) else { return Ok(None) };
        let mut known = lock(&self.patients);
        if known.len() >= NUMBERS {
            known.clear();
        }
        known.insert(number, id.clone());
        Ok(Some(id))
    }

    fn relationships_inner(
        &self,
        viewer: &Viewer,
        patients: &[LogicalId],
        now: Option<i64>,
    ) -> Result<RelationshipSet, Error> {
        if patients.is_empty() {
            return Ok(RelationshipSet::NONE);
        }
        let related = self.related(viewer)?;
        let conn = self.readers.reader()?;
        let mut all = RelationshipSet::ALL;
        for p in patients {
            let one = match resource(&conn, patient_type(), p.as_str())? {
                Some(n) => related.of(n, now),
                // Not mentioned anywhere yet: only who is named by it can be tied to it.
                None => tied_by_name(viewer)
                    .filter(|(id, _)| *id == p)
                    .fold(RelationshipSet::NONE, |all, (_, tie)| all.with(tie)),
            };
            all = all.and(one);
        }
        Ok(all)
    }
}
