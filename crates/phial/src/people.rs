//! What is done to accounts, whether by a page or by the command line: each act is written
//! down before it is done, and the control log's head after it, so that `verify` notices a
//! control log that was rolled back.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, EventKind};
use phial_base::{SubjectId, TenantId};
use phial_engine::Caller;
use phial_identity::sso::{Link, Links};
use phial_identity::{Account, Accounts, Invitation, Invitations, Reviews};
use phial_store::control::ControlLog;

use crate::app::{App, into_anyhow};
use crate::config::Provider;

fn control<'a>(app: &'a App, tenant: &TenantId) -> anyhow::Result<&'a ControlLog> {
    Ok(app.engine.tenant(tenant).context("there is no such tenant")?.vessel.control())
}

fn accounts<'a>(app: &'a App, caller: &Caller) -> anyhow::Result<Accounts<'a>> {
    Ok(Accounts::new(control(app, &caller.subject.tenant)?, app.engine.policy()))
}

async fn note(
    app: &App,
    caller: &Caller,
    kind: EventKind,
    detail: &[(DetailKey, String)],
) -> anyhow::Result<()> {
    app.engine.record_event(caller, kind, detail).await.map_err(into_anyhow)
}

/// Writes down the control log as it stands after a change.
async fn changed(app: &App, caller: &Caller, account: &Account) -> anyhow::Result<()> {
    let head = control(app, &caller.subject.tenant)?.head()?;
    let detail = [
        (DetailKey::Account, account.id.to_string()),
        (DetailKey::Value, account.standing().to_owned()),
        (DetailKey::ControlHead, head),
    ];
    note(app, caller, EventKind::UserChanged, &detail).await
}

/// Adds an account; the log says so before it can act.
pub(crate) async fn add(app: &App, caller: &Caller, account: &Account) -> anyhow::Result<()> {
    let detail = [
        (DetailKey::Account, account.id.to_string()),
        (DetailKey::RolesAfter, account.roles.join(",")),
    ];
    note(app, caller, EventKind::UserAdded, &detail).await?;
    accounts(app, caller)?.add(account)?;
    changed(app, caller, account).await
}

/// The account of this name.
pub(crate) fn find(app: &App, caller: &Caller, user: &SubjectId) -> anyhow::Result<Account> {
    Ok(accounts(app, caller)?.find(user)?.ok_or(phial_identity::Error::NoAccount)?)
}

/// Changes what an account may do. Its living sessions see that at their next request.
pub(crate) async fn set_roles(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    roles: Vec<String>,
    unit: Option<String>,
) -> anyhow::Result<Account> {
    Account::is_not(user, &caller.subject.id)?;
    let mut account = find(app, caller, user)?;
    let detail = [
        (DetailKey::Account, user.to_string()),
        (DetailKey::RolesBefore, account.roles.join(",")),
        (DetailKey::RolesAfter, roles.join(",")),
    ];
    account.roles = roles;
    account.unit = unit;
    note(app, caller, EventKind::UserChanged, &detail).await?;
    accounts(app, caller)?.change(&account)?;
    changed(app, caller, &account).await?;
    Ok(account)
}

/// How an account is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Suspended,
    Ended,
}

/// Suspends, resumes or ends an account. Unless it is resumed, its sessions, browsers and
/// invitations are over at once.
pub(crate) async fn stand(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    standing: Standing,
) -> anyhow::Result<Account> {
    Account::is_not(user, &caller.subject.id)?;
    let mut account = find(app, caller, user)?;
    account.active = standing == Standing::Active;
    account.ended |= standing == Standing::Ended;
    let kind = match standing {
        Standing::Ended => EventKind::UserEnded,
        _ => EventKind::UserChanged,
    };
    let detail =
        [(DetailKey::Account, user.to_string()), (DetailKey::Value, account.standing().to_owned())];
    note(app, caller, kind, &detail).await?;
    accounts(app, caller)?.change(&account)?;
    changed(app, caller, &account).await?;
    if !account.active {
        end_sessions(app, caller, user).await?;
        Invitations::new(control(app, &caller.subject.tenant)?).end_all(user)?;
        app.tokens.sessions().forget_browsers(&caller.subject.tenant, user)?;
    }
    Ok(account)
}

/// Ends every session of an account, and says how many there were.
pub(crate) async fn end_sessions(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
) -> anyhow::Result<usize> {
    let now = caller.request.at;
    let ended = app.tokens.sessions().revoke_user(&caller.subject.tenant, user, now)?;
    // What apps were given in the person's name ends with it.
    app.apps.withdraw(&caller.subject.tenant, Some(user), None, now)?;
    let detail = [(DetailKey::Account, user.to_string()), (DetailKey::Count, ended.to_string())];
    note(app, caller, EventKind::TokenRevoked, &detail).await?;
    Ok(ended)
}

