//! Routes: which FHIR interaction a method and a path are.

use axum::http::Method;
use phial_base::{LogicalId, TenantId, Version};
use phial_fhir::definitions::ResourceType;

/// One request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET [base]/metadata`
    Capabilities,
    /// `POST [base]`
    Bundle,
    /// `GET [base]/[type]/[id]`
    Read(ResourceType, LogicalId),
    /// `GET [base]/[type]/[id]/_history/[vid]`
    Vread(ResourceType, LogicalId, Version),
    /// `GET [base]/[type]/[id]/_history`
    History(ResourceType, LogicalId),
    /// `GET [base]/[type]/_history`
    TypeHistory(ResourceType),
    /// `GET [base]/_history`
    SystemHistory,
    /// `GET [base]/[type]`, or true for `POST [base]/[type]/_search`
    Search(ResourceType, bool),
    /// `GET [base]`, or true for `POST [base]/_search`
    SearchSystem(bool),
    /// `GET [base]/[compartment]/[id]/[type]`, or true for
    /// `POST [base]/[compartment]/[id]/[type]/_search`
    Compartment(ResourceType, LogicalId, ResourceType, bool),
    /// `POST [base]/[type]`
    Create(ResourceType),
    /// `PUT [base]/[type]/[id]`
    Update(ResourceType, LogicalId),
    /// `PUT [base]/[type]`
    UpdateWhere(ResourceType),
    /// `PATCH [base]/[type]/[id]`
    Patch(ResourceType, LogicalId),
    /// `PATCH [base]/[type]`
    PatchWhere(ResourceType),
    /// `DELETE [base]/[type]/[id]`
    Delete(ResourceType, LogicalId),
    /// `DELETE [base]/[type]`
    DeleteWhere(ResourceType),
    /// `GET [base]/[type]/[id]/$validate`, or true for `POST [base]/[type]/$validate`,
    /// `POST [base]/[type]/[id]/$validate`
    Validate(ResourceType, Option<LogicalId>, bool),
    /// `GET [base]/ValueSet/$expand`, `GET [base]/ValueSet/[id]/$expand`, or true for
    /// `POST [base]/ValueSet/$expand`, `POST [base]/ValueSet/[id]/$expand`
    Expand(Option<LogicalId>, bool),
    /// `GET [base]/ValueSet/$validate-code`, `GET [base]/ValueSet/[id]/$validate-code`,
    /// `GET [base]/CodeSystem/$validate-code`, `GET [base]/CodeSystem/[id]/$validate-code`,
    /// or true for `POST [base]/ValueSet/$validate-code`,
    /// `POST [base]/ValueSet/[id]/$validate-code`,
    /// `POST [base]/CodeSystem/$validate-code`,
    /// `POST [base]/CodeSystem/[id]/$validate-code`
    ValidateCode(ResourceType, Option<LogicalId>, bool),
    /// `GET [base]/Subscription/[id]/$status`
    SubscriptionStatus(LogicalId),
    /// `GET [base]/Subscription/[id]/$events`
    SubscriptionEvents(LogicalId),
}

/// Why a path is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Nothing is here.
    NotFound,
    /// There is no such resource type in R4.
    UnknownType,
    /// The path is known, the method is not for it.
    Method,
    /// The interaction exists in FHIR and is not supported.
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

