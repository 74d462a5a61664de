//! Routes: which FHIR interaction a method and a path are.

use std::sync::OnceLock;

use axum::http::Method;
use phial_base::{LogicalId, TenantId, Version};
use phial_fhir::definitions::ResourceType;

use super::surface::{Parts, ROWS, Row};

/// One request, understood. Which method and path each one is stands in
/// [`ROWS`](super::surface::ROWS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// What this server can do.
    Capabilities,
    /// A batch or a transaction.
    Bundle,
    /// The record as it is now.
    Read(ResourceType, LogicalId),
    /// One version of it.
    Vread(ResourceType, LogicalId, Version),
    /// All versions of it.
    History(ResourceType, LogicalId),
    /// Changes of a type.
    TypeHistory(ResourceType),
    /// Changes of every type.
    SystemHistory,
    /// A search of a type; true when its parameters are in the body.
    Search(ResourceType, bool),
    /// A search of every type; true when its parameters are in the body.
    SearchSystem(bool),
    /// The same within a compartment: its type and id, the type searched.
    Compartment(ResourceType, LogicalId, ResourceType, bool),
    /// A new record.
    Create(ResourceType),
    /// A new version, or a new record under this id.
    Update(ResourceType, LogicalId),
    /// A new version of the one record that the query finds, or a new record.
    UpdateWhere(ResourceType),
    /// A new version by a patch.
    Patch(ResourceType, LogicalId),
    /// The same, of the one record that the query finds.
    PatchWhere(ResourceType),
    /// The end of a record.
    Delete(ResourceType, LogicalId),
    /// The end of what the query finds.
    DeleteWhere(ResourceType),
    /// `$validate` of a type, or against one record; true when it has a body.
    Validate(ResourceType, Option<LogicalId>, bool),
    /// `$expand` of a value set; true when its parameters are in the body.
    Expand(Option<LogicalId>, bool),
    /// `$validate-code` of a value set or a code system, in the same way.
    ValidateCode(ResourceType, Option<LogicalId>, bool),
    /// `$status` of a subscription.
    SubscriptionStatus(LogicalId),
    /// `$status` of the caller's own subscriptions; true when its parameters are in the body.
    SubscriptionStatuses(bool),
    /// `$events` of a subscription, in the same way.
    SubscriptionEvents(LogicalId, bool),
    /// `$everything` of a patient or an encounter; true when its parameters are in the body.
    Everything(ResourceType, LogicalId, bool),
    /// `$break-glass` of a patient.
    BreakGlass(LogicalId),
    /// `$break-glass-end` of a patient.
    BreakGlassEnd(LogicalId),
    /// `$meta` of a record.
    Meta(ResourceType, LogicalId),
    /// `$meta` of a type.
    MetaOfType(ResourceType),
    /// `$meta` of everything.
    MetaOfAll,
    /// `$meta-add`
    MetaAdd(ResourceType, LogicalId),
    /// `$meta-delete`
    MetaDelete(ResourceType, LogicalId),
    /// `$export` of everything; true when its parameters are in the body.
    ExportSystem(bool),
    /// `$export` of all patients, in the same way.
    ExportPatients(bool),
    /// `$export` of a group's patients, in the same way.
    ExportGroup(LogicalId, bool),
    /// `$import`
    Import,
    /// How far a job is, and what it made.
    JobStatus(String),
    /// The end of a job and of what it made.
    JobCancel(String),
    /// A file that a job made.
    JobFile(String, u32),
}

impl Route {
    /// Whether the answer may come later (`Prefer: respond-async`).
    pub(crate) const fn may_take_long(&self) -> bool {
        matches!(
            self,
            Route::ExportSystem(_)
                | Route::ExportPatients(_)
                | Route::ExportGroup(..)
                | Route::Import
        )
    }
}

/// Why a request is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Nothing is here.
    NotFound,
    /// There is no such resource type in R4.
    UnknownType,
    /// The path is known, the method is not for it: these are.
    Method(Vec<Method>),
    /// FHIR has such a path, this server has not.
    NotSupported,
    /// The id or version has no valid form.
    BadId,
}

/// The tenant and what follows its FHIR base.
pub(crate) fn tenant(path: &str) -> Option<(TenantId, &str)> {
    if let Some(rest) = path.strip_prefix("/fhir") {
        return rest_of(rest).map(|r| (TenantId::default_tenant(), r));
    }
    let rest = path.strip_prefix("/t/")?;
    let (name, rest) = rest.split_once('/')?;
    let rest = rest.strip_prefix("fhir")?;
    Some((TenantId::new(name).ok()?, rest_of(rest)?))
}

