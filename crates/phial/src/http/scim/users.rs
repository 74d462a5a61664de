//! Users: accounts (RFC 7643 section 4.1).

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use phial_audit::EventKind;
use phial_base::{SubjectId, Version};
use phial_identity::Account;
use serde_json::{Value, json};

use super::schemas::USER;
use super::{Held, No, Scim, bad, filter, no, said};
use crate::http::answer;

/// What of an account a directory may say.
#[derive(Clone, Debug, Default)]
struct Said {
    name: Option<String>,
    external: Option<String>,
    active: Option<bool>,
    roles: Option<Vec<String>>,
}

/// Attribute names are compared without case (RFC 7643 section 2.1).
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.as_object()?.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// A flag; some directories send it as text.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(s) if s.eq_ignore_ascii_case("true") => Some(true),
        Value::String(s) if s.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn values(value: &Value) -> Option<Vec<String>> {
    let one = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        v => member(v, "value")?.as_str().map(str::to_owned),
    };
    match value {
        Value::Array(all) => all.iter().map(one).collect(),
        v => Some(vec![one(v)?]),
    }
}

fn name_of(value: &Value) -> Result<Option<String>, No> {
    let Some(text) = value.as_str() else { return Err(bad("displayName is text")) };
    let text = text.trim();
    if text.chars().count() > 120 || text.chars().any(char::is_control) {
        return Err(bad("displayName has at most 120 characters"));
    }
    Ok(Some(text.to_owned()).filter(|t| !t.is_empty()))
}

/// The directory's own name for the person, as a provider's `sub` may be.
fn external_of(value: &Value) -> Result<Option<String>, No> {
    let text = value.as_str().ok_or_else(|| bad("externalId is text"))?;
    let good = text.len() <= 255 && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if !good {
        return Err(bad("externalId has at most 255 ASCII characters"));
    }
    Ok(Some(text.to_owned()).filter(|t| !t.is_empty()))
}

impl Said {
    fn read(value: &Value) -> Result<Said, No> {
        let mut all = Said::default();
        if member(value, "password").is_some() {
            return Err(bad("people set their passwords themselves: leave password out"));
        }
        if let Some(name) = member(value, "displayName") {
            all.name = name_of(name)?;
        }
        if let Some(external) = member(value, "externalId") {
            all.external = external_of(external)?;
        }
        if let Some(active) = member(value, "active") {
            all.active = Some(flag(active).ok_or_else(|| bad("active is true or false"))?);
        }
        if let Some(roles) = member(value, "roles") {
            all.roles = Some(values(roles).ok_or_else(|| bad("roles are [{\"value\": \"...\"}]"))?);
        }
        Ok(all)
    }
}