/// The interaction of `method` on what follows the FHIR base.
pub(crate) fn route(method: &Method, rest: &str) -> Result<Route, NoRoute> {
    let ty = |s: &str| ResourceType::from_name(s).ok_or(NoRoute::UnknownType);
    let id = |s: &str| LogicalId::new(s).map_err(|_| NoRoute::BadId);
    let segments: Vec<&str> = rest.split('/').filter(|s| !s.is_empty()).collect();
    let get = method == Method::GET || method == Method::HEAD;
    match segments.as_slice() {
        [] if method == Method::POST => Ok(Route::Bundle),
        [] if get => Ok(Route::SearchSystem(false)),
        [] => Err(NoRoute::Method),
        ["metadata"] if get => Ok(Route::Capabilities),
        ["metadata"] => Err(NoRoute::Method),
        ["_history"] if get => Ok(Route::SystemHistory),
        ["_history"] => Err(NoRoute::Method),
        ["_search"] if method == Method::POST => Ok(Route::SearchSystem(true)),
        ["_search"] => Err(NoRoute::Method),
        [s, ..] if s.starts_with(['_', '$']) => Err(NoRoute::NotSupported),
        [t] => match *method {
            Method::GET | Method::HEAD => Ok(Route::Search(ty(t)?, false)),
            Method::POST => Ok(Route::Create(ty(t)?)),
            Method::PUT => Ok(Route::UpdateWhere(ty(t)?)),
            Method::PATCH => Ok(Route::PatchWhere(ty(t)?)),
            Method::DELETE => Ok(Route::DeleteWhere(ty(t)?)),
            _ => Err(NoRoute::Method),
        },
        [t, "_history"] => {
            let ty = ty(t)?;
            if get { Ok(Route::TypeHistory(ty)) } else { Err(NoRoute::Method) }
        }
        [t, "_search"] => {
            let ty = ty(t)?;
            if method == Method::POST { Ok(Route::Search(ty, true)) } else { Err(NoRoute::Method) }
        }
        [t, s] if s.starts_with('$') => operation(method, ty(t)?, None, s),
        [t, s] if s.starts_with('_') => {
            ty(t)?;
            Err(NoRoute::NotSupported)
        }
        [t, s] => {
            let (ty, id) = (ty(t)?, id(s)?);
            match *method {
                Method::GET | Method::HEAD => Ok(Route::Read(ty, id)),
                Method::PUT => Ok(Route::Update(ty, id)),
                Method::DELETE => Ok(Route::Delete(ty, id)),
                Method::PATCH => Ok(Route::Patch(ty, id)),
                _ => Err(NoRoute::Method),
            }
        }
        [t, s, "_history"] => {
            let (ty, id) = (ty(t)?, id(s)?);
            if get { Ok(Route::History(ty, id)) } else { Err(NoRoute::Method) }
        }
        [t, s, "_history", v] => {
            let (ty, id) = (ty(t)?, id(s)?);
            let version = v.parse().map(Version).map_err(|_| NoRoute::BadId)?;
            if get { Ok(Route::Vread(ty, id, version)) } else { Err(NoRoute::Method) }
        }
        ["Subscription", s, "$status"] if get => Ok(Route::SubscriptionStatus(id(s)?)),
        ["Subscription", s, "$events"] if get => Ok(Route::SubscriptionEvents(id(s)?)),
        ["Subscription", _, "$status" | "$events"] => Err(NoRoute::Method),
        [t, s, sub] if sub.starts_with('$') => operation(method, ty(t)?, Some(id(s)?), sub),
        [t, s, sub] if sub.starts_with('_') => {
            ty(t)?;
            id(s)?;
            Err(NoRoute::NotSupported)
        }
        [t, s, sub] => {
            let (ty_, id, sub) = (ty(t)?, id(s)?, ty(sub)?);
            if get { Ok(Route::Compartment(ty_, id, sub, false)) } else { Err(NoRoute::Method) }
        }
        [t, s, sub, "_search"] => {
            let (ty_, id, sub) = (ty(t)?, id(s)?, ty(sub)?);
            if method == Method::POST {
                Ok(Route::Compartment(ty_, id, sub, true))
            } else {
                Err(NoRoute::Method)
            }
        }
        _ => Err(NoRoute::NotFound),
    }
}

