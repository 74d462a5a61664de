//! Terminology for one request: HL7's from the tables, the tenant's own from the
//! ValueSet and CodeSystem records that the caller may see. What a record adds to an
//! answer is permitted, opened and written down like any record that is read.
//!
//! A record under a URL that HL7 publishes with R4 or US Core is never looked at: nobody
//! widens a required binding by storing a value set.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use phial_audit::Entry;
use phial_base::{ClassSet, LogicalId, RowId, Seq};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::profile::{self, Structure, World};
use phial_fhir::search::parse_query;
use phial_fhir::terminology::{
    self, CodeSystem, HELD, NotHeld, Source, Trouble, ValueSet, canonical,
};
use phial_fhir::{Doc, Limits, TypeId};
use phial_policy::{Action, Permit};
use phial_store::Error as StoreError;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// Records looked at for one URL: more than one when there are versions.
const MOST_VERSIONS: u32 = 50;
/// URLs looked up for one request.
const MOST_LOOKUPS: usize = 500;

/// Where R4 publishes its types.
const CORE: &str = "http://hl7.org/fhir/StructureDefinition/";

/// A canonical URL, and the version asked for.
type Key = (Box<str>, Option<Box<str>>);

/// Where one request finds definitions.
pub(crate) struct Terms<'e> {
    engine: &'e Engine,
    tenant: &'e Tenant,
    caller: &'e Caller,
    /// The snapshot that is looked at; `None`: what is there now.
    at: Option<Seq>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    sets: HashMap<Key, Option<Arc<ValueSet>>>,
    systems: HashMap<Key, Option<Arc<CodeSystem>>>,
    structures: HashMap<Key, Option<Arc<Structure>>>,
    withheld: bool,
    looked_up: usize,
    opened: Vec<Opened>,
    failure: Option<Failure>,
}

struct Opened {
    found: Unopened,
    permit: Permit,
    given: ClassSet,
}

impl<'e> Terms<'e> {
    pub(crate) fn new(engine: &'e Engine, tenant: &'e Tenant, caller: &'e Caller) -> Self {
        Terms { engine, tenant, caller, at: None, seen: RefCell::default() }
    }

    /// Definitions under a URL as they were at a snapshot, as far as the caller may see
    /// them as they are now, too.
    pub(crate) fn seen_at(self, at: Option<Seq>) -> Self {
        Terms { at, ..self }
    }

    /// Writes down every record that took part, and gives their permits.
    ///
    /// # Errors
    /// What went wrong while looking one up: an answer without it would be a guess.
    pub(crate) fn finish(self, e: &mut Entry) -> Result<Vec<Permit>, Failure> {
        let seen = self.seen.into_inner();
        if let Some(failure) = seen.failure {
            return Err(failure);
        }
        let mut permits = Vec::new();
        for o in seen.opened {
            entry::delivered(e, &o.found, &o.permit, o.given);
            permits.push(o.permit);
        }
        Ok(permits)
    }

    /// The row that a record of this id has, or would have.
    pub(crate) fn row(&self, ty: ResourceType, id: &LogicalId) -> Result<RowId, Failure> {
        self.tenant.vessel.row_id(ty, id).map_err(Engine::store_failure(self.caller))
    }

    /// Whether a record was opened of which the caller sees a part only.
    pub(crate) fn withheld(&self) -> bool {
        self.seen.borrow().withheld
    }

    /// Whether the caller could delete the record of this id.
    ///
    /// # Errors
    /// [`Failure::NotFound`], whether it is absent or the caller may not.
    pub(crate) fn deletable(
        &self,
        ty: ResourceType,
        id: &LogicalId,
        e: &mut Entry,
    ) -> Result<(), Failure> {
        let found = self.tenant.vessel.find(ty, id).map_err(Engine::store_failure(self.caller))?;
        let Some(found) = found.filter(|f| !f.header.deleted) else {
            entry::absent(e, ty, self.row(ty, id)?);
            return Err(Failure::NotFound);
        };
        match self.engine.decide(self.tenant, self.caller, Action::Delete, &found)? {
            Ok(_) => Ok(()),
            Err(denial) => {
                entry::denied(e, &found, &denial);
                Err(Failure::NotFound)
            }
        }
    }