fn rest_of(rest: &str) -> Option<&str> {
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// A segment of a row's path.
enum Segment {
    Is(&'static str),
    Compartment,
    Type,
    Id,
    Vid,
    Word,
}

/// No path of the table has more segments.
const MOST_SEGMENTS: usize = 8;

/// The table's paths, taken apart once.
fn paths() -> &'static [(Vec<Segment>, &'static Row)] {
    static ALL: OnceLock<Vec<(Vec<Segment>, &'static Row)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let segment = |s: &'static str| match s {
            "[compartment]" => Segment::Compartment,
            "[type]" => Segment::Type,
            "[id]" => Segment::Id,
            "[vid]" => Segment::Vid,
            _ if s.starts_with('[') => Segment::Word,
            _ => Segment::Is(s),
        };
        let path = |row: &'static Row| {
            row.path.split('/').filter(|s| !s.is_empty()).map(segment).collect()
        };
        ROWS.iter().map(|row| (path(row), row)).collect()
    })
}

/// Whether a segment is one of FHIR's own: `_history`, `$validate`.
fn is_keyword(segment: &str) -> bool {
    segment.starts_with(['_', '$'])
}

/// Whether the path has the form of the row's.
fn fits(form: &[Segment], path: &[&str]) -> bool {
    form.len() == path.len()
        && form.iter().zip(path).all(|(form, found)| match form {
            Segment::Is(name) => name == found,
            Segment::Compartment | Segment::Type => ResourceType::from_name(found).is_some(),
            Segment::Id | Segment::Vid | Segment::Word => !is_keyword(found),
        })
}

/// What the placeholders stand for; `None` when an id or a version has no valid form.
fn parts(form: &[Segment], path: &[&str]) -> Option<Parts> {
    let mut parts = Parts::default();
    for (form, found) in form.iter().zip(path) {
        match form {
            Segment::Is(_) if parts.ty.is_some() => {}
            Segment::Is(_) | Segment::Type => parts.ty = ResourceType::from_name(found),
            Segment::Compartment => parts.compartment = ResourceType::from_name(found),
            Segment::Id => parts.id = Some(LogicalId::new(found).ok()?),
            Segment::Vid => parts.version = Some(Version(found.parse().ok()?)),
            Segment::Word => parts.words.push((*found).to_owned()),
        }
    }
    Some(parts)
}

/// The interaction of `method` on what follows the FHIR base.
pub(crate) fn route(method: &Method, rest: &str) -> Result<Route, NoRoute> {
    let mut room = [""; MOST_SEGMENTS];
    let mut count = 0;
    for segment in rest.split('/').filter(|s| !s.is_empty()) {
        *room.get_mut(count).ok_or(NoRoute::NotFound)? = segment;
        count += 1;
    }
    let path = room.get(..count).unwrap_or_default();
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for (form, row) in paths() {
        if !fits(form, path) {
            continue;
        }
        if row.method == *method {
            let parts = parts(form, path).ok_or(NoRoute::BadId)?;
            return (row.route)(parts).ok_or(NoRoute::NotFound);
        }
        if !others.contains(&row.method) {
            others.push(row.method.clone());
        }
    }
    if others.is_empty() { Err(nothing_at(path)) } else { Err(NoRoute::Method(others)) }
}

