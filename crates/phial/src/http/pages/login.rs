//! Logging in, its first half; logging out; and the page after an idle log-off
//! (164.312(d), 164.312(a)(2)(iii), 164.308(a)(5)(ii)(C)).
//!
//! A wrong name, a wrong password and a suspended account are answered alike, and take
//! as long. What was typed as a name is written down only when it is an account's:
//! people type passwords there.

use axum::http::StatusCode;
use jiff::Timestamp;
use maud::html;
use phial_audit::{DetailKey, EventKind};
use phial_base::SubjectId;
use phial_identity::throttle::{Attempt, Guess, Trier, Wait};
use phial_identity::{Person, Shown};

use super::layout::{Field, Message, Page, form};
use super::visit::{Turn, Visit};
use super::{Answer, passkeys, sso};

/// `GET /login`
pub(crate) async fn show(visit: Visit) -> Answer {
    if let Some(person) = visit.person()?
        && person.subject.mfa == 2
    {
        return Err(Turn::To(visit.next().unwrap_or_else(|| visit.at("/"))));
    }
    let message = visit.asked("out").map(|_| Message::Done("You are logged out.".to_owned()));
    page(&visit, StatusCode::OK, message, "")
}

fn page(visit: &Visit, status: StatusCode, message: Option<Message>, name: &str) -> Answer {
    let next = visit.next().unwrap_or_default();
    let wrong = matches!(message, Some(Message::Wrong(_)));
    let providers = sso::providers(visit);
    let content = html! {
        @if !providers.is_empty() {
            section aria-labelledby="by-provider" {
                h2 #by-provider { "With your organization" }
                @for (name, provider) in &providers {
                    p { a.button.primary href=(sso::to(visit, name, &[("next", next.as_str())])) {
                        (provider.label)
                    } }
                }
            }
        }
        section aria-labelledby="by-passkey" {
            h2 #by-passkey { "With a passkey" }
            (passkeys::ask(visit, &next, &[], html! {
                button.primary type="submit" { "Log in with a passkey" }
            })?)
        }
        section aria-labelledby="by-password" {
            h2 #by-password { "With a password" }
            (form(visit, "/login", html! {
                input type="hidden" name="next" value=(next);
                (Field { autocomplete: "username", value: name, focus: !wrong,
                    ..Field::new("user", "Account name") }.html())
                (Field { focus: wrong,
                    ..Field::password("password", "Password", "current-password") }.html())
                button type="submit" { "Continue" }
            })?)
        }
        p.hint { "The address bar of your browser should say " (visit.site.origin) "." }
    };
    Page::new("Log in", content).with(message).scripted().show_as(status, visit)
}

/// `POST /login`: the password.
pub(crate) async fn submit(visit: Visit) -> Answer {
    let typed = visit.field("user").unwrap_or("").trim().to_lowercase();
    let user = SubjectId::new(&typed).ok();
    // Whatever is no name at all has one budget.
    let name = user.as_ref().map_or("?", SubjectId::as_str).to_owned();
    let (attempt, known) = begin(&visit, &name, user.as_ref(), Guess::Password).await?;
    let account = match &user {
        Some(user) => visit.accounts()?.find(user).map_err(|e| visit.identity(e))?,
        None => None,
    };
    let exists = account.is_some();
    let account = account.filter(|a| a.active);
    let factors = match &account {
        Some(account) => visit.factors()?.of(&account.id).map_err(|e| visit.identity(e))?,
        None => phial_identity::Credentials::default(),
    };
    let typed_password = visit.field("password").unwrap_or("");
    let judged = visit.app.hashing.verify(known, typed_password, factors.password.clone()).await;
    let Ok(good) = judged else {
        return Err(Turn::Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many at once",
            "Too many people try to log in right now. Try again in a few seconds.".to_owned(),
            Some(jiff::SignedDuration::from_secs(5)),
        ));
    };
    let sessions = visit.app.tokens.sessions();
    let (Some(account), true) = (account, good) else {
        attempt
            .failed(&visit.app.throttle, sessions, visit.request.at)
            .map_err(|e| visit.identity(e))?;
        failed(&visit, user.as_ref().filter(|_| exists), "password").await?;
        let text = "This name and this password do not belong together. Look at both and try \
                    again.";
        let shown = user.as_ref().map_or("", |u| u.as_str());
        return page(&visit, StatusCode::FORBIDDEN, Some(Message::Wrong(text.to_owned())), shown);
    };
    attempt
        .passed(&visit.app.throttle, sessions, visit.request.at)
        .map_err(|e| visit.identity(e))?;
    if !factors.has_second() {
        failed(&visit, Some(&account.id), "password, and no second factor is set").await?;
        return Err(Turn::refused(
            StatusCode::FORBIDDEN,
            "One step is missing",
            "A passkey or an authenticator app has to be set before this account can be used. \
             Open the link of your invitation again, or ask for a new one.",
        ));
    }
    let shown = Shown {
        browser: visit.browser().to_owned(),
        how: "password".to_owned(),
        mfa: 1,
        invitation: None,
        proven: None,
    };
    let old = visit.person()?;
    let issued = begin_login(&visit, &account.id, &shown, old.as_ref())?;
    let to = match visit.next() {
        Some(next) => visit.at_then("/login/second", &next),
        None => visit.at("/login/second"),
    };
    Ok(visit.logged_in(&issued, &to))
}

