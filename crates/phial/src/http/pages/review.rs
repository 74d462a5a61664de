//! The access review: who may do what, when it was last used, who looked at it last, and
//! whose turn it is (164.308(a)(3)(ii)(A), (a)(4)(ii)(C)).

use jiff::SignedDuration;
use maud::html;
use phial_identity::{Due, Reviews};
use phial_policy::Action;

use super::Answer;
use super::layout::{Field, Message, Page, form, when};
use super::people::said;
use super::visit::{Need, Visit, see_other};
use crate::people;

/// `GET /admin/review`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON.may(Action::ManageUsers)).await?;
    let period = SignedDuration::from_hours(24 * visit.app.config().review.period_days);
    let reviews = Reviews::new(visit.control()?);
    let uses = people::LastUse::of(&visit.app, &visit.tenant).map_err(|e| said(&visit, e))?;
    let mut rows = Vec::new();
    for account in visit.accounts()?.all().map_err(|e| visit.identity(e))? {
        if account.ended {
            continue;
        }
        let due = reviews.due(&account, period, visit.request.at);
        let last = reviews.last(&account.id).map_err(|e| visit.identity(e))?;
        let used = uses.by(&account.id).map_err(|e| said(&visit, e))?;
        rows.push((account, due.map_err(|e| visit.identity(e))?, last, used));
    }
    let waiting = rows.iter().filter(|(_, due, ..)| due.is_due()).count();
    // Those whose turn it is come first.
    rows.sort_by_key(|(account, due, ..)| (!due.is_due(), account.id.clone()));
    let content = html! {
        p {
            (waiting) " of " (rows.len()) " accounts wait for somebody to look at them. Each is \
             looked at every " (visit.app.config().review.period_days) " days, and whenever its \
             roles were changed."
        }
        @for (account, due, last, used) in &rows {
            section aria-labelledby=(account.id) {
                h2 id=(account.id) {
                    a href=(visit.at(&format!("/admin/people/{}", account.id))) { (account.id) }
                    @if let Some(name) = &account.name { " – " (name) }
                }
                dl.facts {
                    dt { "Roles" } dd { (account.roles.join(", ")) }
                    @if let Some(unit) = &account.unit { dt { "Unit" } dd { (unit) } }
                    dt { "Standing" } dd { (account.standing()) }
                    dt { "Last used" } dd {
                        @match used { Some(at) => (when(*at)), None => "never" }
                    }
                    dt { "Review" } dd {
                        @match due {
                            Due::Never => span.due { "nobody looked at it yet" },
                            Due::Changed => span.due { "changed since somebody looked at it" },
                            Due::Since(at) => span.due { "overdue since " (when(*at)) },
                            Due::Until(at) => { "good until " (when(*at)) }
                        }
                        @if let Some(last) = last { " (" (last.by) ", " (when(last.at)) ")" }
                    }
                }
                @if account.id != person.subject.id {
                    (form(&visit, &format!("/admin/review/{}", account.id), html! {
                        input type="hidden" name="roles" value=(account.roles.join(" "));
                        (Field { id: &format!("note-{}", account.id), required: false,
                            hint: Some("What you looked at, or why it stays."),
                            ..Field::new("note", "Note") }.html())
                        button type="submit" aria-label={ "Sign that it is right: " (account.id) } {
                            "Sign that it is right"
                        }
                    })?)
                } @else {
                    p.hint { "This is your own account: someone else signs for it." }
                }
            }
        }
    };
    let done = visit.asked("done").map(|_| Message::Done("It is signed.".to_owned()));
    Page::new("Access review", content).of(&person).with(done).show(&visit)
}

/// `POST /admin/review/[user]`
pub(crate) async fn sign(visit: Visit) -> Answer {
    let person = visit.need(Need::FRESH.may(Action::ManageUsers)).await?;
    let named = visit.words.first().map_or("", String::as_str);
    let user = phial_base::SubjectId::new(named).map_err(|_| phial_engine::Failure::NotFound)?;
    let by = visit.caller(Some(&person.subject))?;
    let account = people::find(&visit.app, &by, &user).map_err(|e| said(&visit, e))?;
    if visit.field("roles") != Some(account.roles.join(" ").as_str()) {
        // What was looked at is not what there is any more.
        return Ok(see_other(&visit.at("/admin/review")));
    }
    let note: String = visit.field("note").unwrap_or("").trim().chars().take(500).collect();
    let note = (!note.is_empty()).then_some(note);
    people::sign_review(&visit.app, &by, &user, note).await.map_err(|e| said(&visit, e))?;
    Ok(see_other(&visit.at("/admin/review?done=1")))
}
