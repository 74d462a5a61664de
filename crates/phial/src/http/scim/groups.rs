//! Groups: roles, each with those who hold it (RFC 7643 section 4.2). A role is made by
//! policy, not by a directory.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::schemas::GROUP;
use super::users::{members, operations, picked};
use super::{Held, No, Scim, absent, filter, no, said};

impl Scim<'_> {
    fn shown_group(&self, role: &str) -> Result<Value, No> {
        let all = self.accounts().all().map_err(|e| self.failed(e))?;
        let holders = all.iter().filter(|a| self.is_ours(a) && a.roles.iter().any(|r| r == role));
        let one = |a: &phial_identity::Account| {
            let id = a.id.as_str();
            json!({"value": id, "display": a.name.as_deref().unwrap_or(id),
                "$ref": format!("{}/Users/{id}", self.base)})
        };
        Ok(json!({
            "schemas": [GROUP],
            "id": role,
            "displayName": role,
            "members": holders.map(one).collect::<Vec<_>>(),
            "meta": {"resourceType": "Group", "location": format!("{}/Groups/{role}", self.base)},
        }))
    }

    fn known(&self, role: &str) -> Result<(), No> {
        if self.roles().iter().any(|r| r == role) { Ok(()) } else { Err(absent()) }
    }

    pub(super) async fn group(&self, role: &str) -> Result<Response<Body>, No> {
        self.looked("group").await?;
        self.known(role)?;
        Ok(said(StatusCode::OK, &self.shown_group(role)?))
    }

    pub(super) async fn groups(&self) -> Result<Response<Body>, No> {
        self.looked("groups").await?;
        let mut roles = self.roles();
        if let Some((_, text)) = self.query.iter().find(|(n, _)| n == "filter") {
            let bad = || {
                let text = "groups are filtered by displayName eq or id eq";
                no(StatusCode::BAD_REQUEST, "invalidFilter", text)
            };
            for (name, value) in filter::read(text).ok_or_else(bad)? {
                match name.as_str() {
                    "displayname" | "id" => roles.retain(|r| *r == value),
                    _ => return Err(bad()),
                }
            }
        }
        let all = roles.iter().map(|r| self.shown_group(r)).collect::<Result<Vec<_>, _>>()?;
        self.listed(all)
    }

    /// PUT and PATCH: who holds the role from now on.
    pub(super) async fn change_group(&self, role: &str) -> Result<Response<Body>, No> {
        self.known(role)?;
        let before: Vec<String> = self
            .accounts()
            .all()
            .map_err(|e| self.failed(e))?
            .into_iter()
            .filter(|a| self.is_ours(a) && a.roles.iter().any(|r| r == role))
            .map(|a| a.id.to_string())
            .collect();
        let body = self.json()?;
        let mut after = before.clone();
        match body.get("Operations") {
            None => after = members(body.get("members").unwrap_or(&json!([])))?,
            Some(_) => {
                for o in operations(&body)? {
                    if let Some(one) = picked(&o.path, "members") {
                        after.retain(|m| *m != one);
                        continue;
                    }
                    let value = match (o.path.as_str(), o.value.get("members")) {
                        ("", Some(value)) => value.clone(),
                        ("members", _) => o.value.clone(),
                        _ => {
                            let text = "a patch of a group goes to members";
                            return Err(no(StatusCode::BAD_REQUEST, "invalidPath", text));
                        }
                    };
                    match o.op.as_str() {
                        "add" => after.extend(members(&value)?),
                        "replace" => after = members(&value)?,
                        _ if value.is_null() => after.clear(),
                        _ => {
                            let gone = members(&value)?;
                            after.retain(|m| !gone.contains(m));
                        }
                    }
                }
            }
        }
        // All of it is looked at before any of it is done.
        let mut changes: Vec<(Held, phial_identity::Account)> = Vec::new();
        let mut named: Vec<&String> = before.iter().chain(&after).collect();
        named.sort();
        named.dedup();
        for name in named {
            let held = self.held(name)?;
            let mut account = held.account.clone();
            account.roles.retain(|r| r != role);
            if after.contains(name) {
                account.roles.push(role.to_owned());
            }
            account.roles = self.given(account.roles)?;
            let mut now = held.account.roles.clone();
            now.sort();
            if now != account.roles {
                changes.push((held, account));
            }
        }
        for (held, account) in &changes {
            self.change_to(held, account).await?;
        }
        Ok(said(StatusCode::OK, &self.shown_group(role)?))
    }
}
