//! Proving once more who one is, before a risky act (SP 800-63B-4 §5.2): by password or
//! passkey. The log-in is replaced by another one with the same end.

use axum::http::StatusCode;
use maud::html;
use phial_identity::Person;
use phial_identity::throttle::Guess;

use super::layout::{Field, Message, Page, form};
use super::visit::{Need, Visit};
use super::{Answer, login, passkeys, sso};

/// `GET /login/again`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    page(&visit, &person, StatusCode::OK, None)
}

fn page(visit: &Visit, person: &Person, status: StatusCode, message: Option<Message>) -> Answer {
    let factors = visit.factors()?.of(&person.subject.id).map_err(|e| visit.identity(e))?;
    let next = visit.next().unwrap_or_default();
    let ids: Vec<&str> = factors.passkeys.iter().map(|p| p.id.as_str()).collect();
    let providers = sso::providers_of(visit, &person.subject.id)?;
    let content = html! {
        p { "What comes next changes who can do what. Show once more that it is you." }
        @if !ids.is_empty() {
            (passkeys::ask(visit, &next, &ids, html! {
                button.primary type="submit" { "Use a passkey" }
            })?)
        }
        @for (name, provider) in &providers {
            p { a.button href=(sso::to(visit, name, &[("again", "1"), ("next", next.as_str())])) {
                (provider.label)
            } }
        }
        (form(visit, "/login/again", html! {
            input type="hidden" name="next" value=(next);
            input.away type="text" name="username" value=(person.subject.id)
                autocomplete="username" readonly tabindex="-1" aria-hidden="true";
            (Field { focus: true,
                ..Field::password("password", "Password", "current-password") }.html())
            button type="submit" { "Continue" }
        })?)
    };
    Page::new("Is it still you?", content)
        .of(person)
        .with(message)
        .scripted()
        .show_as(status, visit)
}

/// `POST /login/again`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let user = person.subject.id.clone();
    let (attempt, known) =
        login::begin(&visit, user.as_str(), Some(&user), Guess::Password).await?;
    let factors = visit.factors()?.of(&user).map_err(|e| visit.identity(e))?;
    let typed = visit.field("password").unwrap_or("");
    let good = visit.app.hashing.verify(known, typed, factors.password).await.unwrap_or(false);
    let (sessions, now) = (visit.app.tokens.sessions(), visit.request.at);
    if !good {
        attempt.failed(&visit.app.throttle, sessions, now).map_err(|e| visit.identity(e))?;
        login::failed(&visit, Some(&user), "password").await?;
        let message = Some(Message::Wrong("This is not your password. Try again.".to_owned()));
        return page(&visit, &person, StatusCode::FORBIDDEN, message);
    }
    attempt.passed(&visit.app.throttle, sessions, now).map_err(|e| visit.identity(e))?;
    let issued = login::whole(&visit, &user, "password", Some(&person)).await?;
    let to = visit.next().unwrap_or_else(|| visit.at("/account"));
    Ok(visit.logged_in(&issued, &to))
}
