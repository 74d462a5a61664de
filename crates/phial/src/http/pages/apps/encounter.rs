//! Which encounter an app is to work in, when it asks for one (`launch/encounter`) and was
//! opened by itself: chosen among those of the patient that the person may see, the latest
//! first, by the engine's own search. Whoever chooses none gives none: the scope is left
//! out, and the app is told so by what it is given
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html>).

use maud::html;
use phial_base::LogicalId;
use phial_engine::Failure;
use phial_engine::interaction::search::Search;
use phial_fhir::definitions::ResourceType;
use phial_identity::Person;
use phial_identity::oauth::{Asking, Client, Special};
use serde_json::Value;

use super::super::Answer;
use super::super::layout::{self, Message, Page};
use super::super::visit::{Need, Turn, Visit};
use super::{authorize, leads_back};
use crate::http::oauth;

/// The most encounters that are shown.
const MOST: &str = "20";

fn ty() -> Result<ResourceType, Failure> {
    ResourceType::from_name("Encounter").ok_or(Failure::NotFound)
}

/// The page to choose on.
pub(super) async fn choose(
    visit: &Visit,
    person: &Person,
    client: &Client,
    asking: &Asking,
    wrong: Option<&str>,
) -> Answer {
    let found = found(visit, person, asking).await?;
    let ask = visit.keep_asking(person, asking)?;
    let content = html! {
        p.lead { strong { (client.name) } " works in one encounter. Which one?" }
        @if found.is_empty() {
            p role="status" { "No encounter of the patient that you may see was found." }
        } @else {
            (layout::form(visit, "/oauth/encounter", html! {
                input type="hidden" name="ask" value=(ask);
                fieldset {
                    legend { "Encounters, the latest first" }
                    ul.plain {
                        @for (id, text) in &found {
                            li { label.check {
                                input type="radio" name="encounter" value=(id) required;
                                span { (text) }
                            } }
                        }
                    }
                }
                button.primary type="submit" { "Go on with this encounter" }
            })?)
        }
        (layout::form(visit, "/oauth/encounter", html! {
            input type="hidden" name="ask" value=(ask);
            input type="hidden" name="none" value="yes";
            button type="submit" { "Go on without an encounter" }
        })?)
    };
    let wrong = wrong.map(|text| Message::Wrong(text.to_owned()));
    let page = Page::new("Choose an encounter", content).of(person).with(wrong).show(visit)?;
    Ok(leads_back(page, &asking.redirect_uri))
}

/// Id and line of each encounter of the patient that the person may see.
async fn found(
    visit: &Visit,
    person: &Person,
    asking: &Asking,
) -> Result<Vec<(String, String)>, Turn> {
    let Some(patient) = &asking.patient else { return Ok(Vec::new()) };
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let search = Search {
        ty: ty()?,
        pairs: vec![
            pair("patient", format!("Patient/{patient}")),
            pair("_sort", "-date".to_owned()),
            pair("_count", MOST.to_owned()),
        ],
        compartment: None,
        base: format!("{}/fhir", visit.issuer()),
        lenient: false,
    };
    let caller = visit.caller(Some(&person.subject))?;
    match visit.app.engine.search(&caller, search).await {
        Ok(released) => {
            let bundle: Value = serde_json::from_slice(released.body()).unwrap_or(Value::Null);
            Ok(entries(&bundle))
        }
        // A role that may search for none sees none.
        Err(Failure::Forbidden(_)) => Ok(Vec::new()),
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /oauth/encounter`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let (mut asking, client) = visit.asking(&person, true)?;
    if visit.field("none") == Some("yes") {
        let scopes = oauth::Ask::wanted(&asking.scopes).without(Special::LaunchEncounter);
        asking.scopes = scopes.to_string();
        asking.encounter = None;
        return authorize::onward(&visit, &person, &client, &asking).await;
    }
    let Ok(id) = LogicalId::new(visit.field("encounter").unwrap_or("")) else {
        let wrong = Some("Choose an encounter, or go on without.");
        return choose(&visit, &person, &client, &asking, wrong).await;
    };
    let caller = visit.caller(Some(&person.subject))?;
    // Seen, written down, and of this patient, or not chosen.
    let read = visit.app.engine.read(&caller, ty()?, &id).await?;
    let read: Value = serde_json::from_slice(read.body()).unwrap_or(Value::Null);
    let of = read.pointer("/subject/reference").and_then(Value::as_str);
    let meant = asking.patient.as_ref().map(|p| format!("Patient/{p}"));
    if meant.is_none() || of != meant.as_deref() {
        return Err(Failure::NotFound.into());
    }
    asking.encounter = Some(id.as_str().to_owned());
    authorize::onward(&visit, &person, &client, &asking).await
}

/// Id and line of each encounter of a searchset.
fn entries(bundle: &Value) -> Vec<(String, String)> {
    let all = bundle.get("entry").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|e| e.get("resource"))
        .filter(|r| r.get("resourceType").is_some_and(|t| t == "Encounter"))
        .filter_map(|r| Some((r.get("id")?.as_str()?.to_owned(), line(r))))
        .collect()
}

/// An encounter in a line: since when, what kind, how it stands, as far as was released.
fn line(encounter: &Value) -> String {
    let text = |at: &str| encounter.pointer(at).and_then(Value::as_str);
    let since = text("/period/start").map(|t| t.get(..16).unwrap_or(t).replace('T', " "));
    let named = |texts: [&str; 2]| texts.into_iter().find_map(text).map(str::to_owned);
    let all = [
        since,
        named(["/type/0/text", "/type/0/coding/0/display"]),
        named(["/class/display", "/class/code"]),
        text("/status").map(str::to_owned),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() { "an encounter of which you see no more".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_encounter_is_a_line_of_what_was_released() {
        let whole = json!({"resourceType": "Encounter", "id": "e1", "status": "finished",
            "class": {"code": "AMB", "display": "ambulatory"},
            "type": [{"coding": [{"display": "Check up"}]}],
            "period": {"start": "2026-03-01T08:15:00Z"}});
        assert_eq!(line(&whole), "2026-03-01 08:15, Check up, ambulatory, finished");
        assert_eq!(line(&json!({"period": {"start": "2026"}})), "2026");
        assert_eq!(line(&json!({})), "an encounter of which you see no more");
        let bundle = json!({"entry": [{"resource": whole}, {"resource": {"resourceType": "X"}}]});
        assert_eq!(entries(&bundle).len(), 1);
        assert!(entries(&Value::Null).is_empty());
    }
}
