//! The people of a tenant, for whoever manages accounts: who there is, what they may do,
//! how they stand, how they prove themselves. Each change needs a proof of who it is within
//! five minutes, and nobody changes the own account.

use axum::http::StatusCode;
use maud::{Markup, html};
use phial_base::SubjectId;
use phial_engine::Caller;
use phial_identity::{Account, Person, VALID};
use phial_policy::Action;

use super::layout::{Field, Message, Page, form, when};
use super::visit::{Need, Turn, Visit, see_other};
use super::{Answer, sso};
use crate::people::{self, Standing};

const MAY: Need = Need::PERSON.may(Action::ManageUsers);
const MAY_NOW: Need = Need::FRESH.may(Action::ManageUsers);

/// What an act on accounts failed with, for a page.
pub(super) fn said(visit: &Visit, e: anyhow::Error) -> Turn {
    match e.downcast::<phial_identity::Error>() {
        Ok(e) => visit.identity(e),
        Err(e) => match e.downcast::<phial_engine::Failure>() {
            Ok(failure) => Turn::Failure(failure),
            Err(e) => match e.downcast::<phial_store::Error>() {
                Ok(e) => visit.store(e),
                Err(e) => {
                    tracing::error!(incident = %visit.request.id, error = %e, "an act failed");
                    let text = "The operator finds it in the log.";
                    Turn::refused(StatusCode::INTERNAL_SERVER_ERROR, "This did not work", text)
                }
            },
        },
    }
}

fn caller(visit: &Visit, person: &Person) -> Caller {
    Caller { subject: std::sync::Arc::clone(&person.subject), request: visit.request.clone() }
}

/// The account that the path names.
fn account(visit: &Visit) -> Result<Account, Turn> {
    let none =
        || Turn::refused(StatusCode::NOT_FOUND, "Nobody of that name", "There is no such account.");
    let named = visit.words.first().map_or("", String::as_str);
    let user = SubjectId::new(named).map_err(|_| none())?;
    let found = visit.accounts()?.find(&user).map_err(|e| visit.identity(e))?;
    found.ok_or_else(none)
}

/// `GET /admin/people`
pub(crate) async fn list(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    listed(&visit, &person, StatusCode::OK, None)
}

fn listed(visit: &Visit, person: &Person, status: StatusCode, message: Option<Message>) -> Answer {
    let all = visit.accounts()?.all().map_err(|e| visit.identity(e))?;
    let factors = visit.factors()?;
    let content = html! {
        section aria-labelledby="all" {
            h2 #all { (all.len()) " accounts" }
            div.wide { table {
                thead { tr { th scope="col" { "Account" } th scope="col" { "Name" }
                    th scope="col" { "Roles" } th scope="col" { "Standing" }
                    th scope="col" { "Factors" } } }
                tbody { @for a in &all { tr {
                    th scope="row" { a href=(at(visit, a)) { (a.id) } }
                    td { (a.name.as_deref().unwrap_or("")) }
                    td { (a.roles.join(", ")) }
                    td { (a.standing()) }
                    td { (factors.of(&a.id).map_err(|e| visit.identity(e))?.kinds().join(", ")) }
                } } }
            } }
        }
        section aria-labelledby="new" {
            h2 #new { "Invite somebody" }
            (form(visit, "/admin/people", html! {
                (Field { hint: Some("a-z 0-9 . _ @ -; it is this person's for good."),
                    ..Field::new("user", "Account name") }.html())
                (Field { required: false, ..Field::new("name", "Name of the person") }.html())
                (Field { required: false, ..Field::new("unit", "Unit") }.html())
                (Field { required: false, hint: Some("Care relationships hang on it."),
                    ..Field::new("practitioner", "Id of the Practitioner that the person is") }.html())
                (Field { required: false, hint: Some("For a patient: their own record hangs on it."),
                    ..Field::new("patient", "Id of the Patient that the person is") }.html())
                (roles_of(visit, &[]))
                button.primary type="submit" { "Add and make an invitation" }
            })?)
        }
    };
    Page::new("People", content).of(person).with(message).show_as(status, visit)
}

fn at(visit: &Visit, account: &Account) -> String {
    visit.at(&format!("/admin/people/{}", account.id))
}

fn roles_of(visit: &Visit, held: &[String]) -> Markup {
    html! {
        fieldset {
            legend { "Roles" }
            @for role in visit.app.engine.policy().roles() {
                label {
                    input type="checkbox" name="role" value=(role.name)
                        checked[held.iter().any(|h| **h == *role.name)];
                    span { strong { (role.name) } ": " (role.description) }
                }
            }
        }
    }
}

fn given(visit: &Visit, name: &str) -> Option<String> {
    let text: String = visit.field(name).unwrap_or("").trim().chars().take(120).collect();
    (!text.is_empty()).then_some(text)
}

fn chosen_roles(visit: &Visit) -> Vec<String> {
    visit.form.iter().filter(|(n, _)| n == "role").map(|(_, v)| v.clone()).collect()
}

