//! `/account/apps`: the apps that a person let in, and the end of that.

use maud::html;
use phial_audit::{DetailKey, EventKind};
use phial_identity::oauth::Grants;

use super::super::Answer;
use super::super::layout::{self, Message, Page, when};
use super::super::visit::{Need, Visit, see_other};
use super::words;
use crate::http::oauth;

/// `GET /account/apps`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let own = person.subject.patient.is_some();
    let grants = Grants::new(visit.control()?).of(&person.subject.id);
    let grants = grants.map_err(|e| visit.identity(e))?;
    let mut rows = Vec::new();
    for grant in &grants {
        let name = visit.app_named(&grant.client)?.map_or_else(|| grant.client.clone(), |c| c.name);
        let scopes = oauth::Ask::wanted(&grant.scopes);
        let end = layout::form(
            &visit,
            "/account/apps/end",
            html! {
                input type="hidden" name="app" value=(grant.client);
                button type="submit" { "End the access of " (name) }
            },
        )?;
        rows.push(html! {
            li.card {
                h2 { (name) }
                p { "Allowed since " (when(grant.given())) "." }
                ul { @for s in scopes.records() { li { (words::scope(s, own)) } } }
                (end)
            }
        });
    }
    let content = html! {
        @if rows.is_empty() {
            p { "No app has your word." }
        } @else {
            p { "These apps may act for you. When you end an app’s access, it ends at once." }
            ul.plain { @for row in &rows { (row) } }
        }
    };
    let done = visit.asked("done").map(|_| Message::Done("The app’s access has ended.".to_owned()));
    Page::new("Apps", content).of(&person).with(done).show(&visit)
}

/// `POST /account/apps/end`
pub(crate) async fn end(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let app = visit.field("app").unwrap_or("").to_owned();
    let grants = Grants::new(visit.control()?);
    let found = grants.find(&person.subject.id, &app).map_err(|e| visit.identity(e))?;
    if found.is_some() {
        let mut detail = vec![(DetailKey::Client, app.clone())];
        visit.note(Some(&person.subject), EventKind::GrantEnded, &detail).await?;
        // The tokens first: should the rest fail, the word stands and nothing is open.
        visit
            .app
            .apps
            .withdraw(&visit.tenant, Some(&person.subject.id), Some(&app), visit.request.at)
            .map_err(|e| visit.identity(e))?;
        grants.end(&person.subject.id, &app).map_err(|e| visit.identity(e))?;
        detail.push(visit.control_head()?);
        visit.note(Some(&person.subject), EventKind::GrantEnded, &detail).await?;
    }
    Ok(see_other(&visit.at("/account/apps?done=1")))
}
