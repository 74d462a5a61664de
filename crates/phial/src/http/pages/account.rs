//! A person's own account: factors, password, recovery codes, log-ins and browsers.
//! Whatever changes a factor needs a proof of who it is within five minutes.

use axum::http::StatusCode;
use maud::html;
use phial_audit::{DetailKey, EventKind};
use phial_identity::Person;

use super::layout::{Field, Message, Page, form, when};
use super::visit::{Need, Visit, see_other};
use super::{Answer, enrol, invite};

/// `GET /account`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let done = match visit.asked("done") {
        Some("factor") => Some("Your factors are changed."),
        Some("password") => Some("Your password is changed. All your other log-ins are ended."),
        Some("session") => Some("The log-in is ended."),
        Some("browsers") => Some("All browsers are forgotten."),
        _ => None,
    };
    page(&visit, &person, StatusCode::OK, done.map(|d| Message::Done(d.to_owned())))
}

fn page(visit: &Visit, person: &Person, status: StatusCode, message: Option<Message>) -> Answer {
    let user = &person.subject.id;
    let factors = visit.factors()?.of(user).map_err(|e| visit.identity(e))?;
    let now = visit.request.at;
    let all = visit.app.tokens.sessions().list(&visit.tenant).map_err(|e| visit.store(e))?;
    let mine: Vec<_> = all.iter().filter(|s| s.user == *user && s.is_alive(now)).collect();
    let many = factors.passkeys.len() + factors.totp.len() > 1;
    let remove = |id: &str, name: &str| {
        form(
            visit,
            "/account/factor/remove",
            html! {
                input type="hidden" name="id" value=(id);
                button.quiet type="submit" aria-label={ "Remove " (name) } { "Remove" }
            },
        )
    };
    let content = html! {
        dl.facts {
            dt { "Account name" } dd { (user) }
            dt { "Roles" } dd { (person.subject.roles.join(", ")) }
            @if let Some(unit) = &person.subject.unit { dt { "Unit" } dd { (unit) } }
        }
        section aria-labelledby="factors" {
            h2 #factors { "Passkeys and apps" }
            table {
                thead { tr { th scope="col" { "What" } th scope="col" { "Kind" }
                    th scope="col" { "Added" } th scope="col" { span.away { "Remove" } } } }
                tbody {
                    @for p in &factors.passkeys {
                        tr { th scope="row" { (p.name) } td { "Passkey" } td { (day(&p.added)) }
                            td { @if many { (remove(&p.id, &p.name)?) } } }
                    }
                    @for t in &factors.totp {
                        tr { th scope="row" { (t.name) } td { "Authenticator app" }
                            td { (day(&t.added)) }
                            td { @if many { (remove(&t.id, &t.name)?) } } }
                    }
                }
            }
            p { a.button href=(visit.at("/account/enrol")) { "Add another one" } }
            p { "Recovery codes left: " (factors.recovery.len()) "." }
            (form(visit, "/account/codes", html! {
                button type="submit" { "Make new recovery codes" }
            })?)
        }
        section aria-labelledby="password-head" {
            h2 #password-head { "Password" }
            @if let Some(since) = &factors.password_since {
                p { "Chosen " (day(since)) ". It has no end; change it when someone may know it." }
            }
            (form(visit, "/account/password", html! {
                input.away type="text" name="username" value=(user) autocomplete="username"
                    readonly tabindex="-1" aria-hidden="true";
                (Field { hint: Some("At least 12 characters, of any kind."),
                    ..Field::password("password", "New password", "new-password") }.html())
                (Field::password("repeat", "The same again", "new-password").html())
                button type="submit" { "Change the password" }
            })?)
        }
        section aria-labelledby="sessions" {
            h2 #sessions { "Where you are logged in" }
            table {
                thead { tr { th scope="col" { "Log-in" } th scope="col" { "How" }
                    th scope="col" { "Since" } th scope="col" { "Last used" }
                    th scope="col" { span.away { "End" } } } }
                tbody {
                    @for s in &mine {
                        tr {
                            th scope="row" {
                                code { (s.handle) }
                                @if s.handle == person.session.handle { " (this one)" }
                            }
                            td { @match &s.login { Some(l) => (l.how), None => "token" } }
                            td { (when(s.created)) }
                            td { (when(s.last_used)) }
                            td {
                                @if s.handle != person.session.handle {
                                    (form(visit, "/account/sessions/end", html! {
                                        input type="hidden" name="handle" value=(s.handle);
                                        button.quiet type="submit"
                                            aria-label={ "End " (s.handle) } { "End" }
                                    })?)
                                }
                            }
                        }
                    }
                }
            }
            (form(visit, "/account/sessions/end", html! {
                input type="hidden" name="handle" value="others";
                button type="submit" { "End all others" }
            })?)
            (form(visit, "/account/browsers/forget", html! {
                button type="submit" { "Forget all browsers" }
                p.hint { "Browsers that you logged in from may try your password more often than \
                          others. Forget them when one was lost." }
            })?)
        }
    };
    Page::new("Your account", content).of(person).with(message).show_as(status, visit)
}

