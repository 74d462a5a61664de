//! Breaking the glass: sight of one patient's records in an emergency
//! (164.312(a)(2)(ii)), for whoever's role may ask. The page says what will happen before
//! it does, takes a proof of who it is within five minutes, and ends a grant without one:
//! giving up access takes no proof.

use axum::http::StatusCode;
use maud::{Markup, html};
use phial_base::LogicalId;
use phial_engine::Failure;
use phial_engine::access::glass::{Ask, DEFAULT_MINUTES, Grant, MOST_MINUTES, Reason};
use phial_fhir::definitions::ResourceType;
use phial_identity::Person;
use phial_policy::Action;
use serde_json::Value;

use super::Answer;
use super::layout::{Field, Message, Page, form, when};
use super::visit::{Need, Visit, see_other};

const MAY: Need = Need::PERSON.may(Action::BreakGlass);
const MAY_NOW: Need = Need::FRESH.may(Action::BreakGlass);
const FORM: &str = "/break-glass/new";

/// For how long somebody may ask, minutes.
const LENGTHS: [i64; 4] = [30, 60, DEFAULT_MINUTES, MOST_MINUTES];

fn hours(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, m) => format!("{m} minutes"),
        (1, 0) => "1 hour".to_owned(),
        (h, 0) => format!("{h} hours"),
        (h, m) => format!("{h} hours {m} minutes"),
    }
}

/// `GET /break-glass`: the grants that hold, and the way to another one.
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let caller = visit.caller(Some(&person.subject))?;
    let own = visit.app.engine.own_grants(&caller)?;
    let opened = match visit.asked("opened") {
        Some(id) => own.iter().find(|g| g.id == id),
        None => None,
    };
    let named = match opened {
        Some(grant) => Some(name_of(&visit, &person, grant).await?),
        None => None,
    };
    let message = if opened.is_some() {
        Some("You have emergency access. Privacy officers have been told.")
    } else if visit.asked("ended").is_some() {
        Some("Your emergency access has ended.")
    } else {
        None
    };
    let content = html! {
        @if let Some(named) = named { (named) }
        section aria-labelledby="live" {
            h2 #live { "Your emergency access" }
            @if own.is_empty() {
                p { "You have none at this moment." }
            }
            @for grant in &own {
                (live(&visit, grant)?)
            }
        }
        p { a.button.danger href=(visit.at(FORM)) { "Break the glass for a patient" } }
    };
    let message = message.map(|text| Message::Done(text.to_owned()));
    Page::new("Emergency access", content).of(&person).with(message).show(&visit)
}

fn live(visit: &Visit, grant: &Grant) -> Result<Markup, super::visit::Turn> {
    let whom = format!("Patient/{}", grant.patient.as_str());
    Ok(html! {
        dl.facts {
            dt { "Patient" } dd { code { (whom) } }
            dt { "Reason" } dd { (grant.reason.sentence()) }
            dt { "Since" } dd { (when(grant.from)) }
            dt { "Ends by itself" } dd { (when(grant.until)) }
        }
        (form(visit, "/break-glass/end", html! {
            input type="hidden" name="grant" value=(grant.id);
            button.danger type="submit" aria-label={ "End it now: the access to " (whom) } {
                "End it now"
            }
        })?)
    })
}

/// Who was opened, so that a wrong patient is noticed at once: read as every record is,
/// under the grant, flagged and written down.
async fn name_of(
    visit: &Visit,
    person: &Person,
    grant: &Grant,
) -> Result<Markup, super::visit::Turn> {
    let ty = ResourceType::from_name("Patient").ok_or(Failure::NotFound)?;
    let caller = visit.caller(Some(&person.subject))?;
    let read = match visit.app.engine.read(&caller, ty, &grant.patient).await {
        Ok(released) => serde_json::from_slice(released.body()).unwrap_or(Value::Null),
        // What the grant does not open stays closed, and the page says so.
        Err(Failure::NotFound | Failure::Gone | Failure::Forbidden(_)) => {
            return Ok(html! {
                p.message.wrong role="alert" {
                    "The policies keep this patient's records from you in an emergency, too."
                }
            });
        }
        Err(failure) => return Err(failure.into()),
    };
    let line = super::apps::patient::line(&read);
    Ok(html! {
        section aria-labelledby="whom" {
            h2 #whom { "Is this the right patient?" }
            p.lead { strong { (line) } }
            p { "If not, end the access now: what you looked at by mistake is in the log either \
                 way." }
        }
    })
}

/// `GET /break-glass/new`: the form.
pub(crate) async fn ask(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    page(&visit, &person, StatusCode::OK, None)
}

