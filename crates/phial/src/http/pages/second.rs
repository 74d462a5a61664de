//! The second half of a log-in: a code of an authenticator app, a recovery code, or a
//! passkey. Codes are good once, wrong ones are throttled as passwords are.

use axum::http::StatusCode;
use maud::html;
use phial_identity::Person;
use phial_identity::throttle::Guess;

use super::layout::{Field, Message, Page, form};
use super::visit::{Need, Turn, Visit};
use super::{Answer, login, passkeys};

/// `GET /login/second`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::FIRST).await?;
    if person.subject.mfa == 2 {
        return Err(Turn::To(visit.next().unwrap_or_else(|| visit.at("/"))));
    }
    page(&visit, &person, StatusCode::OK, None)
}

fn page(visit: &Visit, person: &Person, status: StatusCode, message: Option<Message>) -> Answer {
    let factors = visit.factors()?.of(&person.subject.id).map_err(|e| visit.identity(e))?;
    let next = visit.next().unwrap_or_default();
    let ids: Vec<&str> = factors.passkeys.iter().map(|p| p.id.as_str()).collect();
    let content = html! {
        @if !ids.is_empty() {
            section aria-labelledby="by-passkey" {
                h2 #by-passkey { "Your passkey" }
                (passkeys::ask(visit, &next, &ids, html! {
                    button.primary type="submit" { "Use a passkey" }
                })?)
            }
        }
        @if !factors.totp.is_empty() {
            section aria-labelledby="by-app" {
                h2 #by-app { "Your authenticator app" }
                (form(visit, "/login/second", html! {
                    input type="hidden" name="next" value=(next);
                    input type="hidden" name="kind" value="totp";
                    (Field { autocomplete: "one-time-code", focus: true,
                        hint: Some("Six digits, as the app shows them now."),
                        ..Field::new("code", "Code") }.html())
                    button type="submit" { "Log in" }
                })?)
            }
        }
        details {
            summary { "Use a recovery code" }
            (form(visit, "/login/second", html! {
                input type="hidden" name="next" value=(next);
                input type="hidden" name="kind" value="recovery";
                (Field { hint: Some("Each of them works once."),
                    ..Field::new("recovery", "Recovery code") }.html())
                button type="submit" { "Log in" }
            })?)
        }
    };
    Page::new("One more step", content).with(message).scripted().show_as(status, visit)
}

/// `POST /login/second`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need(Need::FIRST).await?;
    let user = person.subject.id.clone();
    if person.subject.mfa == 2 || person.login.invitation.is_some() {
        return Err(Turn::To(visit.at("/")));
    }
    let (attempt, _) = login::begin(&visit, user.as_str(), Some(&user), Guess::Code).await?;
    let kind = if visit.field("kind") == Some("recovery") { "recovery" } else { "totp" };
    let factors = visit.factors()?;
    let good = match kind {
        "recovery" => factors.use_code(&user, visit.field("recovery").unwrap_or("")),
        _ => factors.use_totp(&user, visit.field("code").unwrap_or(""), visit.request.at),
    };
    let sessions = visit.app.tokens.sessions();
    if !good.map_err(|e| visit.identity(e))? {
        let (throttle, now) = (&visit.app.throttle, visit.request.at);
        attempt.failed(throttle, sessions, now).map_err(|e| visit.identity(e))?;
        login::failed(&visit, Some(&user), kind).await?;
        let text = "This code is not right, or it was used before. Wait for the next one and try \
                    again.";
        let message = Some(Message::Wrong(text.to_owned()));
        return page(&visit, &person, StatusCode::FORBIDDEN, message);
    }
    let (throttle, now) = (&visit.app.throttle, visit.request.at);
    attempt.passed(throttle, sessions, now).map_err(|e| visit.identity(e))?;
    let how = format!("{} {kind}", person.login.how);
    let issued = login::whole(&visit, &user, &how, Some(&person)).await?;
    let to = match kind {
        // One fewer is left, and something seems to be lost.
        "recovery" => visit.at("/account"),
        _ => visit.next().unwrap_or_else(|| visit.at("/")),
    };
    Ok(visit.logged_in(&issued, &to))
}