/// `POST /admin/people`: a new account, and its invitation.
pub(crate) async fn add(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let wrong = |text: &str| {
        let message = Some(Message::Wrong(text.to_owned()));
        listed(&visit, &person, StatusCode::UNPROCESSABLE_ENTITY, message)
    };
    let typed = visit.field("user").unwrap_or("").trim().to_lowercase();
    let Ok(id) = SubjectId::new(&typed) else {
        return wrong("An account name has 1 to 64 of a-z 0-9 . _ @ -");
    };
    let practitioner = given(&visit, "practitioner");
    if practitioner.as_deref().is_some_and(|p| phial_base::LogicalId::new(p).is_err()) {
        return wrong("This is no id of a Practitioner.");
    }
    let patient = given(&visit, "patient");
    if patient.as_deref().is_some_and(|p| phial_base::LogicalId::new(p).is_err()) {
        return wrong("This is no id of a Patient.");
    }
    let account = Account {
        name: given(&visit, "name"),
        unit: given(&visit, "unit"),
        practitioner,
        patient,
        ..Account::new(id, chosen_roles(&visit))
    };
    let by = caller(&visit, &person);
    if let Err(e) = people::add(&visit.app, &by, &account).await {
        return match e.downcast::<phial_identity::Error>() {
            Ok(e @ (phial_identity::Error::Exists | phial_identity::Error::NoRole)) => {
                wrong(&format!("This can't be added: {e}."))
            }
            Ok(e) => Err(visit.identity(e)),
            Err(e) => Err(said(&visit, e)),
        };
    }
    invited(&visit, &person, &account, false).await
}

/// Makes an invitation and shows its link, once.
async fn invited(visit: &Visit, person: &Person, account: &Account, anew: bool) -> Answer {
    let by = caller(visit, person);
    let made = people::invite(&visit.app, &by, &account.id, anew, VALID).await;
    let (path, until) = made.map_err(|e| said(visit, e))?;
    let content = html! {
        p { "Give this link to " strong { (account.name.as_deref().unwrap_or(account.id.as_str())) }
            ", in person or by a way that only this person reads. It is shown this one time, works \
             once, and is good until " (when(until)) "." }
        p { code #link { (visit.site.origin) (path) } }
        @if anew {
            p { "When it is used, the password, passkeys, apps and recovery codes that the account \
                 has are taken away." }
        }
        p { a.button href=(at(visit, account)) { "To the account" } }
    };
    Page::new("Invitation", content).of(person).show(visit)
}

/// `GET /admin/people/[user]`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = visit.need(MAY).await?;
    let account = account(&visit)?;
    let done = visit.asked("done").map(|_| Message::Done("It is done.".to_owned()));
    page(&visit, &person, &account, StatusCode::OK, done)
}

fn page(
    visit: &Visit,
    person: &Person,
    account: &Account,
    status: StatusCode,
    message: Option<Message>,
) -> Answer {
    let factors = visit.factors()?.of(&account.id).map_err(|e| visit.identity(e))?;
    let used = people::LastUse::of(&visit.app, &visit.tenant)
        .and_then(|uses| uses.by(&account.id))
        .map_err(|e| said(visit, e))?;
    let now = visit.request.at;
    let pending = visit.invitations()?.pending(&account.id, now).map_err(|e| visit.identity(e))?;
    let all = visit.app.tokens.sessions().list(&visit.tenant).map_err(|e| visit.store(e))?;
    let living = all.iter().filter(|s| s.user == account.id && s.is_alive(now)).count();
    let own = person.subject.id == account.id;
    let tied = sso::providers_of(visit, &account.id)?;
    let mut untied = sso::providers(visit);
    untied.retain(|(name, _)| !tied.iter().any(|(n, _)| n == name));
    let path = |what: &str| format!("/admin/people/{}/{what}", account.id);
    let stand = |standing: &str, class: &str, words: &str| {
        form(
            visit,
            &path("standing"),
            html! {
                input type="hidden" name="standing" value=(standing);
                button class=(class) type="submit" { (words) }
            },
        )
    };
    let content = html! {
        dl.facts {
            @if let Some(name) = &account.name { dt { "Name" } dd { (name) } }
            dt { "Standing" } dd { (account.standing()) }
            @if let Some(unit) = &account.unit { dt { "Unit" } dd { (unit) } }
            dt { "Factors" } dd {
                @if factors.kinds().is_empty() { "none yet" } @else { (factors.kinds().join(", ")) }
            }
            dt { "Last used" } dd { @match used { Some(at) => (when(at)), None => "never" } }
            dt { "Log-ins and tokens alive" } dd { (living) }
            @if let Some(until) = pending { dt { "Invited until" } dd { (when(until)) } }
        }
        @if own { p.hint { "This is your own account: someone else has to change it." } }
        @else if !account.ended {
            section aria-labelledby="roles" {
                h2 #roles { "What the person may do" }
                (form(visit, &path("roles"), html! {
                    (roles_of(visit, &account.roles))
                    (Field { required: false, value: account.unit.as_deref().unwrap_or(""),
                        ..Field::new("unit", "Unit") }.html())
                    button type="submit" { "Change roles" }
                    p.hint { "It holds at once, also for log-ins that are alive." }
                })?)
            }
            section aria-labelledby="factors" {
                h2 #factors { "How the person logs in" }
                (form(visit, &path("invite"), html! {
                    @if factors.has_second() {
                        input type="hidden" name="anew" value="yes";
                        p.hint { "For somebody who lost all factors: be sure of who it is." }
                        button type="submit" { "Invite anew, without the old factors" }
                    } @else {
                        button type="submit" { "Make a new invitation" }
                    }
                })?)
                @for (name, provider) in &tied {
                    (form(visit, &path("unlink"), html! {
                        input type="hidden" name="provider" value=(name);
                        p { "Tied to a person at " strong { (provider.label) } "." }
                        button type="submit" { "Undo the tie to " (provider.label) }
                    })?)
                }
                @for (name, provider) in &untied {
                    (form(visit, &path("link"), html! {
                        input type="hidden" name="provider" value=(name);
                        (Field { id: name, hint: Some("The person's name at the identity provider \
                            that never changes (sub), not an e-mail address."),
                            ..Field::new("subject", &format!("Subject at {}", provider.label)) }.html())
                        button type="submit" { "Tie to " (provider.label) }
                    })?)
                }
                (form(visit, &path("sessions"), html! {
                    button type="submit" { "End all log-ins and tokens" }
                })?)
            }
            section aria-labelledby="standing" {
                h2 #standing { "Standing" }
                @if account.active {
                    (stand("suspended", "danger", "Suspend, and end all log-ins at once")?)
                } @else {
                    (stand("active", "", "Let the person act again")?)
                }
                (stand("ended", "danger", "Terminate for good")?)
            }
        }
    };
    let title = account.id.to_string();
    Page::new(&title, content).of(person).with(message).show_as(status, visit)
}

