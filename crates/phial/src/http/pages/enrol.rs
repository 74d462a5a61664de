//! Adding a passkey or an authenticator app: by an invitation the first one, later ones
//! after proving once more who it is. With the first one the invitation is used up, the
//! recovery codes are shown, and the log-in is whole.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use maud::{Markup, html};
use phial_audit::{DetailKey, EventKind};
use phial_identity::passkey::{self, Passkey, decoded, encoded};
use phial_identity::{Person, totp};
use zeroize::Zeroizing;

use super::layout::{Field, Message, Page, form};
use super::visit::{Need, Turn, Visit};
use super::{Answer, login, passkeys};

/// The person who may add a factor.
async fn may(visit: &Visit) -> Result<Person, Turn> {
    let person = visit.need(Need::FIRST).await?;
    let Some(invitation) = &person.login.invitation else {
        return visit.need(Need::FRESH).await;
    };
    let good = visit.invitations()?.is_good(invitation, visit.request.at);
    if good.map_err(|e| visit.identity(e))? {
        return Ok(person);
    }
    Err(Turn::refused(
        StatusCode::FORBIDDEN,
        "This link is not good any more",
        "It was used up or is too old. Log in, or ask for a new one.",
    ))
}

/// `GET /account/enrol`
pub(crate) async fn show(visit: Visit) -> Answer {
    let person = may(&visit).await?;
    let secret = Zeroizing::new(visit.app.tokens.sessions().random::<{ totp::SECRET }>());
    page(&visit, &person, StatusCode::OK, None, &secret[..])
}

fn about(person: &Person) -> [&[u8]; 3] {
    let (user, session) = (person.subject.id.as_str(), person.session.handle.as_str());
    [b"totp to come", user.as_bytes(), session.as_bytes()]
}

fn page(
    visit: &Visit,
    person: &Person,
    status: StatusCode,
    message: Option<Message>,
    secret: &[u8],
) -> Answer {
    let user = &person.subject.id;
    let factors = visit.factors()?.of(user).map_err(|e| visit.identity(e))?;
    let challenge = passkeys::challenge(visit, "create", user.as_str())?;
    let sealed = visit.app.tokens.sessions().seal(&visit.tenant, &about(person), secret);
    let sealed = encoded(&sealed.map_err(|e| visit.store(e))?);
    let handle = visit
        .app
        .tokens
        .sessions()
        .mac(&visit.tenant, &[b"passkey user", user.as_str().as_bytes()])
        .map_err(|e| visit.store(e))?;
    let taken: Vec<&str> = factors.passkeys.iter().map(|p| p.id.as_str()).collect();
    let address = totp::address(secret, &visit.site.id, user.as_str());
    let content = html! {
        @if person.subject.mfa == 1 {
            ol.steps {
                li { "Choose a password" }
                li aria-current="step" { "Add a passkey or an authenticator app" }
                li { "Keep your recovery codes" }
            }
        }
        section aria-labelledby="passkey" {
            h2 #passkey { "A passkey" }
            p { "The safest way: your phone, computer or security key confirms that it is you, and \
                 it works on this site alone." }
            div.passkey data-passkey="create" data-challenge=(challenge)
                data-site=(visit.site.id) data-user=(user) data-handle=(encoded(&handle))
                data-allow=(taken.join(" ")) {
                (form(visit, "/account/enrol/passkey", html! {
                    (Field { id: "passkey-name", value: "My passkey", ..Field::new("name", "What to call it") }.html())
                    input type="hidden" name="client_data";
                    input type="hidden" name="attestation";
                    button.primary type="submit" { "Add a passkey" }
                    p.message.wrong.late role="alert" hidden {}
                    noscript { p.hint { "Passkeys need JavaScript." } }
                })?)
            }
        }
        section aria-labelledby="app" {
            h2 #app { "An authenticator app" }
            p { "Scan the code with the app, or type the key in. Then enter the six digits that it \
                 shows." }
            (qr(&address))
            p { "Key: " code #totp-key { (totp::spoken(secret).as_str()) } }
            (form(visit, "/account/enrol/totp", html! {
                input type="hidden" name="secret" value=(sealed);
                (Field { id: "app-name", value: "My app", ..Field::new("name", "What to call it") }.html())
                (Field { autocomplete: "one-time-code",
                    ..Field::new("code", "Six digits of the app") }.html())
                button type="submit" { "Add the app" }
            })?)
        }
    };
    Page::new("Add a second factor", content)
        .of(person)
        .with(message)
        .scripted()
        .show_as(status, visit)
}

/// A QR code as one path of an image that is part of the page.
fn qr(text: &str) -> Markup {
    let squares = totp::squares(text);
    let side = squares.len() + 8;
    let mut path = String::new();
    for (y, row) in squares.iter().enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, dark)| **dark) {
            path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
        }
    }
    html! {
        svg.qr role="img" aria-label="QR code of the key below" viewBox={ "0 0 " (side) " " (side) } {
            rect width=(side) height=(side) fill="#fff" {}
            path d=(path) fill="#000" {}
        }
    }
}

fn name(visit: &Visit, otherwise: &str) -> String {
    let typed: String = visit.field("name").unwrap_or("").trim().chars().take(60).collect();
    if typed.is_empty() { otherwise.to_owned() } else { typed }
}