    /// A record by its id, if the caller may see it.
    pub(crate) fn by_id(&self, ty: ResourceType, id: &LogicalId) -> Result<Option<Doc>, Failure> {
        let found = self.tenant.vessel.find(ty, id).map_err(Engine::store_failure(self.caller))?;
        match found {
            Some(found) => self.open(found, Action::Read),
            None => Ok(None),
        }
    }

    /// The newest record of the type with this canonical URL that the caller may see.
    pub(crate) fn by_url(
        &self,
        ty: &str,
        url: &str,
        version: Option<&str>,
    ) -> Result<Option<Doc>, Failure> {
        let Some(ty) = ResourceType::from_name(ty) else { return Ok(None) };
        {
            let mut seen = self.seen.borrow_mut();
            seen.looked_up += 1;
            if seen.looked_up > MOST_LOOKUPS {
                let text = "too many definitions would have to be looked up";
                return Err(Failure::invalid(IssueCode::TooCostly, "", text));
            }
        }
        let mut pairs = vec![
            ("url".to_owned(), escaped(url)),
            ("_sort".to_owned(), "-_lastUpdated".to_owned()),
        ];
        if let Some(version) = version {
            pairs.push(("version".to_owned(), escaped(version)));
        }
        // What can't be a search's value is the URL of nothing.
        let Ok(query) = parse_query(ty, &pairs) else { return Ok(None) };
        let failed = Engine::store_failure(self.caller);
        let vessel = &self.tenant.vessel;
        let now = vessel.catch_up().map_err(&failed)?;
        let at = self.at.unwrap_or(now);
        let access = self.engine.access(self.tenant, self.caller, Action::Search)?;
        let viewer = self.caller.viewer();
        let page = vessel
            .search(&query, &viewer, &access, at, None, MOST_VERSIONS, false)
            .map_err(&failed)?;
        for hit in page.hits {
            if self.at.is_some() && !self.engine.still_visible(self.tenant, self.caller, &hit)? {
                continue;
            }
            let found = vessel.find_version(hit.row, hit.version).map_err(&failed)?;
            if let Some(found) = found
                && let Some(doc) = self.open(found, Action::Search)?
            {
                return Ok(Some(doc));
            }
        }
        Ok(None)
    }

    fn open(&self, found: Unopened, action: Action) -> Result<Option<Doc>, Failure> {
        let decided = self.engine.decide(self.tenant, self.caller, action, &found)?;
        let Ok(permit) = decided else { return Ok(None) };
        if found.header.deleted {
            return Ok(None);
        }
        let failed = Engine::store_failure(self.caller);
        let opened = self.tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
        let given = opened.given;
        let whole = permit.classes().covers(found.header.classes);
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(opened.body(), &limits)
            .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))?;
        let mut seen = self.seen.borrow_mut();
        seen.withheld |= !whole;
        seen.opened.push(Opened { found, permit, given });
        Ok(Some(doc))
    }

    /// A stored definition; a failure is kept for [`Terms::finish`].
    fn stored(&self, ty: &str, url: &str, version: Option<&str>) -> Option<Doc> {
        match self.by_url(ty, url, version) {
            Ok(doc) => doc,
            Err(failure) => {
                self.seen.borrow_mut().failure.get_or_insert(failure);
                None
            }
        }
    }
}

/// A value of a search parameter, with what has a meaning there escaped
/// (<https://hl7.org/fhir/R4/search.html#escaping>).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '$' | '|') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn key(url: &str, version: Option<&str>) -> Key {
    (url.into(), version.map(Into::into))
}

impl Source for Terms<'_> {
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>> {
        if HELD.speaks_of(url) {
            return HELD.value_set(url, version);
        }
        let key = key(url, version);
        if let Some(known) = self.seen.borrow().sets.get(&key) {
            return known.clone();
        }
        let found = self.stored("ValueSet", url, version);
        let found = found.map(|doc| Arc::new(ValueSet::of(doc.root())));
        self.seen.borrow_mut().sets.insert(key, found.clone());
        found
    }

    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>> {
        if HELD.speaks_of(url) {
            return HELD.code_system(url, version);
        }
        let key = key(url, version);
        if let Some(known) = self.seen.borrow().systems.get(&key) {
            return known.clone();
        }
        let found = self.stored("CodeSystem", url, version);
        let found = found.and_then(|doc| CodeSystem::of(doc.root())).map(Arc::new);
        self.seen.borrow_mut().systems.insert(key, found.clone());
        found
    }
}

