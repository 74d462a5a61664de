//! `GET /oauth/authorize`: an app asks for a code
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#obtain-authorization-code>).

use jiff::SignedDuration;
use phial_base::scope::Reach;
use phial_identity::Person;
use phial_identity::oauth::{
    Asking, Client, ClientKind, Code, Grants, Launch, RefusedCode, Special, Standing, Wanted,
};
use phial_store::tickets::TicketKind;

use super::super::Answer;
use super::super::visit::{Need, Turn, Visit};
use super::{Reply, consent, encounter, nowhere, patient};
use crate::http::oauth;

/// A parameter of the query that is given once.
fn once<'v>(visit: &'v Visit, name: &str) -> Result<Option<&'v str>, &'static str> {
    let mut all = visit.query.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let first = all.next();
    match all.next() {
        Some(_) => Err("a parameter is given more than once"),
        None => Ok(first.filter(|v| !v.is_empty())),
    }
}

type No = (RefusedCode, &'static str);

/// What an app asks for, once it is known where to answer.
struct Asked<'v> {
    state: &'v str,
    challenge: &'v str,
    scopes: Wanted,
    nonce: Option<&'v str>,
    launch: Option<&'v str>,
    prompt: &'v str,
}

fn read<'v>(visit: &'v Visit, client: &Client) -> Result<Asked<'v>, No> {
    let once = |name| once(visit, name).map_err(|why| (RefusedCode::InvalidRequest, why));
    let bad = |why| (RefusedCode::InvalidRequest, why);
    let state = once("state")?.ok_or(bad("state is missing: an app needs it against forgery"))?;
    if client.kind == ClientKind::Service {
        return Err((RefusedCode::UnauthorizedClient, "a service asks for no person's word"));
    }
    if once("response_type")? != Some("code") {
        return Err((RefusedCode::UnsupportedResponseType, "only response_type=code is spoken"));
    }
    if once("request")?.is_some() || once("request_uri")?.is_some() {
        return Err(bad("request objects are not taken here"));
    }
    if once("code_challenge_method")? != Some("S256") {
        return Err(bad("PKCE is asked of every app: code_challenge_method=S256"));
    }
    let challenge = once("code_challenge")?.filter(|c| {
        c.len() == 43 && c.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    });
    let challenge = challenge.ok_or(bad("code_challenge is no SHA-256 in base64url"))?;
    let base = format!("{}/fhir", visit.issuer());
    // SMART's older clients call it so, too.
    let aud = match once("aud")? {
        Some(aud) => Some(aud),
        None => once("resource")?,
    };
    if aud.map(|a| a.trim_end_matches('/')) != Some(base.as_str()) {
        return Err(bad("aud is not this server's FHIR base"));
    }
    let scopes = once("scope")?.unwrap_or("");
    let scopes = oauth::Ask::wanted(scopes)
        .within(&oauth::Ask::limits(client))
        .keep(|s| s.reach != Reach::System)
        .without(Special::Scim);
    if scopes.is_empty() {
        return Err((RefusedCode::InvalidScope, "nothing that is asked for may be given"));
    }
    let launch = once("launch")?;
    if launch.is_none() && scopes.has(Special::Launch) && !scopes.has(Special::LaunchPatient) {
        return Err(bad("scope launch goes with a launch from an EHR (launch)"));
    }
    let prompt = once("prompt")?.unwrap_or("");
    if prompt.len() > 64 || state.len() > 2048 {
        return Err(bad("a parameter is too long"));
    }
    Ok(Asked { state, challenge, scopes, nonce: once("nonce")?, launch, prompt })
}