/// Ends one session of an account. False when it was over.
pub(crate) async fn end_session(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    handle: &str,
) -> anyhow::Result<bool> {
    let (tenant, now) = (&caller.subject.tenant, caller.request.at);
    let ended = app.tokens.sessions().revoke(tenant, handle, now)?;
    let detail = [(DetailKey::Account, user.to_string()), (DetailKey::Token, handle.to_owned())];
    note(app, caller, EventKind::TokenRevoked, &detail).await?;
    Ok(ended)
}

/// Ties an account to a person at an identity provider, or undoes that.
pub(crate) async fn link(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    (name, provider): (&str, &Provider),
    subject: &str,
) -> anyhow::Result<()> {
    Account::is_not(user, &caller.subject.id)?;
    let account = find(app, caller, user)?;
    anyhow::ensure!(!account.ended, phial_identity::Error::Ended);
    let link = Link {
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        user: user.clone(),
        by: caller.subject.id.to_string(),
        since: String::new(),
    };
    let detail =
        [(DetailKey::Account, user.to_string()), (DetailKey::Factor, format!("sso {name}"))];
    note(app, caller, EventKind::FactorAdded, &detail).await?;
    let links = Links::new(control(app, &caller.subject.tenant)?);
    links.tie(&accounts(app, caller)?, &link, caller.request.at)?;
    changed(app, caller, &account).await
}

/// Undoes an account's tie to a person at an identity provider, and ends its sessions.
/// False when there was none.
pub(crate) async fn unlink(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    (name, provider): (&str, &Provider),
) -> anyhow::Result<bool> {
    Account::is_not(user, &caller.subject.id)?;
    let account = find(app, caller, user)?;
    let detail =
        [(DetailKey::Account, user.to_string()), (DetailKey::Factor, format!("sso {name}"))];
    note(app, caller, EventKind::FactorRemoved, &detail).await?;
    let links = Links::new(control(app, &caller.subject.tenant)?);
    let undone = links.undo(user, Some(&provider.issuer))?;
    changed(app, caller, &account).await?;
    // Whoever came in by it is out.
    end_sessions(app, caller, user).await?;
    Ok(undone > 0)
}

/// Makes an invitation and gives its path and its end. `anew`: the factors that there are
/// are taken away when it is used.
pub(crate) async fn invite(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    anew: bool,
    valid: SignedDuration,
) -> anyhow::Result<(String, Timestamp)> {
    Account::is_not(user, &caller.subject.id)?;
    let account = find(app, caller, user)?;
    anyhow::ensure!(account.active, phial_identity::Error::NoAccount);
    let until = caller.request.at.checked_add(valid)?;
    let mut detail =
        vec![(DetailKey::Account, user.to_string()), (DetailKey::Until, until.to_string())];
    if anew {
        detail.push((DetailKey::Value, "all factors anew".to_owned()));
    }
    note(app, caller, EventKind::Invited, &detail).await?;
    let invitation =
        Invitation { user: user.clone(), by: caller.subject.id.to_string(), until, anew };
    let invitations = Invitations::new(control(app, &caller.subject.tenant)?);
    let token = invitations.make(app.tokens.sessions(), &invitation)?;
    changed(app, caller, &account).await?;
    let tenant = &caller.subject.tenant;
    let prefix = match *tenant == TenantId::default_tenant() {
        true => String::new(),
        false => format!("/t/{tenant}"),
    };
    Ok((format!("{prefix}/invite/{}", token.as_str()), until))
}

/// Writes down that somebody looked at what an account may do, and left it so.
pub(crate) async fn sign_review(
    app: &App,
    caller: &Caller,
    user: &SubjectId,
    note_said: Option<String>,
) -> anyhow::Result<()> {
    Account::is_not(user, &caller.subject.id)?;
    let account = find(app, caller, user)?;
    let detail =
        [(DetailKey::Account, user.to_string()), (DetailKey::RolesAfter, account.roles.join(","))];
    note(app, caller, EventKind::AccessReviewed, &detail).await?;
    let reviews = Reviews::new(control(app, &caller.subject.tenant)?);
    reviews.sign(&account, &caller.subject.id, note_said, caller.request.at)?;
    changed(app, caller, &account).await
}

/// When accounts were last used.
pub(crate) struct LastUse<'a> {
    app: &'a App,
    tenant: &'a TenantId,
    living: BTreeMap<SubjectId, Timestamp>,
}

impl<'a> LastUse<'a> {
    /// Of a tenant's accounts.
    pub(crate) fn of(app: &'a App, tenant: &'a TenantId) -> anyhow::Result<Self> {
        let mut living = BTreeMap::new();
        for s in app.tokens.sessions().list(tenant)? {
            let used = living.entry(s.user).or_insert(s.last_used);
            *used = s.last_used.max(*used);
        }
        Ok(LastUse { app, tenant, living })
    }

    /// A kept session's last use, or else the beginning of the last one that there was.
    pub(crate) fn by(&self, user: &SubjectId) -> anyhow::Result<Option<Timestamp>> {
        let began = self.app.tokens.sessions().last_began(self.tenant, user)?;
        Ok(self.living.get(user).copied().max(began))
    }
}
