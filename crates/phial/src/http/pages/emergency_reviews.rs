//! The review of emergency access, for privacy officers: the alerts that nobody has seen,
//! the grants that wait, the overdue ones first; and each by itself, with what was done
//! under it and the form that signs what was found. Nobody signs their own.
//!
//! It names accounts and, where policy lets the reviewer see who it is, the patient by
//! reference; of records it gives numbers and types.

use axum::http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use phial_engine::Failure;
use phial_engine::access::accesses::{Accesses, Case};
use phial_engine::access::glass::{DUE, Finding, Grant};
use phial_engine::alert::{Alert, What};
use phial_identity::Person;
use phial_policy::Action;

use super::Answer;
use super::layout::{Message, Page, form, when};
use super::visit::{Need, Turn, Visit, see_other};

const MAY: Need = Need::PERSON.may(Action::ReviewAccess);
const MAY_NOW: Need = Need::FRESH.may(Action::ReviewAccess);
const LIST: &str = "/break-glass/reviews";
/// The most signed reviews that the list shows.
const SIGNED: usize = 20;

/// `GET /break-glass/reviews`
pub(crate) async fn list(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let caller = visit.caller(Some(&person.subject))?;
    let engine = &visit.app.engine;
    let (now, grants) = (visit.app.clock.now(), engine.grants(&caller).await?);
    let mut alerts = engine.alerts(&caller).await?;
    alerts.retain(|a| a.seen.is_none());
    let (mut waiting, signed): (Vec<&Grant>, Vec<&Grant>) =
        grants.iter().partition(|g| g.review.is_none());
    // The overdue ones first, then by when they are due.
    waiting.sort_by_key(|g| (g.state(now) != "overdue", g.ends(), g.id.clone()));
    let content = html! {
        section aria-labelledby="alerts" {
            h2 #alerts { "Alerts" }
            @if alerts.is_empty() { p { "All alerts have been seen." } }
            @for alert in &alerts { (alerted(&visit, alert)?) }
        }
        section aria-labelledby="waiting" {
            h2 #waiting { "Waiting for a review" }
            @if waiting.is_empty() { p { "Nothing waits." } }
            @else { (table(&visit, &waiting, now)) }
        }
        section aria-labelledby="signed" {
            h2 #signed { "Signed lately" }
            @if signed.is_empty() { p { "Nothing yet." } }
            @else { (table(&visit, signed.get(..SIGNED).unwrap_or(&signed), now)) }
        }
    };
    let done = match visit.asked("done") {
        Some("signed") => Some("The review is signed."),
        Some("seen") => Some("It is written down that you have seen the alert."),
        Some("ended") => Some("The emergency access has ended."),
        _ => None,
    };
    let done = done.map(|text| Message::Done(text.to_owned()));
    Page::new("Emergency access reviews", content).of(&person).with(done).show(&visit)
}

fn alerted(visit: &Visit, alert: &Alert) -> Result<Markup, Turn> {
    let about = match (alert.what, &alert.about) {
        (What::BreakGlass, Some(grant)) => Some(visit.at(&format!("{LIST}/{grant}"))),
        _ => None,
    };
    Ok(html! {
        p.alerted {
            strong { (alert.subject) } " " (alert.what.sentence()) ", " (when(alert.at)) "."
            @if let Some(path) = about {
                " " a href=(path) aria-label={ "Look at it: " (alert.subject) } { "Look at it" }
            }
        }
        (form(visit, &format!("/break-glass/alerts/{}", alert.id), html! {
            button.quiet type="submit"
                aria-label={ "I have seen it: " (alert.subject) ", " (alert.what.name()) } {
                "I have seen it"
            }
        })?)
    })
}

/// How a grant stands, for people.
fn state(grant: &Grant, now: Timestamp) -> Markup {
    match grant.state(now) {
        "active" => html! { "holds until " (when(grant.ends())) },
        "open" => html! { "due by " (when(grant.ends() + DUE)) },
        "overdue" => html! { span.due { "overdue since " (when(grant.ends() + DUE)) } },
        _ => match &grant.review {
            Some(r) => html! { (r.finding.name()) ", " (r.by) ", " (when(r.at)) },
            None => html! {},
        },
    }
}