/// `GET /oauth/authorize`
pub(crate) async fn show(visit: Visit) -> Answer {
    // Whom to answer, before anything else: a wrong address is never gone to.
    let named = once(&visit, "client_id").ok().flatten();
    let client = match named {
        Some(id) => visit.app_named(id)?,
        None => None,
    };
    let Some(client) = client else {
        let why = "there is no such app";
        visit.note_refused(None, None, ("invalid_client", why)).await?;
        return Err(nowhere("No app of that name is registered here."));
    };
    let redirect_uri = once(&visit, "redirect_uri").ok().flatten().unwrap_or("").to_owned();
    if !client.redirect_uris.contains(&redirect_uri) {
        let why = "the redirect URI is not registered";
        visit.note_refused(None, Some(&client), ("invalid_redirect_uri", why)).await?;
        return Err(nowhere(
            "The app wants its answer sent to an address that it is not registered with.",
        ));
    }
    let issuer = visit.issuer();
    let state = once(&visit, "state").ok().flatten();
    let reply = Reply { redirect_uri: &redirect_uri, state, issuer: &issuer };
    let asked = match read(&visit, &client) {
        Ok(asked) => asked,
        Err((code, why)) => {
            visit.note_refused(None, Some(&client), (code.name(), why)).await?;
            return Ok(reply.refused(code.name(), why));
        }
    };
    let silent = asked.prompt.split(' ').any(|p| p == "none");
    if silent && visit.person()?.is_none_or(|p| p.subject.mfa < 2) {
        let why = "nobody is logged in";
        visit.note_refused(None, Some(&client), ("login_required", why)).await?;
        return Ok(reply.refused("login_required", why));
    }
    let anew = asked.prompt.split(' ').any(|p| p == "login");
    let person = visit.need(if anew { Need::FRESH } else { Need::PERSON }).await?;
    let mut asking = Asking {
        client: client.id.clone(),
        user: person.subject.id.clone(),
        redirect_uri: redirect_uri.clone(),
        state: asked.state.to_owned(),
        challenge: asked.challenge.to_owned(),
        scopes: asked.scopes.to_string(),
        nonce: asked.nonce.map(str::to_owned),
        patient: None,
        encounter: None,
        launched: false,
        banner: true,
    };
    if let Some(launch) = asked.launch {
        let (apps, now) = (&visit.app.apps, visit.request.at);
        let found: Option<Launch> = apps
            .take(&visit.tenant, TicketKind::Launch, launch, now)
            .map_err(|e| visit.identity(e))?;
        let found = found.filter(|l| l.client == client.id && l.user == person.subject.id);
        let Some(found) = found else {
            let why = "the launch is over, or another's";
            let subject = Some(&person.subject);
            visit.note_refused(subject, Some(&client), ("invalid_request", why)).await?;
            return Ok(reply.refused("invalid_request", why));
        };
        asking.patient = Some(found.patient);
        asking.encounter = found.encounter;
        asking.banner = found.banner;
        asking.launched = true;
    }
    // An encounter is one of a patient.
    let needs_patient = asked.scopes.has(Special::LaunchPatient)
        || asked.scopes.has(Special::LaunchEncounter)
        || asked.scopes.reaches(Reach::Patient);
    if needs_patient && asking.patient.is_none() {
        match &person.subject.patient {
            Some(own) => asking.patient = Some(own.as_str().to_owned()),
            None if silent => {
                let why = "a patient is to be chosen";
                let subject = Some(&person.subject);
                visit.note_refused(subject, Some(&client), ("interaction_required", why)).await?;
                return Ok(reply.refused("interaction_required", why));
            }
            None => return patient::choose(&visit, &person, &client, &asking, None, None).await,
        }
    }
    let mut asked = asked;
    if asked.scopes.has(Special::LaunchEncounter) && asking.encounter.is_none() {
        if asking.launched {
            // The EHR said in which context: in none.
            asked.scopes = asked.scopes.without(Special::LaunchEncounter);
            asking.scopes = asked.scopes.to_string();
        } else if silent {
            let why = "an encounter is to be chosen";
            let subject = Some(&person.subject);
            visit.note_refused(subject, Some(&client), ("interaction_required", why)).await?;
            return Ok(reply.refused("interaction_required", why));
        } else {
            return encounter::choose(&visit, &person, &client, &asking, None).await;
        }
    }
    let anew = asked.prompt.split(' ').any(|p| p == "consent");
    if !anew && is_granted(&visit, &person, &client, &asked.scopes)? {
        let scopes = asked.scopes.clone();
        return give(&visit, &person, &asking, &scopes).await;
    }
    if silent {
        let why = "the person has not said a word about this";
        let subject = Some(&person.subject);
        visit.note_refused(subject, Some(&client), ("consent_required", why)).await?;
        return Ok(reply.refused("consent_required", why));
    }
    consent::page(&visit, &person, &client, &asking)
}

/// Goes on with a request whose patient was chosen: to an encounter if the app asks for one
/// and none was chosen, to the person's word, or straight to the code.
pub(super) async fn onward(
    visit: &Visit,
    person: &Person,
    client: &Client,
    asking: &Asking,
) -> Answer {
    let scopes = oauth::Ask::wanted(&asking.scopes);
    if scopes.has(Special::LaunchEncounter) && asking.encounter.is_none() {
        return encounter::choose(visit, person, client, asking, None).await;
    }
    if is_granted(visit, person, client, &scopes)? {
        return give(visit, person, asking, &scopes).await;
    }
    consent::page(visit, person, client, asking)
}

/// Whether the person let the app do all of this before.
pub(super) fn is_granted(
    visit: &Visit,
    person: &Person,
    client: &Client,
    scopes: &Wanted,
) -> Result<bool, Turn> {
    let grant = Grants::new(visit.control()?)
        .find(&person.subject.id, &client.id)
        .map_err(|e| visit.identity(e))?;
    Ok(grant.is_some_and(|g| scopes.is_covered_by(&oauth::Ask::wanted(&g.scopes))))
}

/// Gives the code and leads back to the app.
pub(super) async fn give(
    visit: &Visit,
    person: &Person,
    asking: &Asking,
    scopes: &Wanted,
) -> Answer {
    let issuer = visit.issuer();
    let offline = scopes.has(Special::Offline);
    let code = Code {
        standing: Standing {
            client: asking.client.clone(),
            user: person.subject.id.clone(),
            purpose: person.subject.purpose,
            mfa: person.subject.mfa,
            scopes: scopes.to_string(),
            patient: asking.patient.clone(),
            encounter: asking.encounter.clone(),
            session: (!offline).then(|| person.began_as().to_owned()),
            at: person.login.proven.as_second(),
            bound: None,
            nonce: asking.nonce.clone(),
            until: 0,
            banner: asking.banner,
        },
        redirect_uri: asking.redirect_uri.clone(),
        challenge: asking.challenge.clone(),
    };
    debug_assert!(visit.app.apps.lives().code <= SignedDuration::from_secs(60));
    let issued = visit
        .app
        .apps
        .give_code(&visit.tenant, &code, visit.request.at)
        .map_err(|e| visit.identity(e))?;
    let reply =
        Reply { redirect_uri: &asking.redirect_uri, state: Some(&asking.state), issuer: &issuer };
    Ok(reply.code(issued.token.as_str()))
}