impl World for Terms<'_> {
    fn structure(&self, url: &str, version: Option<&str>) -> Option<Arc<Structure>> {
        let core = url.strip_prefix(CORE).and_then(TypeId::from_name).is_some();
        if core || profile::speaks_of(url) {
            return profile::held_structure(url, version, self);
        }
        let key = key(url, version);
        if let Some(known) = self.seen.borrow().structures.get(&key) {
            return known.clone();
        }
        // What rests on itself rests on nothing.
        self.seen.borrow_mut().structures.insert(key.clone(), None);
        let found = self.stored("StructureDefinition", url, version);
        let found = found.and_then(|doc| Structure::of(doc.root(), self).ok()).map(Arc::new);
        self.seen.borrow_mut().structures.insert(key, found.clone());
        found
    }
}

/// What is missing, as a failure that names the parameter or element at `path`.
pub(crate) fn trouble(path: &str, trouble: &Trouble) -> Failure {
    match trouble {
        Trouble::TooMany => Failure::invalid(
            IssueCode::TooCostly,
            path,
            format!("this value set has more than {} codes", terminology::MOST_CODES),
        ),
        Trouble::NotHeld(what) => {
            let all: BTreeSet<String> = what.iter().map(NotHeld::text).collect();
            let all: Vec<String> = all.into_iter().collect();
            Failure::invalid(IssueCode::NotSupported, path, all.join("; "))
        }
    }
}

/// A code with the system that it is of.
pub(crate) type SystemAndCode = (Box<str>, Box<str>);

/// One look-up of a search, and where what takes part in it is written down.
pub(crate) struct Lookup<'l> {
    pub(crate) tenant: &'l Tenant,
    pub(crate) caller: &'l Caller,
    /// The search parameter, as what is refused names it.
    pub(crate) path: &'l str,
    /// The snapshot of the search's first page; `None` on that page.
    pub(crate) at: Option<Seq>,
    pub(crate) e: &'l mut Entry,
    pub(crate) permits: &'l mut Vec<Permit>,
}

impl Engine {
    /// The codes of a value set, for `:in` and `:not-in`
    /// (<https://hl7.org/fhir/R4/search.html#modifiers>): a canonical URL, perhaps with
    /// `|version`, or `ValueSet/id`. Records that took part are written down in `look`.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the value set, or a code system that it needs, is not
    /// held or not visible, the same in both cases.
    pub(crate) fn codes_of_value_set(
        &self,
        url: &str,
        look: &mut Lookup<'_>,
    ) -> Result<Vec<SystemAndCode>, Failure> {
        let terms = Terms::new(self, look.tenant, look.caller).seen_at(look.at);
        let set = terms.named_set(url)?;
        let codes = match set {
            Some(set) => terminology::expand(&terms, &set),
            None => Err(NotHeld::ValueSet(canonical(url).0.into()).into()),
        };
        look.permits.extend(terms.finish(look.e)?);
        let codes = codes.map_err(|t| trouble(look.path, &t))?;
        Ok(codes.into_iter().map(|c| (c.system, c.code)).collect())
    }

    /// The code and those below it in its system, or above it, for `:below` and `:above`.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the code system is not held as a whole.
    pub(crate) fn codes_of_hierarchy(
        &self,
        system: &str,
        code: &str,
        up: bool,
        look: &mut Lookup<'_>,
    ) -> Result<Vec<SystemAndCode>, Failure> {
        let terms = Terms::new(self, look.tenant, look.caller).seen_at(look.at);
        let of = if up { terminology::above } else { terminology::below };
        let codes = of(&terms, system, code);
        look.permits.extend(terms.finish(look.e)?);
        let codes = codes.map_err(|t| trouble(look.path, &t))?;
        Ok(codes.into_iter().map(|code| (system.into(), code)).collect())
    }
}

impl Terms<'_> {
    /// A value set by canonical URL or as `ValueSet/id`.
    pub(crate) fn named_set(&self, url: &str) -> Result<Option<Arc<ValueSet>>, Failure> {
        let id = url.strip_prefix("ValueSet/").and_then(|id| LogicalId::new(id).ok());
        let Some((id, ty)) = id.zip(ResourceType::from_name("ValueSet")) else {
            let (plain, version) = canonical(url);
            return Ok(self.value_set(plain, version));
        };
        Ok(self.by_id(ty, &id)?.map(|doc| Arc::new(ValueSet::of(doc.root()))))
    }
}
