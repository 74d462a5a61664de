//! The first page after a log-in.

use maud::html;
use phial_policy::Action;

use super::Answer;
use super::layout::Page;
use super::visit::{Need, Visit};

/// `GET /`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let account = visit.accounts()?.find(&person.subject.id).map_err(|e| visit.identity(e))?;
    let name = account.and_then(|a| a.name).unwrap_or_else(|| person.subject.id.to_string());
    let manages = visit.who_may(&person, Action::ManageUsers).is_some();
    let breaks_glass = visit.who_may(&person, Action::BreakGlass).is_some();
    let reviews = visit.who_may(&person, Action::ReviewAccess).is_some();
    let content = html! {
        p.lead { "Hello, " (name) "." }
        ul.cards {
            li { a href=(visit.at("/account")) {
                strong { "Your account" }
                span { "Passkeys, password, recovery codes, and where you are logged in." }
            } }
            @if breaks_glass {
                li { a href=(visit.at("/break-glass")) {
                    strong { "Emergency access" }
                    span { "Break the glass for a patient whom you don't treat, and end it again." }
                } }
            }
            @if reviews {
                li { a href=(visit.at("/break-glass/reviews")) {
                    strong { "Emergency access reviews" }
                    span { "Look at who broke the glass and what they looked at, and sign what you \
                            find." }
                } }
            }
            @if manages {
                li { a href=(visit.at("/admin/people")) {
                    strong { "People" }
                    span { "Invite people, change what they may do, suspend and end accounts." }
                } }
                li { a href=(visit.at("/admin/review")) {
                    strong { "Access review" }
                    span { "Look at who may do what, and sign that it is still right." }
                } }
            }
        }
    };
    Page::new("Start", content).of(&person).show(&visit)
}
