//! The profiles and extensions of R4 and US Core: a line of JSON each, read when it is
//! asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::structure::Structure;
use super::{CORE, World};
use crate::definitions::ResourceType;
use crate::json::Doc;
use crate::limits::Limits;

const TABLE: &str = include_str!("tables/structures.txt");
const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";

/// Version, type, line.
type Entry = (&'static str, &'static str, &'static str);

fn entries() -> &'static HashMap<&'static str, Vec<Entry>> {
    static ALL: OnceLock<HashMap<&'static str, Vec<Entry>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: HashMap<_, Vec<Entry>> = HashMap::new();
        for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
            // The generator writes these members first, in this order, and without escapes.
            let member = |name: &str| {
                let rest = line.split_once(&format!("\"{name}\":\""))?.1;
                Some(rest.split_once('"')?.0)
            };
            let version = member("version").unwrap_or_default();
            if let (Some(url), Some(ty)) = (member("url"), member("type")) {
                all.entry(url).or_default().push((version, ty, line));
            }
        }
        all
    })
}

/// A profile or extension of the tables; the newest when no version is named.
pub fn structure(url: &str, version: Option<&str>, world: &dyn World) -> Option<Arc<Structure>> {
    static READ: Mutex<Option<HashMap<usize, Arc<Structure>>>> = Mutex::new(None);
    let all = entries().get(url)?;
    let (_, _, line) = all.iter().rev().find(|e| version.is_none_or(|v| e.0 == v))?;
    let key = line.as_ptr() as usize;
    let known = || {
        let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        read.as_ref()?.get(&key).cloned()
    };
    if let Some(found) = known() {
        return Some(found);
    }
    // The lock is not held meanwhile: its base may be in the tables too.
    let doc = Doc::parse(line.as_bytes(), &Limits::default()).ok()?;
    let found = Arc::new(Structure::of(doc.root(), world).ok()?);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Arc::clone(read.get_or_insert_default().entry(key).or_insert(found)))
}

/// Whether the tables have something under this URL.
#[must_use]
pub fn speaks_of(url: &str) -> bool {
    entries().contains_key(url)
}

/// The profiles of US Core, and of R4 on vital signs, that a record of this type may claim:
/// canonical URLs with version, sorted.
#[must_use]
pub fn claimable(ty: ResourceType) -> &'static [String] {
    static ALL: OnceLock<Vec<Vec<String>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all = vec![Vec::new(); ResourceType::all().len()];
        for (url, versions) in entries() {
            let core = url.strip_prefix(CORE).is_some_and(|n| n == "vitalsigns");
            if !core && !url.starts_with(US_CORE) {
                continue;
            }
            for (version, ty, _) in versions {
                let ty = ResourceType::from_name(ty).map(|t| usize::from(t.number()));
                if let Some(list) = ty.and_then(|n| all.get_mut(n)) {
                    list.push(format!("{url}|{version}"));
                }
            }
        }
        all.iter_mut().for_each(|list| list.sort_unstable());
        all
    });
    all.get(usize::from(ty.number())).map_or(&[], Vec::as_slice)
}