/// Takes an attempt's share of the budgets; also says whether it comes from a browser that
/// the account is known at.
pub(super) async fn begin(
    visit: &Visit,
    name: &str,
    user: Option<&SubjectId>,
    guess: Guess,
) -> Result<(Attempt, bool), Turn> {
    let sessions = visit.app.tokens.sessions();
    let (now, browser) = (visit.request.at, visit.browser());
    let mut known = false;
    if let Some(user) = user {
        known = sessions
            .knows_browser(&visit.tenant, browser, user, now)
            .map_err(|e| visit.store(e))?
            && visit
                .app
                .throttle
                .trusts(sessions, &visit.tenant, name, browser)
                .map_err(|e| visit.identity(e))?;
    }
    let trier = Trier {
        tenant: &visit.tenant,
        name,
        ip: visit.request.ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        known: known.then_some(browser),
        guess,
    };
    match visit.app.throttle.begin(sessions, &trier, now).map_err(|e| visit.identity(e))? {
        Ok(attempt) => Ok((attempt, known)),
        Err(wait) => Err(throttled(visit, wait).await?),
    }
}

/// As [`begin`], where nobody is named yet and nothing is guessed.
pub(super) async fn begin_unnamed(visit: &Visit, guess: Guess) -> Result<Attempt, Turn> {
    let sessions = visit.app.tokens.sessions();
    let (now, browser) = (visit.request.at, visit.browser());
    let known =
        sessions.is_browser_of_somebody(&visit.tenant, browser, now).map_err(|e| visit.store(e))?;
    let trier = Trier {
        tenant: &visit.tenant,
        name: "",
        ip: visit.request.ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        known: known.then_some(browser),
        guess,
    };
    match visit.app.throttle.begin(sessions, &trier, now).map_err(|e| visit.identity(e))? {
        Ok(attempt) => Ok(attempt),
        Err(wait) => Err(throttled(visit, wait).await?),
    }
}