/// An operation on a type or on one record.
fn operation(
    method: &Method,
    ty: ResourceType,
    id: Option<LogicalId>,
    name: &str,
) -> Result<Route, NoRoute> {
    let posted = match *method {
        Method::POST => true,
        Method::GET | Method::HEAD => false,
        _ => return Err(NoRoute::Method),
    };
    match (ty.name(), name) {
        ("ValueSet", "$expand") => Ok(Route::Expand(id, posted)),
        ("ValueSet" | "CodeSystem", "$validate-code") => Ok(Route::ValidateCode(ty, id, posted)),
        (_, "$validate") if posted || id.is_some() => Ok(Route::Validate(ty, id, posted)),
        (_, "$validate") => Err(NoRoute::Method),
        _ => Err(NoRoute::NotSupported),
    }
}

#[cfg(test)]
mod tests {
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
                Err(e) => format!("{t} {e:?}"),
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

    /// What the comments of `Route` say: variant, method, path below the base. Read from
    /// this very file, so that nothing has to be kept beside it.
    fn documented() -> Vec<(String, String, String)> {
        let source = include_str!("route.rs");
        let body = source.split("enum Route {").nth(1).unwrap().split("\n}").next().unwrap();
        let (mut all, mut said) = (Vec::new(), String::new());
        for line in body.lines().map(str::trim).filter(|l| !l.is_empty()) {
            if let Some(comment) = line.strip_prefix("///") {
                said.push_str(comment);
                continue;
            }
            let variant = line.split(['(', ',']).next().unwrap();
            let templates: Vec<_> = said.split('`').skip(1).step_by(2).collect();
            assert!(!templates.is_empty(), "{variant} does not say what it is");
            for template in templates {
                let (method, path) = template.split_once(' ').unwrap();
                let path = path.strip_prefix("[base]").unwrap();
                all.push((variant.to_owned(), method.to_owned(), path.to_owned()));
            }
            said.clear();
        }
        all
    }

    fn variant(method: &str, path: &str) -> Option<String> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = route(&method, path).ok()?;
        Some(format!("{found:?}").split('(').next().unwrap().to_owned())
    }

    /// A path of the form.
    fn sample(template: &str) -> String {
        let path = template.replace("[type]", "Condition").replace("[compartment]", "Patient");
        path.replace("[id]", "a").replace("[vid]", "1")
    }

    #[test]
    fn every_route_is_documented_and_every_documented_route_is_one() {
        let documented = documented();
        for (name, method, template) in &documented {
            let found = variant(method, &sample(template));
            assert_eq!(found.as_ref(), Some(name), "{method} {template}");
        }
        // Whatever is no documented route leads nowhere.
        let parts = [
            "Condition",
            "Patient",
            "a",
            "1",
            "_history",
            "_search",
            "metadata",
            "$everything",
            "Subscription",
            "$status",
            "$events",
        ];
        let mut paths = vec![Vec::new()];
        let mut last = paths.clone();
        for _ in 0..4 {
            last = last
                .iter()
                .flat_map(|p: &Vec<&str>| parts.iter().map(move |s| [p.as_slice(), &[*s]].concat()))
                .collect();
            paths.extend(last.iter().cloned());
        }
        let fits = |path: &[&str], template: &str| {
            let template: Vec<&str> = template.split('/').filter(|s| !s.is_empty()).collect();
            template.len() == path.len()
                && template.iter().zip(path).all(|(t, p)| t.starts_with('[') || t == p)
        };
        for path in paths {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                if let Some(found) = variant(method, &path.join("/")) {
                    let asked = if method == "HEAD" { "GET" } else { method };
                    assert!(
                        documented
                            .iter()
                            .any(|(name, m, t)| *name == found && m == asked && fits(&path, t)),
                        "{method} {path:?} is {found}, which does not say so"
                    );
                }
            }
        }
    }

    #[test]
    fn every_route_has_its_rows_in_the_golden_table() {
        let golden = include_str!("../../tests/golden/routes.txt");
        let rows: Vec<&str> = golden.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        let documented: Vec<String> =
            documented().iter().map(|(_, m, t)| format!("{m} [base]{t}")).collect();
        assert_eq!(rows, documented, "add the route to crates/phial/tests/it/routes.rs");
    }
}
