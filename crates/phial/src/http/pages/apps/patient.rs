//! Which patient an app is to work with, when whoever uses it is no patient: found by
//! name and birth date among those that the person may see, by the engine's own search,
//! which writes down who was shown. The form is posted, so that no URL holds a name.

use maud::html;
use phial_base::LogicalId;
use phial_engine::Failure;
use phial_engine::interaction::search::Search;
use phial_fhir::definitions::ResourceType;
use phial_identity::Person;
use phial_identity::oauth::{Asking, Client};
use serde_json::Value;

use super::super::Answer;
use super::super::layout::{self, Field, Message, Page};
use super::super::visit::{Need, Turn, Visit};
use super::{authorize, leads_back};

/// The most patients that one search shows.
const MOST: &str = "20";

/// The page to choose on, perhaps with what was found.
pub(super) async fn choose(
    visit: &Visit,
    person: &Person,
    client: &Client,
    asking: &Asking,
    found: Option<Vec<(String, String)>>,
    wrong: Option<&str>,
) -> Answer {
    let ask = visit.keep_asking(person, asking)?;
    let form = layout::form(
        visit,
        "/oauth/patient",
        html! {
            input type="hidden" name="ask" value=(ask);
            (Field { required: false, focus: true, ..Field::new("name", "Name") }.html())
            (Field { required: false, kind: "date", ..Field::new("born", "Date of birth") }.html())
            button.primary type="submit" name="do" value="find" { "Find" }
        },
    )?;
    let chosen = match &found {
        Some(found) if !found.is_empty() => Some(layout::form(
            visit,
            "/oauth/patient",
            html! {
                input type="hidden" name="ask" value=(ask);
                fieldset {
                    legend { "Found" }
                    ul.plain {
                        @for (id, text) in found {
                            li { label.check {
                                input type="radio" name="patient" value=(id) required;
                                span { (text) }
                            } }
                        }
                    }
                }
                button.primary type="submit" name="do" value="choose" { "Go on with this patient" }
            },
        )?),
        _ => None,
    };
    let content = html! {
        p.lead { strong { (client.name) } " works with one patient. Which one?" }
        (form)
        @if let Some(chosen) = chosen { (chosen) }
        @else if found.is_some() { p role="status" { "Nobody whom you may see was found." } }
    };
    let wrong = wrong.map(|text| Message::Wrong(text.to_owned()));
    let page = Page::new("Choose a patient", content).of(person).with(wrong).show(visit)?;
    Ok(leads_back(page, &asking.redirect_uri))
}

/// `POST /oauth/patient`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let (mut asking, client) = visit.asking(&person, true)?;
    let ty = ResourceType::from_name("Patient").ok_or(Failure::NotFound)?;
    let caller = visit.caller(Some(&person.subject))?;
    if visit.field("do") == Some("choose") {
        let id = LogicalId::new(visit.field("patient").unwrap_or(""));
        let id = id.map_err(|_| Turn::Failure(Failure::NotFound))?;
        // Seen, and written down, or not chosen.
        visit.app.engine.read(&caller, ty, &id).await?;
        asking.patient = Some(id.as_str().to_owned());
        return authorize::onward(&visit, &person, &client, &asking).await;
    }
    let mut pairs = Vec::new();
    for (field, parameter) in [("name", "name"), ("born", "birthdate")] {
        if let Some(value) = visit.field(field).map(str::trim).filter(|v| !v.is_empty()) {
            // What means something in a search's value is a letter here.
            let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|");
            pairs.push((parameter.to_owned(), value.replace('$', "\\$")));
        }
    }
    if pairs.is_empty() {
        let wrong = Some("Give a name or a date of birth.");
        return choose(&visit, &person, &client, &asking, None, wrong).await;
    }
    pairs.push(("_count".to_owned(), MOST.to_owned()));
    let search = Search {
        ty,
        pairs,
        compartment: None,
        base: format!("{}/fhir", visit.issuer()),
        lenient: false,
    };
    match visit.app.engine.search(&caller, search).await {
        Ok(released) => {
            let found = serde_json::from_slice(released.body()).unwrap_or(Value::Null);
            let found = entries(&found);
            choose(&visit, &person, &client, &asking, Some(found), None).await
        }
        Err(Failure::Invalid(_)) => {
            let wrong = Some("This can't be searched for: check the date.");
            choose(&visit, &person, &client, &asking, None, wrong).await
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Id and line of each patient of a searchset.
fn entries(bundle: &Value) -> Vec<(String, String)> {
    let all = bundle.get("entry").and_then(Value::as_array);
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("").to_owned();
    all.into_iter()
        .flatten()
        .filter_map(|e| e.get("resource"))
        .filter(|r| r.get("resourceType").is_some_and(|t| t == "Patient"))
        .map(|r| (text(r.get("id")), line(r)))
        .collect()
}

/// A patient in a line: name, date of birth, gender, as far as they were released.
pub(in crate::http::pages) fn line(patient: &Value) -> String {
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("").to_owned();
    let name = patient.pointer("/name/0");
    let given = name.and_then(|n| n.pointer("/given/0"));
    let family = name.and_then(|n| n.get("family"));
    let all =
        [text(family), text(given), text(patient.get("birthDate")), text(patient.get("gender"))];
    let all: Vec<String> = all.into_iter().filter(|t| !t.is_empty()).collect();
    all.join(", ")
}