/// `POST /account/enrol/totp`
pub(crate) async fn totp(visit: Visit) -> Answer {
    let person = may(&visit).await?;
    let user = person.subject.id.clone();
    let sealed = decoded(visit.field("secret").unwrap_or("")).unwrap_or_default();
    let Ok(secret) = visit.app.tokens.sessions().unseal(&visit.tenant, &about(&person), &sealed)
    else {
        return Err(Turn::To(visit.at("/account/enrol")));
    };
    let typed = visit.field("code").unwrap_or("");
    if totp::accepts(&secret, typed, visit.request.at).is_none() {
        let text = "These are not the digits that the app shows now. Try the next ones; if it \
                    stays so, look at the clock of your phone.";
        let message = Some(Message::Wrong(text.to_owned()));
        return page(&visit, &person, StatusCode::UNPROCESSABLE_ENTITY, message, &secret);
    }
    use_up(&visit, &person).await?;
    note_added(&visit, &person, "totp").await?;
    let factors = visit.factors()?;
    factors
        .add_totp(&user, &name(&visit, "Authenticator app"), &secret, visit.request.at)
        .map_err(|e| visit.identity(e))?;
    // The code that was shown is used, too.
    let _used = factors.use_totp(&user, typed, visit.request.at).map_err(|e| visit.identity(e))?;
    added(&visit, &person, "totp").await
}

/// `POST /account/enrol/passkey`
pub(crate) async fn passkey(visit: Visit) -> Answer {
    let person = may(&visit).await?;
    let user = person.subject.id.clone();
    let field = |name: &str| decoded(visit.field(name).unwrap_or("")).unwrap_or_default();
    let client_data = field("client_data");
    let challenge = passkeys::answered(&visit, "create", user.as_str(), &client_data)?;
    let made = challenge.as_ref().map(|challenge| {
        passkey::register(&visit.site, challenge, &client_data, &field("attestation"))
    });
    let (Some(challenge), Some(Ok(made))) = (challenge, made) else {
        return Err(Turn::refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This passkey could not be added",
            "Go back and try again. The device has to ask for a finger, a face or a PIN.",
        ));
    };
    let factors = visit.factors()?;
    let taken = factors.owner(&made.id).map_err(|e| visit.identity(e))?.is_some();
    if taken || !passkeys::once(&visit, &challenge) {
        return Err(Turn::To(visit.at("/account/enrol")));
    }
    use_up(&visit, &person).await?;
    note_added(&visit, &person, "passkey").await?;
    let passkey = Passkey {
        id: made.id.clone(),
        key: made.key,
        site: visit.site.id.clone(),
        name: name(&visit, "Passkey"),
        added: visit.request.at.to_string(),
    };
    factors.add_passkey(&user, &passkey).map_err(|e| visit.identity(e))?;
    let counted = factors.count_passkey(&user, &made.id, made.counter, visit.request.at);
    let _first = counted.map_err(|e| visit.identity(e))?;
    added(&visit, &person, "passkey").await
}

/// Uses the invitation up before anything is added: of two who hold its link, one goes on.
async fn use_up(visit: &Visit, person: &Person) -> Result<(), Turn> {
    let Some(invitation) = &person.login.invitation else { return Ok(()) };
    let first = visit.invitations()?.use_up(invitation, visit.request.at);
    if first.map_err(|e| visit.identity(e))? {
        return Ok(());
    }
    Err(Turn::refused(
        StatusCode::CONFLICT,
        "This link was used up",
        "Someone finished with it a moment ago. If that was not you, tell your security officer.",
    ))
}

async fn note_added(visit: &Visit, person: &Person, kind: &str) -> Result<(), Turn> {
    let detail =
        [(DetailKey::Account, person.subject.id.to_string()), (DetailKey::Factor, kind.to_owned())];
    visit.note(Some(&person.subject), EventKind::FactorAdded, &detail).await
}

async fn added(visit: &Visit, person: &Person, kind: &str) -> Answer {
    let user = &person.subject.id;
    let whose = (DetailKey::Account, user.to_string());
    if person.subject.mfa == 2 {
        let detail = [whose, visit.control_head()?];
        visit.note(Some(&person.subject), EventKind::UserChanged, &detail).await?;
        return Ok(super::visit::see_other(&visit.at("/account?done=factor")));
    }
    let codes = visit.factors()?.new_codes(user).map_err(|e| visit.identity(e))?;
    let detail = [whose, visit.control_head()?];
    visit.note(Some(&person.subject), EventKind::UserChanged, &detail).await?;
    // By an invitation a password was chosen, unless somebody else vouched for the person.
    let first = match person.login.how.as_str() {
        "invitation" => "password",
        how => how,
    };
    let how = format!("{first} {kind}");
    let issued = login::whole(visit, user, &how, Some(person)).await?;
    let mut response = codes_page(visit, None, &codes)?;
    visit.give_login(&mut response, &issued);
    Ok(response)
}

/// The page that shows recovery codes, once.
pub(super) fn codes_page(
    visit: &Visit,
    person: Option<&Person>,
    codes: &[Zeroizing<String>],
) -> Result<Response<Body>, Turn> {
    let content = html! {
        @if person.is_none() {
            ol.steps {
                li { "Choose a password" }
                li { "Add a passkey or an authenticator app" }
                li aria-current="step" { "Keep your recovery codes" }
            }
        }
        p { "If your phone or key is lost, one of these lets you in, together with your password. \
             Each works once. Print them or put them into a password manager: "
            strong { "they are shown this one time." } }
        ul.codes aria-label="Recovery codes" {
            @for code in codes { li { code { (code.as_str()) } } }
        }
        p { a.button.primary href=(visit.at("/")) { "I have kept them" } }
    };
    let page = Page::new("Your recovery codes", content);
    match person {
        Some(person) => page.of(person).show(visit),
        None => page.show(visit),
    }
}