fn table(visit: &Visit, grants: &[&Grant], now: Timestamp) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th scope="col" { "Who" } th scope="col" { "From" }
                th scope="col" { "Until" } th scope="col" { "Reason" }
                th scope="col" { "Review" } } }
            tbody { @for g in grants { tr {
                th scope="row" {
                    a href=(visit.at(&format!("{LIST}/{}", g.id)))
                        aria-label={ (g.subject) ", " (g.from.strftime("%Y-%m-%d %H:%M")) } {
                        (g.subject)
                    }
                }
                td { (when(g.from)) }
                td { (when(g.ends())) }
                td { (g.reason.sentence()) }
                td { (state(g, now)) }
            } } }
        } }
    }
}

/// The grant that the path names.
fn named(visit: &Visit) -> &str {
    visit.words.first().map_or("", String::as_str)
}

async fn case(visit: &Visit, person: &Person) -> Result<Case, Turn> {
    let caller = visit.caller(Some(&person.subject))?;
    match visit.app.engine.case(&caller, named(visit)).await {
        Ok(case) => Ok(case),
        Err(Failure::NotFound) => Err(Turn::refused(
            StatusCode::NOT_FOUND,
            "No such emergency access",
            "There is none of this name.",
        )),
        Err(failure) => Err(failure.into()),
    }
}

/// `GET /break-glass/reviews/[grant]`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let case = case(&visit, &person).await?;
    page(&visit, &person, &case, StatusCode::OK, None)
}

fn page(
    visit: &Visit,
    person: &Person,
    case: &Case,
    status: StatusCode,
    wrong: Option<&str>,
) -> Answer {
    let Case { grant, patient, accesses } = case;
    let now = visit.app.clock.now();
    let path = format!("{LIST}/{}", grant.id);
    let own = grant.subject == person.subject.id;
    let content = html! {
        dl.facts {
            dt { "Who" } dd { (grant.subject) }
            dt { "Whom" } dd {
                @match patient {
                    Some(id) => code { "Patient/" (id.as_str()) },
                    None => "a patient whom you may not see, or who is not here any more",
                }
            }
            dt { "From" } dd { (when(grant.from)) }
            dt { "Until" } dd {
                (when(grant.ends()))
                @if grant.ended.is_some() { ", ended early" }
            }
            dt { "Reason" } dd { (grant.reason.sentence()) }
            dt { "In their words" } dd.words { (grant.text) }
            dt { "Review" } dd { (state(grant, now)) }
        }
        (done_under(accesses))
        @if let Some(review) = &grant.review {
            section aria-labelledby="signed" {
                h2 #signed { "What was found" }
                dl.facts {
                    dt { "Signed by" } dd { (review.by) }
                    dt { "On" } dd { (when(review.at)) }
                    dt { "Finding" } dd { (review.finding.sentence()) }
                    dt { "In their words" } dd.words { (review.text) }
                }
            }
        } @else if own {
            p.message.wrong { "This is your own access: somebody else has to review it." }
        } @else if grant.holds(now) {
            section aria-labelledby="holds" {
                h2 #holds { "It still holds" }
                p { "It can be reviewed once it has ended." }
                (form(visit, &format!("{path}/end"), html! {
                    button.danger type="submit" { "End it now" }
                })?)
            }
        } @else {
            section aria-labelledby="sign" {
                h2 #sign { "Your review" }
                (form(visit, &path, html! {
                    fieldset {
                        legend { "What did you find?" }
                        @for finding in Finding::ALL {
                            label {
                                input type="radio" name="finding" value=(finding.name()) required
                                    checked[visit.field("finding") == Some(finding.name())];
                                span { (finding.sentence()) }
                            }
                        }
                    }
                    div.field {
                        label for="text" { "Why" }
                        p.hint #text-hint { "What you looked at, in 10 to 1,000 characters." }
                        textarea #text name="text" rows="4" minlength="10" maxlength="1000"
                            required aria-describedby="text-hint" {
                            (visit.field("text").unwrap_or(""))
                        }
                    }
                    button.primary type="submit" { "Sign the review" }
                    p.hint { "You sign with your log-in: it is written down that it was you, and \
                              can't be changed." }
                })?)
            }
        }
        p { a href=(visit.at(LIST)) { "To all reviews" } }
    };
    let wrong = wrong.map(|text| Message::Wrong(text.to_owned()));
    Page::new("Review of an emergency access", content)
        .of(person)
        .with(wrong)
        .show_as(status, visit)
}