fn back(visit: &Visit, account: &Account) -> Answer {
    Ok(see_other(&format!("{}?done=1", at(visit, account))))
}

/// `POST /admin/people/[user]/roles`
pub(crate) async fn roles(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let (roles, unit) = (chosen_roles(&visit), given(&visit, "unit"));
    if roles.is_empty() {
        let message = Some(Message::Wrong("An account needs at least one role.".to_owned()));
        return page(&visit, &person, &account, StatusCode::UNPROCESSABLE_ENTITY, message);
    }
    let by = caller(&visit, &person);
    let done = people::set_roles(&visit.app, &by, &account.id, roles, unit).await;
    done.map_err(|e| said(&visit, e))?;
    back(&visit, &account)
}

/// `POST /admin/people/[user]/standing`
pub(crate) async fn standing(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let standing = match visit.field("standing") {
        Some("active") => Standing::Active,
        Some("ended") => Standing::Ended,
        _ => Standing::Suspended,
    };
    let by = caller(&visit, &person);
    let done = people::stand(&visit.app, &by, &account.id, standing).await;
    done.map_err(|e| said(&visit, e))?;
    back(&visit, &account)
}

/// `POST /admin/people/[user]/invite`
pub(crate) async fn invite(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let anew = visit.field("anew") == Some("yes");
    invited(&visit, &person, &account, anew).await
}

/// `POST /admin/people/[user]/sessions`
pub(crate) async fn sessions(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let by = caller(&visit, &person);
    let ended = people::end_sessions(&visit.app, &by, &account.id).await;
    let _count = ended.map_err(|e| said(&visit, e))?;
    back(&visit, &account)
}

/// The identity provider that a form names.
fn provider(visit: &Visit) -> Result<(String, crate::config::Provider), Turn> {
    let asked = visit.field("provider").unwrap_or("");
    sso::providers(visit).into_iter().find(|(name, _)| name == asked).ok_or_else(|| {
        let text = "There is no identity provider of that name.";
        Turn::refused(StatusCode::NOT_FOUND, "Nothing is here", text)
    })
}

/// `POST /admin/people/[user]/link`
pub(crate) async fn link(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let (name, provider) = provider(&visit)?;
    let subject = visit.field("subject").unwrap_or("").trim().to_owned();
    let by = caller(&visit, &person);
    let done = people::link(&visit.app, &by, &account.id, (&name, &provider), &subject).await;
    done.map_err(|e| said(&visit, e))?;
    back(&visit, &account)
}

/// `POST /admin/people/[user]/unlink`
pub(crate) async fn unlink(visit: Visit) -> Answer {
    let person = visit.need(MAY_NOW).await?;
    let account = account(&visit)?;
    let (name, provider) = provider(&visit)?;
    let by = caller(&visit, &person);
    let done = people::unlink(&visit.app, &by, &account.id, (&name, &provider)).await;
    let _there = done.map_err(|e| said(&visit, e))?;
    back(&visit, &account)
}
