//! What an app would see, in plain words, and a person's word on it.

use maud::{Markup, html};
use phial_audit::{DetailKey, EventKind};
use phial_base::scope::Reach;
use phial_identity::Person;
use phial_identity::oauth::{Asking, Client, Grant, Grants, Special, Wanted};

use super::super::Answer;
use super::super::layout::{self, Page};
use super::super::visit::{Need, Visit};
use super::{Reply, authorize, leads_back, words};
use crate::http::oauth;

/// The page that asks.
pub(super) fn page(visit: &Visit, person: &Person, client: &Client, asking: &Asking) -> Answer {
    let scopes = oauth::Ask::wanted(&asking.scopes);
    let own = person.subject.patient.is_some();
    let box_of = |value: &str, label: Markup| {
        html! {
            li { label.check {
                input type="checkbox" name="scope" value=(value) checked;
                span { (label) }
            } }
        }
    };
    let sees: Vec<Markup> = scopes
        .records()
        .map(|s| {
            let text = words::scope(s, own);
            let writes = words::writes(s);
            box_of(
                &s.to_string(),
                html! {
                    (text)
                    @if writes { " " strong { "This changes records." } }
                },
            )
        })
        .collect();
    let ask = visit.keep_asking(person, asking)?;
    let content = html! {
        p.lead { strong { (client.name) } " asks to use your account here." }
        (layout::form(visit, "/oauth/consent", html! {
            input type="hidden" name="ask" value=(ask);
            @if !sees.is_empty() {
                fieldset {
                    legend {
                        @if own { "It would, of your own record:" }
                        @else if scopes.reaches(Reach::User) { "It would, of what you may see:" }
                        @else { "It would, of the patient whom you work with:" }
                    }
                    ul.plain { @for one in &sees { (one) } }
                }
            }
            fieldset {
                legend { "It would also:" }
                ul.plain {
                    @if scopes.has(Special::OpenId) {
                        (box_of("openid", html! { "Know that it is you who uses it." }))
                    }
                    @if scopes.has(Special::Offline) {
                        (box_of("offline_access", html! {
                            "Keep its access for up to "
                            (visit.app.apps.lives().offline.as_hours() / 24)
                            " days, also while you are not using it."
                        }))
                    }
                    @if scopes.has(Special::Online) {
                        (box_of("online_access", html! {
                            "Keep its access for as long as you are logged in here."
                        }))
                    }
                    li { "Never see more than you may see yourself." }
                }
            }
            p.hint {
                "Take away a mark and the app goes without. What it has read once it may keep: \
                 ask its maker what becomes of it. You can take your word back at any time under "
                "“Apps” in your account."
            }
            div.actions {
                button.primary type="submit" name="word" value="allow" { "Allow" }
                button type="submit" name="word" value="deny" { "Don’t allow" }
            }
        })?)
    };
    let page = Page::new("An app asks for access", content).of(person).show(visit)?;
    Ok(leads_back(page, &asking.redirect_uri))
}

/// `POST /oauth/consent`
pub(crate) async fn submit(visit: Visit) -> Answer {
    let person = visit.need(Need::PERSON).await?;
    let (asking, client) = visit.asking(&person, true)?;
    let issuer = visit.issuer();
    let reply =
        Reply { redirect_uri: &asking.redirect_uri, state: Some(&asking.state), issuer: &issuer };
    let asked = oauth::Ask::wanted(&asking.scopes);
    let marked: Vec<&str> =
        visit.form.iter().filter(|(n, _)| n == "scope").map(|(_, v)| v.as_str()).collect();
    let given = chosen(&asked, &marked);
    let something = given.records().next().is_some() || given.has(Special::OpenId);
    if visit.field("word") != Some("allow") || !something {
        let why = "the person did not allow it";
        let subject = Some(&person.subject);
        visit.note_refused(subject, Some(&client), ("access_denied", why)).await?;
        return Ok(reply.refused("access_denied", why));
    }
    let left_out: Vec<String> = asked
        .to_string()
        .split(' ')
        .filter(|s| !given.to_string().split(' ').any(|g| g == *s))
        .map(str::to_owned)
        .collect();
    let mut detail =
        vec![(DetailKey::Client, client.id.clone()), (DetailKey::Scope, given.to_string())];
    if !left_out.is_empty() {
        detail.push((DetailKey::Value, format!("left out: {}", left_out.join(" "))));
    }
    // On record before it counts, and how the control log stands after it.
    visit.note(Some(&person.subject), EventKind::GrantGiven, &detail).await?;
    let grant = Grant {
        user: person.subject.id.clone(),
        client: client.id.clone(),
        scopes: given.to_string(),
        since: visit.request.at.as_second(),
    };
    Grants::new(visit.control()?).give(&grant).map_err(|e| visit.identity(e))?;
    detail.push(visit.control_head()?);
    visit.note(Some(&person.subject), EventKind::GrantGiven, &detail).await?;
    authorize::give(&visit, &person, &asking, &given).await
}

/// What of the request the person left in. What says where the context comes from is no
/// access and goes along.
fn chosen(asked: &Wanted, marked: &[&str]) -> Wanted {
    let kept = asked.clone().keep(|s| marked.contains(&s.to_string().as_str()));
    let mut kept = kept;
    for (special, with) in [
        (Special::OpenId, "openid"),
        (Special::FhirUser, "openid"),
        (Special::Profile, "openid"),
        (Special::Offline, "offline_access"),
        (Special::Online, "online_access"),
    ] {
        if !marked.contains(&with) {
            kept = kept.without(special);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unmarked_is_left_out_and_nothing_is_added() {
        let asked = oauth::Ask::wanted(
            "launch/patient openid fhirUser offline_access patient/Observation.rs patient/Patient.r",
        );
        let given = chosen(&asked, &["patient/Patient.r", "patient/Condition.rs"]);
        assert_eq!(given.to_string(), "launch/patient patient/Patient.r");
        let all = chosen(
            &asked,
            &["openid", "offline_access", "patient/Observation.rs", "patient/Patient.r"],
        );
        assert_eq!(all, asked);
    }
}