fn page(visit: &Visit, person: &Person, status: StatusCode, wrong: Option<&str>) -> Answer {
    let typed = |name: &str| visit.field(name).unwrap_or("").trim().to_owned();
    let (patient, reason, text) = (typed("patient"), typed("reason"), typed("text"));
    let minutes = visit.field("minutes").and_then(|m| m.parse().ok()).unwrap_or(DEFAULT_MINUTES);
    let content = html! {
        section aria-labelledby="what" {
            h2 #what { "What will happen" }
            ul {
                li { "You see the records of one patient as if you treated them, and nothing of \
                      other patients. Psychotherapy notes stay closed." }
                li { "Privacy officers are told at once that it was you." }
                li { "Every record that you open is flagged in the audit log." }
                li { "Somebody else reviews each access afterwards, and signs what they find." }
                li { "It ends by itself, and earlier when you end it: please do, once you need it \
                      no more." }
            }
            p { "To look without need is a violation that is found, whoever you are." }
        }
        section aria-labelledby="ask" {
            h2 #ask { "Whom, and why" }
            (form(visit, "/break-glass", html! {
                (Field { value: &patient, focus: true,
                    hint: Some("The record number or another identifier that the patient or a \
                                companion can state (or system|number), or the patient's id."),
                    ..Field::new("patient", "Patient") }.html())
                fieldset {
                    legend { "Reason" }
                    @for r in Reason::ALL {
                        label {
                            input type="radio" name="reason" value=(r.code()) required
                                checked[reason == r.code()];
                            span { (r.sentence()) }
                        }
                    }
                }
                div.field {
                    label for="text" { "In your words" }
                    p.hint #text-hint { "What happened, in 10 to 1,000 characters. The reviewer \
                                         reads it." }
                    textarea #text name="text" rows="4" minlength="10" maxlength="1000" required
                        aria-describedby="text-hint" { (text) }
                }
                div.field {
                    label for="minutes" { "For how long" }
                    select #minutes name="minutes" {
                        @for m in LENGTHS {
                            option value=(m) selected[m == minutes] { (hours(m)) }
                        }
                    }
                }
                button.danger type="submit" { "Break the glass" }
                " "
                a.button href=(visit.at("/break-glass")) { "Back, without" }
            })?)
        }
    };
    let wrong = wrong.map(|text| Message::Wrong(text.to_owned()));
    Page::new("Break the glass", content).of(person).with(wrong).show_as(status, visit)
}

/// `POST /break-glass`: asks for it.
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need_else(MAY_NOW, FORM).await?;
    let caller = visit.caller(Some(&person.subject))?;
    let wrong = |status, text: &str| page(&visit, &person, status, Some(text));
    let unfit = StatusCode::UNPROCESSABLE_ENTITY;
    let Some(reason) = visit.field("reason").and_then(Reason::from_code) else {
        return wrong(unfit, "Choose a reason.");
    };
    let minutes = visit.field("minutes").map_or(Ok(DEFAULT_MINUTES), str::parse);
    let Some(minutes) = minutes.ok().filter(|m| (1..=MOST_MINUTES).contains(m)) else {
        return wrong(unfit, &format!("It holds for {} at most.", hours(MOST_MINUTES)));
    };
    let text = visit.field("text").unwrap_or("").replace("\r\n", "\n");
    if !(10..=1_000).contains(&text.trim().chars().count()) {
        return wrong(unfit, "Say what happened, in 10 to 1,000 characters.");
    }
    let patient: LogicalId =
        match visit.app.engine.whom(&caller, visit.field("patient").unwrap_or("")).await {
            Ok(patient) => patient,
            Err(Failure::NotFound) => {
                let text = "There is no such patient. Check what was stated; nothing was opened.";
                return wrong(StatusCode::NOT_FOUND, text);
            }
            Err(Failure::Conflict { refusal, .. } | Failure::Forbidden(refusal)) => {
                let said = refusal.issues.first().map(|i| format!("{}.", i.text));
                return wrong(unfit, &said.unwrap_or_default());
            }
            Err(failure) => return Err(failure.into()),
        };
    match visit.app.engine.break_glass(&caller, Ask { patient, reason, text, minutes }).await {
        Ok(grant) => Ok(see_other(&visit.at(&format!("/break-glass?opened={}", grant.id)))),
        Err(Failure::Invalid(refusal)) => {
            let said = refusal.issues.first().map(|i| format!("{}: {}.", i.path, i.text));
            wrong(unfit, &said.unwrap_or_default())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /break-glass/end`: gives a grant up.
pub(crate) async fn end(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let caller = visit.caller(Some(&person.subject))?;
    let id = visit.field("grant").unwrap_or("");
    let own = visit.app.engine.own_grants(&caller)?;
    if !own.iter().any(|g| g.id == id) {
        // It ended in the meantime, or is somebody else's: the list tells what there is.
        return Ok(see_other(&visit.at("/break-glass")));
    }
    visit.app.engine.end_break_glass(&caller, None, Some(id)).await?;
    Ok(see_other(&visit.at("/break-glass?ended=1")))
}