/// Why no row has such a path.
fn nothing_at(path: &[&str]) -> NoRoute {
    let is_type = |s: &&str| ResourceType::from_name(s).is_some();
    match path {
        [] => NoRoute::NotSupported,
        [first, ..] if is_keyword(first) => NoRoute::NotSupported,
        [first, ..] if !is_type(first) => NoRoute::UnknownType,
        [_, rest @ ..] if rest.iter().take(2).any(|s| is_keyword(s)) => NoRoute::NotSupported,
        [_, _, third, ..] if !is_type(third) => NoRoute::UnknownType,
        _ => NoRoute::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::super::surface::{PAGES, PLAIN};
    use super::*;

    fn check(method: &str, path: &str, expected: &str) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let got = match tenant(path) {
            None => "none".to_owned(),
            Some((t, rest)) => match route(&method, rest) {
                Ok(r) => {
                    let text = format!("{r:?}");
                    format!("{t} {}", text.split('(').next().unwrap())
                }
                Err(e) => format!("{t} {}", format!("{e:?}").split('(').next().unwrap()),
            },
        };
        assert_eq!(got, expected, "{method} {path}");
    }

    #[test]
    fn paths_are_fhirs() {
        check("GET", "/fhir/metadata", "default Capabilities");
        check("POST", "/fhir", "default Bundle");
        check("POST", "/fhir/", "default Bundle");
        check("GET", "/t/clinic/fhir/Patient", "clinic Search");
        check("POST", "/fhir/Patient/_search", "default Search");
        check("GET", "/fhir/Patient/_search", "default Method");
        check("GET", "/fhir", "default SearchSystem");
        check("POST", "/fhir/_search", "default SearchSystem");
        check("GET", "/fhir/_search", "default Method");
        check("GET", "/fhir/Patient/a/_history/2", "default Vread");
        check("GET", "/fhir/Patient/a/_history/x", "default BadId");
        check("GET", "/fhir/Patient/a/_history", "default History");
        check("DELETE", "/fhir/Patient/a/_history", "default Method");
        check("GET", "/fhir/Patient/_history", "default TypeHistory");
        check("GET", "/fhir/_history", "default SystemHistory");
        check("POST", "/fhir/_history", "default Method");
        check("PUT", "/fhir/Patient", "default UpdateWhere");
        check("DELETE", "/fhir/Patient", "default DeleteWhere");
        check("GET", "/fhir/Patient/a/Observation", "default Compartment");
        check("PATCH", "/fhir/Patient/a", "default Patch");
        check("PATCH", "/fhir/Patient", "default PatchWhere");
        check("LINK", "/fhir/Patient/a", "default Method");
        check("PUT", "/fhir/Subscription/a/$status", "default Method");
        check("GET", "/fhir/$nonsense", "default NotSupported");
        check("GET", "/fhir/Patient/$nonsense", "default NotSupported");
        check("GET", "/fhir/Patient/a/$nonsense", "default NotSupported");
        check("GET", "/fhir/Patient/a/Nothing", "default UnknownType");
        check("GET", "/fhir/Patient/a/Observation/b/c/d/e/f/g", "default NotFound");
        check("GET", "/fhir/Patient/a b", "default BadId");
        check("GET", "/fhir/Nothing/1", "default UnknownType");
        check("GET", "/fhir/ValueSet/$expand", "default Expand");
        check("POST", "/fhir/ValueSet/a/$expand", "default Expand");
        check("PUT", "/fhir/ValueSet/$expand", "default Method");
        check("GET", "/fhir/Patient/$expand", "default NotSupported");
        check("GET", "/fhir/CodeSystem/a/$validate-code", "default ValidateCode");
        check("POST", "/fhir/Patient/$validate", "default Validate");
        check("GET", "/fhir/Patient/$validate", "default Method");
        check("GET", "/fhir/Patient/a/$validate", "default Validate");
        check("GET", "/fhirx", "none");
        check("GET", "/t/../fhir/Patient", "none");
        check("GET", "/", "none");
    }

    /// A path of the form.
    fn sample(template: &str) -> String {
        let segment = |s: &str| match s {
            "[type]" => "Condition".to_owned(),
            "[compartment]" => "Patient".to_owned(),
            "[job]" => "0".repeat(32),
            "[file]" => "0".to_owned(),
            _ if s.starts_with('[') => "1".to_owned(),
            _ => s.to_owned(),
        };
        template.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn every_row_is_a_route_that_no_other_row_hides() {
        for (n, (form, row)) in paths().iter().enumerate() {
            let path = sample(row.path);
            let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
            assert!(segments.len() <= MOST_SEGMENTS, "{path}");
            let own = (row.route)(parts(form, &segments).unwrap());
            assert!(own.is_some(), "{} {}: its parts don't make its route", row.method, row.path);
            let first =
                paths().iter().position(|(f, r)| r.method == row.method && fits(f, &segments));
            assert_eq!(first, Some(n), "{} {} is hidden by another row", row.method, row.path);
            assert_eq!(route(&row.method, &path).ok(), own, "{} {}", row.method, row.path);
        }
    }

    #[test]
    fn what_is_no_row_is_no_route_and_a_wrong_method_names_the_right_ones() {
        let parts =
            ["Condition", "Patient", "a", "1", "_history", "_search", "metadata", "$nonsense"];
        let mut all = vec![Vec::new()];
        let mut last = all.clone();
        for _ in 0..4 {
            last = last
                .iter()
                .flat_map(|p: &Vec<&str>| parts.iter().map(move |s| [p.as_slice(), &[*s]].concat()))
                .collect();
            all.extend(last.iter().cloned());
        }
        for path in all {
            let here: Vec<&Method> =
                paths().iter().filter(|(f, _)| fits(f, &path)).map(|(_, r)| &r.method).collect();
            for name in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let method = Method::from_bytes(name.as_bytes()).unwrap();
                let asked = if name == "HEAD" { &Method::GET } else { &method };
                match route(&method, &path.join("/")) {
                    Ok(_) | Err(NoRoute::BadId) => {
                        assert!(here.contains(&asked), "{name} {path:?}")
                    }
                    Err(NoRoute::Method(others)) => {
                        assert!(!here.contains(&asked), "{name} {path:?}");
                        assert!(here.iter().all(|m| others.contains(m)), "{name} {path:?}");
                    }
                    Err(_) => assert!(here.is_empty(), "{name} {path:?}"),
                }
            }
        }
    }

    #[test]
    fn every_route_has_its_rows_in_the_golden_table() {
        let golden = include_str!("../../tests/golden/routes.txt");
        let golden: Vec<&str> = golden.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        let mut rows: Vec<String> = PLAIN.iter().map(|r| format!("GET {}", r.path)).collect();
        for row in super::super::oauth::ENDPOINTS {
            rows.extend(row.methods.iter().map(|m| format!("{m} {}", row.path)));
        }
        for (path, methods) in super::super::scim::ROUTES {
            rows.extend(methods.iter().map(|m| format!("{m} {path}")));
        }
        rows.extend(PAGES.iter().map(|r| format!("{} {}", r.method, r.path)));
        rows.extend(ROWS.iter().map(|r| format!("{} [base]{}", r.method, r.path)));
        assert_eq!(golden, rows, "add the route to crates/phial/tests/it/routes.rs");
    }
}