async fn throttled(visit: &Visit, wait: Wait) -> Result<Turn, Turn> {
    if let Some(count) = wait.tell {
        let detail = [(DetailKey::Count, count.to_string())];
        visit.note(None, EventKind::Throttled, &detail).await?;
    }
    let text = match wait.after {
        Some(after) => format!(
            "Too many attempts came from here or for this account. Wait for {} and try again. A \
             passkey works at any time.",
            words(after)
        ),
        None => "Too many attempts were made for this account. Log in with a passkey, or from a \
                 browser that you used before."
            .to_owned(),
    };
    Ok(Turn::Refused(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", text, wait.after))
}

fn words(wait: jiff::SignedDuration) -> String {
    match wait.as_secs() {
        ..60 => "a minute".to_owned(),
        seconds => format!("{} minutes", seconds / 60 + 1),
    }
}

/// Writes down that an attempt failed.
pub(super) async fn failed(
    visit: &Visit,
    user: Option<&SubjectId>,
    factor: &str,
) -> Result<(), Turn> {
    let mut detail = vec![(DetailKey::Factor, factor.to_owned())];
    if let Some(user) = user {
        detail.push((DetailKey::Account, user.to_string()));
    }
    visit.note(None, EventKind::LoginFailed, &detail).await
}

/// A log-in that replaces what the browser had, if that was the same account's.
pub(super) fn begin_login(
    visit: &Visit,
    user: &SubjectId,
    shown: &Shown,
    old: Option<&Person>,
) -> Result<phial_store::sessions::Issued, Turn> {
    let now = visit.request.at;
    let sessions = visit.app.tokens.sessions();
    let same = old.filter(|p| p.subject.id == *user);
    if let Some(other) = old
        && same.is_none()
    {
        // Someone else was logged in at this browser: that is over.
        sessions.revoke(&visit.tenant, &other.session.handle, now).map_err(|e| visit.store(e))?;
    }
    visit
        .app
        .tokens
        .log_in(
            visit.control()?,
            visit.app.engine.policy(),
            &visit.tenant,
            user,
            shown,
            same.map(|p| p.session.as_ref()),
            now,
        )
        .map_err(|e| visit.identity(e))
}

/// The log-in is whole: two factors were shown just now. The browser is known from now on.
pub(super) async fn whole(
    visit: &Visit,
    user: &SubjectId,
    how: &str,
    old: Option<&Person>,
) -> Result<phial_store::sessions::Issued, Turn> {
    whole_since(visit, user, how, old, None).await
}

/// As [`whole`]; `proven`: when they were shown, if that was before.
pub(super) async fn whole_since(
    visit: &Visit,
    user: &SubjectId,
    how: &str,
    old: Option<&Person>,
    proven: Option<Timestamp>,
) -> Result<phial_store::sessions::Issued, Turn> {
    let shown = Shown {
        browser: visit.browser().to_owned(),
        how: how.to_owned(),
        mfa: 2,
        invitation: None,
        proven,
    };
    let again = old.is_some_and(|p| p.subject.id == *user && p.subject.mfa == 2);
    let issued = begin_login(visit, user, &shown, old)?;
    let (sessions, now) = (visit.app.tokens.sessions(), visit.request.at);
    sessions.keep_browser(&visit.tenant, visit.browser(), user, now).map_err(|e| visit.store(e))?;
    visit
        .app
        .throttle
        .seen(sessions, &visit.tenant, user.as_str(), now)
        .map_err(|e| visit.identity(e))?;
    let kind = if again { EventKind::Reauthenticated } else { EventKind::Login };
    let mut subject = visit.as_account(user)?;
    let shown = std::sync::Arc::make_mut(&mut subject);
    (shown.mfa, shown.session) = (2, Some(issued.handle.clone()));
    let detail = [
        (DetailKey::Account, user.to_string()),
        (DetailKey::Factor, how.to_owned()),
        (DetailKey::Token, issued.handle.clone()),
        (DetailKey::Until, issued.expires.to_string()),
    ];
    visit.note(Some(&subject), kind, &detail).await?;
    Ok(issued)
}

/// `POST /logout`
pub(crate) async fn log_out(visit: Visit) -> Answer {
    if let Some(person) = visit.person()? {
        let handle = &person.session.handle;
        let ended = visit.app.tokens.sessions().revoke(&visit.tenant, handle, visit.request.at);
        ended.map_err(|e| visit.store(e))?;
        let detail = [(DetailKey::Token, handle.clone())];
        visit.note(Some(&person.subject), EventKind::Logout, &detail).await?;
    }
    Ok(visit.logged_out(&visit.at("/login?out=1")))
}

/// `GET /login/ended`: where a page goes by itself once it lay idle for too long.
pub(crate) async fn ended(visit: Visit) -> Answer {
    let content = if visit.still_logged_in()? {
        html! {
            p { "This page was not used for a while. You are still logged in, by another page." }
            p { a.button href=(visit.at("/")) { "Go on" } }
        }
    } else {
        html! {
            p role="status" { "You were logged out because nothing was done for a while." }
            p { a.button href=(visit.at("/login")) { "Log in again" } }
        }
    };
    Page::new("Logged out", content).show(&visit)
}