fn day(at: &str) -> &str {
    at.split('T').next().unwrap_or(at)
}

/// `POST /account/password`
pub(crate) async fn password(visit: Visit) -> Answer {
    let person = visit.need(Need::FRESH).await?;
    let user = &person.subject.id;
    let account = visit.accounts()?.find(user).map_err(|e| visit.identity(e))?;
    let account = account.ok_or(phial_engine::Failure::NotFound)?;
    let phc = match invite::chosen(&visit, &account).await? {
        Ok(phc) => phc,
        Err(text) => {
            let message = Some(Message::Wrong(text));
            return page(&visit, &person, StatusCode::UNPROCESSABLE_ENTITY, message);
        }
    };
    let whose = (DetailKey::Account, user.to_string());
    let by = Some(&person.subject);
    visit.note(by, EventKind::PasswordChanged, std::slice::from_ref(&whose)).await?;
    let factors = visit.factors()?;
    factors.set_password(user, &phc, visit.request.at).map_err(|e| visit.identity(e))?;
    end_others(&visit, &person).await?;
    visit.note(by, EventKind::UserChanged, &[whose, visit.control_head()?]).await?;
    Ok(see_other(&visit.at("/account?done=password")))
}

/// `POST /account/factor/remove`
pub(crate) async fn remove(visit: Visit) -> Answer {
    let person = visit.need(Need::FRESH).await?;
    let user = &person.subject.id;
    let id = visit.field("id").unwrap_or("");
    let factors = visit.factors()?;
    let held = factors.of(user).map_err(|e| visit.identity(e))?;
    let is_passkey = held.passkeys.iter().any(|p| p.id == id);
    if !is_passkey && !held.totp.iter().any(|t| t.id == id) {
        return Err(phial_engine::Failure::NotFound.into());
    }
    if held.passkeys.len() + held.totp.len() == 1 {
        return Err(visit.identity(phial_identity::Error::LastFactor));
    }
    let kind = if is_passkey { "passkey" } else { "totp" };
    let whose = (DetailKey::Account, user.to_string());
    let by = Some(&person.subject);
    let detail = [whose.clone(), (DetailKey::Factor, kind.to_owned())];
    visit.note(by, EventKind::FactorRemoved, &detail).await?;
    factors.remove(user, id).map_err(|e| visit.identity(e))?;
    visit.note(by, EventKind::UserChanged, &[whose, visit.control_head()?]).await?;
    Ok(see_other(&visit.at("/account?done=factor")))
}

/// `POST /account/codes`
pub(crate) async fn codes(visit: Visit) -> Answer {
    let person = visit.need(Need::FRESH).await?;
    let user = &person.subject.id;
    let whose = (DetailKey::Account, user.to_string());
    let by = Some(&person.subject);
    let detail = [whose.clone(), (DetailKey::Factor, "recovery".to_owned())];
    visit.note(by, EventKind::FactorAdded, &detail).await?;
    let codes = visit.factors()?.new_codes(user).map_err(|e| visit.identity(e))?;
    visit.note(by, EventKind::UserChanged, &[whose, visit.control_head()?]).await?;
    enrol::codes_page(&visit, Some(&person), &codes)
}

/// `POST /account/sessions/end`: one of one's own log-ins and tokens, or all others.
pub(crate) async fn end_session(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let handle = visit.field("handle").unwrap_or("");
    if handle == "others" {
        end_others(&visit, &person).await?;
    } else {
        end(&visit, &person, |s| s.handle == handle).await?;
    }
    Ok(see_other(&visit.at("/account?done=session")))
}

async fn end_others(visit: &Visit, person: &Person) -> Result<(), super::Turn> {
    end(visit, person, |s| s.handle != person.session.handle).await
}

/// Ends those of the person's sessions that are meant.
async fn end(
    visit: &Visit,
    person: &Person,
    meant: impl Fn(&phial_store::sessions::SessionRow) -> bool,
) -> Result<(), super::Turn> {
    let sessions = visit.app.tokens.sessions();
    let now = visit.request.at;
    for s in sessions.list(&visit.tenant).map_err(|e| visit.store(e))? {
        if s.user == person.subject.id && s.is_alive(now) && meant(&s) {
            sessions.revoke(&visit.tenant, &s.handle, now).map_err(|e| visit.store(e))?;
            let detail =
                [(DetailKey::Account, s.user.to_string()), (DetailKey::Token, s.handle.clone())];
            visit.note(Some(&person.subject), EventKind::TokenRevoked, &detail).await?;
        }
    }
    Ok(())
}

/// `POST /account/browsers/forget`
pub(crate) async fn forget(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let user = &person.subject.id;
    let detail = [
        (DetailKey::Account, user.to_string()),
        (DetailKey::Value, "browsers forgotten".to_owned()),
    ];
    visit.note(Some(&person.subject), EventKind::UserChanged, &detail).await?;
    let forgotten = visit.app.tokens.sessions().forget_browsers(&visit.tenant, user);
    let _count = forgotten.map_err(|e| visit.store(e))?;
    Ok(see_other(&visit.at("/account?done=browsers")))
}