fn done_under(accesses: &Accesses) -> Markup {
    let listed = |all: Vec<(&str, u64)>| -> String {
        let each: Vec<String> = all.iter().map(|(name, n)| format!("{name} {n}")).collect();
        each.join(", ")
    };
    let kinds = listed(accesses.kinds.iter().map(|(k, n)| (*k, *n)).collect());
    let types = listed(accesses.types.iter().map(|(t, n)| (t.as_str(), *n)).collect());
    html! {
        section aria-labelledby="done" {
            h2 #done { "What was done under it" }
            @if accesses.total() == 0 {
                p { "Nothing was looked at." }
            } @else {
                dl.facts {
                    dt { "Accesses" } dd { (accesses.total()) " (" (kinds) ")" }
                    dt { "Records" } dd { (accesses.records()) " (" (types) ")" }
                    @if let Some(at) = accesses.first { dt { "First" } dd { (when(at)) } }
                    @if let Some(at) = accesses.last { dt { "Last" } dd { (when(at)) } }
                }
            }
            @if !accesses.whole {
                p.due { "The log of that time is longer than is looked at here: there may be more. \
                         See phial audit." }
            }
        }
    }
}

/// `POST /break-glass/reviews/[grant]`: signs.
pub(crate) async fn sign(visit: Visit) -> Answer {
    let back = format!("{LIST}/{}", named(&visit));
    let person = visit.need_else(MAY_NOW, &back).await?;
    let case = case(&visit, &person).await?;
    let caller = visit.caller(Some(&person.subject))?;
    let unfit = StatusCode::UNPROCESSABLE_ENTITY;
    let wrong = |status, text: &str| page(&visit, &person, &case, status, Some(text));
    let Some(finding) = visit.field("finding").and_then(|f| f.parse::<Finding>().ok()) else {
        return wrong(unfit, "Choose what you found.");
    };
    let text = visit.field("text").unwrap_or("").replace("\r\n", "\n");
    match visit.app.engine.review(&caller, &case.grant.id, finding, &text).await {
        Ok(_) => Ok(see_other(&visit.at(&format!("{LIST}?done=signed")))),
        Err(Failure::Invalid(_)) => wrong(unfit, "Say why, in 10 to 1,000 characters."),
        Err(Failure::Forbidden(refusal)) => {
            let said = refusal.issues.first().map(|i| format!("{}.", i.text));
            wrong(StatusCode::FORBIDDEN, &said.unwrap_or_default())
        }
        Err(Failure::Conflict { refusal, .. }) => {
            let said = refusal.issues.first().map(|i| format!("{}.", i.text));
            wrong(StatusCode::CONFLICT, &said.unwrap_or_default())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /break-glass/reviews/[grant]/end`: ends a grant that holds.
pub(crate) async fn end(visit: Visit) -> Answer {
    let back = format!("{LIST}/{}", named(&visit));
    let person = visit.need_else(MAY_NOW, &back).await?;
    let caller = visit.caller(Some(&person.subject))?;
    match visit.app.engine.end_break_glass(&caller, None, Some(named(&visit))).await {
        // It has ended: whoever ended it.
        Ok(_) | Err(Failure::NotFound) => Ok(see_other(&visit.at(&format!("{LIST}?done=ended")))),
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /break-glass/alerts/[alert]`: somebody has seen it.
pub(crate) async fn seen(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let caller = visit.caller(Some(&person.subject))?;
    match visit.app.engine.see_alert(&caller, named(&visit)).await {
        Ok(_) => Ok(see_other(&visit.at(&format!("{LIST}?done=seen")))),
        Err(Failure::NotFound) => Ok(see_other(&visit.at(LIST))),
        Err(failure) => Err(failure.into()),
    }
}
