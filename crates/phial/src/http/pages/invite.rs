//! An invitation's page: the first password of an account, or a new one for somebody who
//! lost everything. It leads on to the second factor, and the link is used up when that is
//! set.

use axum::http::StatusCode;
use maud::html;
use phial_audit::{DetailKey, EventKind};
use phial_base::SubjectId;
use phial_identity::sso::Links;
use phial_identity::{Account, Factors, Invitation, Shown};

use super::layout::{Field, Message, Page, form};
use super::login::begin_login;
use super::visit::{Turn, Visit};
use super::{Answer, sso};

/// The invitation of the link, and the account that it is for.
async fn invited(visit: &Visit) -> Result<(String, Invitation, Account), Turn> {
    by_token(visit, visit.words.first().map_or("", String::as_str)).await
}

/// The invitation of this token, and the account that it is for.
pub(super) async fn by_token(
    visit: &Visit,
    token: &str,
) -> Result<(String, Invitation, Account), Turn> {
    let found =
        visit.invitations()?.find(token, visit.request.at).map_err(|e| visit.identity(e))?;
    let gone = || {
        Turn::refused(
            StatusCode::NOT_FOUND,
            "This link is not good",
            "It was used up, is too old, or a newer one was made. Ask whoever gave it to you for \
             a new one.",
        )
    };
    let Some((name, invitation)) = found else {
        let why = [(DetailKey::Reason, "no such invitation".to_owned())];
        visit.note(None, EventKind::TokenRefused, &why).await?;
        return Err(gone());
    };
    let account = visit.accounts()?.find(&invitation.user).map_err(|e| visit.identity(e))?;
    let account = account.filter(|a| a.active).ok_or_else(gone)?;
    Ok((name, invitation, account))
}

/// `GET /invite/[token]`
pub(crate) async fn show(visit: Visit) -> Answer {
    let (_, _, account) = invited(&visit).await?;
    page(&visit, &account, StatusCode::OK, None)
}

fn page(visit: &Visit, account: &Account, status: StatusCode, message: Option<Message>) -> Answer {
    let token = visit.words.first().map_or("", String::as_str);
    let path = format!("/invite/{token}");
    let providers = sso::providers(visit);
    let name = account.name.as_deref().unwrap_or(account.id.as_str());
    let content = html! {
        p { "Welcome, " (name) ". Your account name is " strong { (account.id) } "." }
        ol.steps {
            li aria-current="step" { "Choose a password" }
            li { "Add a passkey or an authenticator app" }
            li { "Keep your recovery codes" }
        }
        (form(visit, &path, html! {
            input.away type="text" name="username" value=(account.id) autocomplete="username"
                readonly tabindex="-1" aria-hidden="true";
            (Field { focus: true,
                hint: Some("At least 12 characters, of any kind. A few words together are good. \
                            Paste one from a password manager if you use one."),
                ..Field::password("password", "Password", "new-password") }.html())
            (Field::password("repeat", "The same again", "new-password").html())
            button.primary type="submit" { "Continue" }
        })?)
        @if !providers.is_empty() {
            section aria-labelledby="by-provider" {
                h2 #by-provider { "Without a password" }
                p { "You can log in with your organization instead." }
                @for (name, provider) in &providers {
                    p { a.button href=(sso::to(visit, name, &[("invitation", token)])) {
                        (provider.label)
                    } }
                }
            }
        }
    };
    Page::new("Set up your account", content).with(message).show_as(status, visit)
}

/// `POST /invite/[token]`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let (name, invitation, account) = invited(&visit).await?;
    let wrong = |text: String| {
        page(&visit, &account, StatusCode::UNPROCESSABLE_ENTITY, Some(Message::Wrong(text)))
    };
    let phc = match chosen(&visit, &account).await? {
        Ok(phc) => phc,
        Err(text) => return wrong(text),
    };
    let factors = visit.factors()?;
    let (sessions, now) = (visit.app.tokens.sessions(), visit.request.at);
    let subject = visit.as_account(&account.id)?;
    let whose = (DetailKey::Account, account.id.to_string());
    let before = factors.of(&account.id).map_err(|e| visit.identity(e))?;
    if invitation.anew {
        clear(&visit, &account.id).await?;
    }
    visit.note(Some(&subject), EventKind::PasswordChanged, std::slice::from_ref(&whose)).await?;
    factors.set_password(&account.id, &phc, now).map_err(|e| visit.identity(e))?;
    visit.note(Some(&subject), EventKind::UserChanged, &[whose, visit.control_head()?]).await?;
    if before.password.is_some() {
        // Whoever was in with what was before is out.
        sessions.revoke_user(&visit.tenant, &account.id, now).map_err(|e| visit.store(e))?;
    }
    let shown = Shown {
        browser: visit.browser().to_owned(),
        how: "invitation".to_owned(),
        mfa: 1,
        invitation: Some(name),
        proven: None,
    };
    let old = visit.person()?;
    let issued = begin_login(&visit, &account.id, &shown, old.as_ref())?;
    Ok(visit.logged_in(&issued, &visit.at("/account/enrol")))
}

/// Takes away whatever the account proved itself by: the person begins anew.
pub(super) async fn clear(visit: &Visit, user: &SubjectId) -> Result<(), Turn> {
    let (factors, subject) = (visit.factors()?, visit.as_account(user)?);
    let mut had = factors.of(user).map_err(|e| visit.identity(e))?.kinds();
    let links = Links::new(visit.control()?);
    if !links.of(user).map_err(|e| visit.identity(e))?.is_empty() {
        had.push("sso");
    }
    let detail = [(DetailKey::Account, user.to_string()), (DetailKey::Factor, had.join(" "))];
    visit.note(Some(&subject), EventKind::FactorRemoved, &detail).await?;
    factors.clear(user).map_err(|e| visit.identity(e))?;
    links.undo(user, None).map_err(|e| visit.identity(e))?;
    let forgotten = visit.app.tokens.sessions().forget_browsers(&visit.tenant, user);
    forgotten.map(drop).map_err(|e| visit.store(e))
}

/// The hash of the password that a form brings in twice, or what is wrong with it.
pub(super) async fn chosen(
    visit: &Visit,
    account: &Account,
) -> Result<Result<String, String>, Turn> {
    let typed = visit.field("password").unwrap_or("");
    if visit.field("repeat") != Some(typed) {
        return Ok(Err("The two passwords are not the same.".to_owned()));
    }
    let names = [account.name.as_deref().unwrap_or(""), visit.site.id.as_str()].join(" ");
    if let Err(unfit) = Factors::fit(&account.id, typed, &names) {
        let text = unfit.to_string();
        let mut letters = text.chars();
        let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        return Ok(Err(format!("{first}{}.", letters.as_str())));
    }
    let hashed = visit.app.hashing.hash(typed, std::sync::Arc::clone(&visit.app.rng)).await;
    match hashed {
        Ok(phc) => phc.map(Ok).map_err(|e| visit.identity(e)),
        Err(_) => Err(Turn::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many at once",
            "Try again in a few seconds.",
        )),
    }
}