impl Scim<'_> {
    /// The roles, if the directory may give them.
    pub(super) fn given(&self, mut roles: Vec<String>) -> Result<Vec<String>, No> {
        roles.sort();
        roles.dedup();
        let ours = self.roles();
        if roles.iter().any(|r| !ours.contains(r)) {
            return Err(bad(format!(
                "a directory may give these roles (scim.roles): {}",
                ours.join(", ")
            )));
        }
        if roles.is_empty() {
            return Err(bad("an account needs a role: roles, of scim.roles"));
        }
        Ok(roles)
    }

    fn shown(&self, account: &Account, version: Version) -> Value {
        let id = account.id.as_str();
        let one = |r: &String| json!({"value": r, "display": r});
        let group = |r: &String| json!({"value": r, "display": r, "$ref": format!("{}/Groups/{r}", self.base)});
        let mut said = json!({
            "schemas": [USER],
            "id": id,
            "userName": id,
            "displayName": account.name.as_deref().unwrap_or(id),
            "active": account.active,
            "roles": account.roles.iter().map(one).collect::<Vec<_>>(),
            "groups": account.roles.iter().map(group).collect::<Vec<_>>(),
            "meta": {
                "resourceType": "User",
                "location": format!("{}/Users/{id}", self.base),
                "version": format!("W/\"{version}\""),
            },
        });
        if let (Some(external), Some(said)) = (&account.external, said.as_object_mut()) {
            said.insert("externalId".to_owned(), external.as_str().into());
        }
        said
    }

    /// Nobody else is called so (RFC 7643 section 3.1).
    fn once(&self, account: &Account) -> Result<(), No> {
        let Some(external) = &account.external else { return Ok(()) };
        let all = self.accounts().all().map_err(|e| self.failed(e))?;
        let other = |a: &&Account| a.id != account.id && !a.ended;
        if all.iter().filter(other).any(|a| a.external.as_ref() == Some(external)) {
            let text = "another account has this externalId";
            return Err(no(StatusCode::CONFLICT, "uniqueness", text));
        }
        Ok(())
    }

    fn with_tag(&self, status: StatusCode, held: &Held) -> Response<Body> {
        let mut response = said(status, &self.shown(&held.account, held.version));
        let tag = HeaderValue::from_str(&format!("W/\"{}\"", held.version));
        let at = HeaderValue::from_str(&format!("{}/Users/{}", self.base, held.account.id));
        if let (Ok(tag), Ok(at)) = (tag, at) {
            response.headers_mut().insert(header::ETAG, tag);
            response.headers_mut().insert(header::LOCATION, at);
        }
        response
    }

    pub(super) async fn user(&self, id: &str) -> Result<Response<Body>, No> {
        self.looked("user").await?;
        let held = self.held(id)?;
        let tag = format!("\"{}\"", held.version);
        let known = self.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        if known.is_some_and(|t| t.trim().trim_start_matches("W/") == tag) {
            return Ok(answer::empty(StatusCode::NOT_MODIFIED));
        }
        Ok(self.with_tag(StatusCode::OK, &held))
    }

    pub(super) async fn users(&self) -> Result<Response<Body>, No> {
        self.looked("users").await?;
        let conditions = match self.query.iter().find(|(n, _)| n == "filter") {
            None => Vec::new(),
            Some((_, text)) => filter::read(text).ok_or_else(|| {
                let text = "only ATTRIBUTE eq VALUE is read here, and several with and";
                no(StatusCode::BAD_REQUEST, "invalidFilter", text)
            })?,
        };
        let mut found = Vec::new();
        for account in self.accounts().all().map_err(|e| self.failed(e))? {
            if !self.is_ours(&account) {
                continue;
            }
            let fits = |(name, value): &(String, String)| match name.as_str() {
                "username" | "id" => Ok(account.id.as_str() == value.to_ascii_lowercase()),
                "active" => Ok(account.active == (value == "true")),
                "externalid" => Ok(account.external.as_deref() == Some(value.as_str())),
                "displayname" => Ok(account.name.as_deref() == Some(value.as_str())),
                "roles" | "roles.value" | "groups" | "groups.value" => {
                    Ok(account.roles.contains(value))
                }
                _ => Err(no(
                    StatusCode::BAD_REQUEST,
                    "invalidFilter",
                    "a filter goes by userName, id, externalId, active, displayName or roles",
                )),
            };
            if conditions.iter().map(fits).collect::<Result<Vec<_>, _>>()?.into_iter().all(|f| f) {
                let held = self.held(account.id.as_str())?;
                found.push(self.shown(&held.account, held.version));
            }
        }
        self.listed(found)
    }

    pub(super) async fn add_user(&self) -> Result<Response<Body>, No> {
        let value = self.json()?;
        let name = member(&value, "userName").and_then(Value::as_str).unwrap_or("");
        let id = SubjectId::new(&name.to_ascii_lowercase())
            .map_err(|_| bad("userName is 1 to 64 of a-z 0-9 . _ @ -"))?;
        let told = Said::read(&value)?;
        let mut account = Account::new(id, self.given(told.roles.unwrap_or_default())?);
        account.name = told.name;
        account.external = told.external;
        account.active = told.active.unwrap_or(true);
        self.once(&account)?;
        if self.accounts().find(&account.id).map_err(|e| self.failed(e))?.is_some() {
            return Err(self.failed(phial_identity::Error::Exists));
        }
        self.changed(EventKind::UserAdded, &account, None, |all| all.add(&account)).await?;
        Ok(self.with_tag(StatusCode::CREATED, &self.held(account.id.as_str())?))
    }

    pub(super) async fn replace_user(&self, id: &str) -> Result<Response<Body>, No> {
        let held = self.held(id)?;
        self.if_match(held.version)?;
        let value = self.json()?;
        let named = member(&value, "userName").and_then(Value::as_str);
        if named.is_some_and(|n| n.to_ascii_lowercase() != held.account.id.as_str()) {
            return Err(no(
                StatusCode::BAD_REQUEST,
                "mutability",
                "an account's name stays: the log knows the person by it",
            ));
        }
        let told = Said::read(&value)?;
        let mut account = held.account.clone();
        account.name = told.name;
        account.external = told.external;
        account.active = told.active.unwrap_or(true);
        // Left out is taken away, and an account needs a role.
        account.roles = self.given(told.roles.unwrap_or_default())?;
        self.change_to(&held, &account).await?;
        Ok(self.with_tag(StatusCode::OK, &self.held(id)?))
    }

    pub(super) async fn patch_user(&self, id: &str) -> Result<Response<Body>, No> {
        let held = self.held(id)?;
        self.if_match(held.version)?;
        let mut account = held.account.clone();
        for operation in operations(&self.json()?)? {
            patch(&mut account, &operation)?;
        }
        account.roles = self.given(account.roles)?;
        self.change_to(&held, &account).await?;
        Ok(self.with_tag(StatusCode::OK, &self.held(id)?))
    }

    pub(super) async fn end_user(&self, id: &str) -> Result<Response<Body>, No> {
        let held = self.held(id)?;
        self.if_match(held.version)?;
        let mut account = held.account.clone();
        account.active = false;
        account.ended = true;
        let before = Some(&held.account);
        self.changed(EventKind::UserEnded, &account, before, |all| all.change(&account)).await?;
        Ok(answer::empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn change_to(&self, held: &Held, account: &Account) -> Result<(), No> {
        if *account == held.account {
            return Ok(());
        }
        self.once(account)?;
        let before = Some(&held.account);
        self.changed(EventKind::UserChanged, account, before, |all| all.change(account)).await
    }
}

/// One operation of a PATCH: `op` in lower case, `path`, `value`.
pub(super) struct Operation {
    pub(super) op: String,
    pub(super) path: String,
    pub(super) value: Value,
}

pub(super) fn operations(body: &Value) -> Result<Vec<Operation>, No> {
    let invalid = || {
        let text =
            "a patch is {\"Operations\": [{\"op\": \"replace\", \"path\": ..., \"value\": ...}]}";
        no(StatusCode::BAD_REQUEST, "invalidSyntax", text)
    };
    let all = member(body, "Operations").and_then(Value::as_array).ok_or_else(invalid)?;
    if all.is_empty() || all.len() > 1000 {
        return Err(invalid());
    }
    all.iter()
        .map(|o| {
            let text = |name| member(o, name).and_then(Value::as_str).map(str::to_owned);
            let op = text("op").map(|o| o.to_ascii_lowercase()).ok_or_else(invalid)?;
            if !matches!(op.as_str(), "add" | "replace" | "remove") {
                return Err(invalid());
            }
            let value = member(o, "value").cloned().unwrap_or(Value::Null);
            Ok(Operation { op, path: text("path").unwrap_or_default(), value })
        })
        .collect()
}

/// `roles[value eq "nurse"]`: the value.
pub(super) fn picked(path: &str, attribute: &str) -> Option<String> {
    let rest = path.strip_prefix(attribute)?.strip_prefix('[')?.strip_suffix(']')?;
    match filter::read(rest)?.as_slice() {
        [(name, value)] if name == "value" => Some(value.clone()),
        _ => None,
    }
}

fn patch(account: &mut Account, o: &Operation) -> Result<(), No> {
    if o.path.is_empty() {
        // Several attributes at once.
        let Some(all) = o.value.as_object() else { return Err(bad("value is an object here")) };
        for (name, value) in all {
            let one = Operation { op: o.op.clone(), path: name.clone(), value: value.clone() };
            patch(account, &one)?;
        }
        return Ok(());
    }
    let path = o.path.strip_prefix(&format!("{USER}:")).unwrap_or(&o.path);
    let removes = o.op == "remove";
    if path.eq_ignore_ascii_case("active") {
        let to = if removes { Some(true) } else { flag(&o.value) };
        account.active = to.ok_or_else(|| bad("active is true or false"))?;
    } else if path.eq_ignore_ascii_case("displayName") {
        account.name = if removes { None } else { name_of(&o.value)? };
    } else if path.eq_ignore_ascii_case("externalId") {
        account.external = if removes { None } else { external_of(&o.value)? };
    } else if let Some(role) = picked(path, "roles") {
        if !removes {
            return Err(no(StatusCode::BAD_REQUEST, "invalidPath", "one role is only removed so"));
        }
        account.roles.retain(|r| *r != role);
    } else if path.eq_ignore_ascii_case("roles") {
        let values = if o.value.is_null() && removes { Some(Vec::new()) } else { values(&o.value) };
        let values = values.ok_or_else(|| bad("roles are [{\"value\": \"...\"}]"))?;
        match o.op.as_str() {
            "add" => account.roles.extend(values),
            "replace" => account.roles = values,
            _ if values.is_empty() => account.roles.clear(),
            _ => account.roles.retain(|r| !values.contains(r)),
        }
    } else if ["schemas", "id", "userName", "meta"].iter().any(|n| path.eq_ignore_ascii_case(n)) {
        return Err(no(StatusCode::BAD_REQUEST, "mutability", "this stays as it is"));
    } else {
        let text = "a patch goes to active, displayName, externalId or roles";
        return Err(no(StatusCode::BAD_REQUEST, "invalidPath", text));
    }
    Ok(())
}

/// For groups: a member by its name.
pub(super) fn members(value: &Value) -> Result<Vec<String>, No> {
    values(value).ok_or_else(|| bad("members are [{\"value\": \"...\"}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let id = SubjectId::new("ana").unwrap();
        let start = Account::new(id, vec!["nurse".into(), "billing".into()]);
        let check = |operations: Value, expected: &dyn Fn(&Account) -> bool| {
            let mut account = start.clone();
            let body = json!({ "Operations": operations });
            for o in super::operations(&body).unwrap() {
                patch(&mut account, &o).unwrap();
            }
            assert!(expected(&account), "{operations}: {account:?}");
        };
        check(json!([{"op": "Replace", "path": "active", "value": "False"}]), &|a| !a.active);
        check(json!([{"op": "replace", "value": {"active": false, "displayName": "A"}}]), &|a| {
            !a.active && a.name.as_deref() == Some("A")
        });
        check(json!([{"op": "remove", "path": "roles[value eq \"nurse\"]"}]), &|a| {
            a.roles == ["billing"]
        });
        check(json!([{"op": "replace", "path": "roles", "value": [{"value": "nurse"}]}]), &|a| {
            a.roles == ["nurse"]
        });
        check(json!([{"op": "add", "path": "externalId", "value": "e-1"}]), &|a| {
            a.external.as_deref() == Some("e-1")
        });
        for bad in [
            json!([{"op": "replace", "path": "userName", "value": "b"}]),
            json!([{"op": "replace", "path": "password", "value": "b"}]),
            json!([{"op": "replace", "path": "active", "value": 1}]),
            json!([{"op": "replace", "value": "x"}]),
        ] {
            let body = json!({ "Operations": bad });
            let mut account = start.clone();
            let all = super::operations(&body).unwrap();
            assert!(all.iter().any(|o| patch(&mut account, o).is_err()), "{bad}");
        }
        assert!(super::operations(&json!({"Operations": []})).is_err());
        assert!(super::operations(&json!({"Operations": [{"op": "move"}]})).is_err());
    }
}
