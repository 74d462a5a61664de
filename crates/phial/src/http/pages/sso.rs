//! Logging in at an identity provider of the organization's own, and coming back from there
//! (OpenID Connect Core 1.0 section 3.1; RFC 7636, 9207, 9700; 164.312(d)).
//!
//! Nothing is kept for whoever merely sets out: `state` is what is needed again, sealed under
//! the sessions key and bound to this browser's cookie; it is good for ten minutes and once.
//! A person is an account by the tie that an administrator or an invitation made, and by
//! nothing that a provider says beside its name for the person. Every way in which it fails
//! is written down by its place, and told to the person in general words.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, EventKind};
use phial_base::{SubjectId, Surface};
use phial_engine::Caller;
use phial_identity::sso::{Link, Links, Proven, mapped};
use phial_identity::throttle::Guess;
use phial_identity::{Account, Person, Shown};
use serde::{Deserialize, Serialize};

use super::visit::{FRESH, Need, Turn, Visit, see_other};
use super::{Answer, invite, login, people as accounts};
use crate::config::Provider;
use crate::people::{self, Standing};
use crate::sso;

/// How long a person may take at the provider.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(10);
/// The longest path that is come back to.
const LONGEST_NEXT: usize = 1024;

/// What is needed again when the person comes back.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    nonce: String,
    verifier: String,
    /// When it began, seconds since the epoch.
    began: i64,
    next: Option<String>,
    /// Whether somebody who is logged in proves it once more.
    again: bool,
    /// The name of the invitation that is taken up.
    invitation: Option<String>,
}

/// The providers of a visit's tenant.
pub(super) fn providers(visit: &Visit) -> Vec<(String, Provider)> {
    let config = visit.app.config();
    let of_tenant = config.sso.iter().filter(|(_, p)| p.tenant == visit.tenant);
    of_tenant.map(|(name, p)| (name.clone(), p.clone())).collect()
}

/// Those at which an account is known.
pub(super) fn providers_of(
    visit: &Visit,
    user: &SubjectId,
) -> Result<Vec<(String, Provider)>, Turn> {
    let links = Links::new(visit.control()?).of(user).map_err(|e| visit.identity(e))?;
    let account = visit.accounts()?.find(user).map_err(|e| visit.identity(e))?;
    let told = account.is_some_and(|a| a.external.is_some());
    let mut all = providers(visit);
    all.retain(|(_, p)| links.iter().any(|l| l.issuer == p.issuer) || told && p.scim_external_id);
    Ok(all)
}

/// Where a log-in at this provider begins.
pub(super) fn to(visit: &Visit, name: &str, more: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(more.iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    let joint = if query.is_empty() { "" } else { "?" };
    format!("{}{joint}{query}", visit.at(&format!("/login/sso/{name}")))
}

/// The provider that the path names.
fn named(visit: &Visit) -> Result<(String, Provider), Turn> {
    let asked = visit.words.first().map_or("", String::as_str);
    let found = providers(visit).into_iter().find(|(name, _)| name == asked);
    found.ok_or_else(|| {
        Turn::refused(
            StatusCode::NOT_FOUND,
            "Nothing is here",
            "There is no identity provider of that name.",
        )
    })
}

fn redirect_uri(visit: &Visit, name: &str) -> String {
    format!("{}{}", visit.site.origin, visit.at(&format!("/login/sso/{name}/back")))
}

fn about<'v>(visit: &'v Visit, name: &'v str) -> [&'v [u8]; 3] {
    [b"log-in at a provider", visit.browser().as_bytes(), name.as_bytes()]
}

fn random(visit: &Visit) -> String {
    B64.encode(visit.app.tokens.sessions().random::<32>())
}

/// Why somebody is not let in.
struct No {
    /// The account, when it is known which it would be.
    user: Option<SubjectId>,
    /// The place, for the log.
    why: &'static str,
    status: StatusCode,
    /// For the person.
    text: &'static str,
}

enum Ends {
    No(No),
    Turn(Turn),
}

impl From<Turn> for Ends {
    fn from(turn: Turn) -> Self {
        Ends::Turn(turn)
    }
}

const AGAIN: &str = "Go back to the log-in page and begin again.";

fn no(why: &'static str) -> Ends {
    Ends::No(No { user: None, why, status: StatusCode::FORBIDDEN, text: AGAIN })
}

/// About an account that is known.
fn never(user: &SubjectId, why: &'static str, text: &'static str) -> Ends {
    Ends::No(No { user: Some(user.clone()), why, status: StatusCode::FORBIDDEN, text })
}

/// `GET /login/sso/[provider]`: sets out.
pub(crate) async fn begin(visit: Visit) -> Answer {
    let (name, provider) = named(&visit)?;
    let again = visit.asked("again").is_some();
    if again {
        let _person = visit.need(Need::PERSON).await?;
    }
    let invitation = match visit.asked("invitation") {
        Some(token) => Some(invite::by_token(&visit, token).await?.0),
        None => None,
    };
    let metadata = match visit.app.providers.of(&visit.app, &name, &provider).await {
        Ok(metadata) => metadata,
        Err(why) => {
            login::failed(&visit, None, &format!("sso {name}: {why}")).await?;
            return Err(Turn::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "This does not work right now",
                "Your organization's log-in can't be reached, or is not set up as it should be. \
                 Log in another way, or try again later.",
            ));
        }
    };
    let under_way = UnderWay {
        nonce: random(&visit),
        verifier: random(&visit),
        began: visit.request.at.as_second(),
        next: visit.next().filter(|n| n.len() <= LONGEST_NEXT),
        again,
        invitation,
    };
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&under_way).unwrap_or_default());
    let sealed = visit.app.tokens.sessions().seal(&visit.tenant, &about(&visit, &name), &plain);
    let state = B64.encode(sealed.map_err(|e| visit.store(e))?);
    let challenge = B64.encode(phial_crypto::sha256(under_way.verifier.as_bytes()));
    let mut url = metadata.authorization.clone();
    let scopes = ["openid"].into_iter().chain(provider.scopes.iter().map(String::as_str));
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", &redirect_uri(&visit, &name))
        .append_pair("scope", &scopes.collect::<Vec<_>>().join(" "))
        .append_pair("state", &state)
        .append_pair("nonce", &under_way.nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    if !provider.acr.is_empty() {
        url.query_pairs_mut().append_pair("acr_values", &provider.acr.join(" "));
    }
    if again {
        url.query_pairs_mut().append_pair("prompt", "login").append_pair("max_age", "0");
    }
    Ok(see_other(url.as_str()))
}

/// `GET /login/sso/[provider]/back`: comes back.
pub(crate) async fn back(visit: Visit) -> Answer {
    let (name, provider) = named(&visit)?;
    let attempt = login::begin_unnamed(&visit, Guess::Abroad).await?;
    let (sessions, now) = (visit.app.tokens.sessions(), visit.request.at);
    match came(&visit, &name, &provider).await {
        Ok(answer) => {
            let passed = attempt.passed(&visit.app.throttle, sessions, now);
            passed.map_err(|e| visit.identity(e))?;
            Ok(answer)
        }
        Err(Ends::Turn(turn)) => Err(turn),
        Err(Ends::No(no)) => {
            let failed = attempt.failed(&visit.app.throttle, sessions, now);
            failed.map_err(|e| visit.identity(e))?;
            login::failed(&visit, no.user.as_ref(), &format!("sso {name}: {}", no.why)).await?;
            Err(Turn::refused(no.status, "You are not logged in", no.text))
        }
    }
}

/// A parameter of the answer, given once.
fn once<'v>(visit: &'v Visit, name: &str) -> Result<Option<&'v str>, Ends> {
    let mut all = visit.query.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let first = all.next();
    match all.next() {
        Some(_) => Err(no("a parameter is given more than once")),
        None => Ok(first),
    }
}

/// What set out from this browser, not too long ago, and did not come back before.
fn under_way(visit: &Visit, name: &str) -> Result<UnderWay, Ends> {
    const STATE: &str = "state is not of this browser, or not of this server";
    let state = once(visit, "state")?.ok_or(no("state is missing"))?;
    let sealed = B64.decode(state).map_err(|_| no(STATE))?;
    let sessions = visit.app.tokens.sessions();
    let plain = sessions.unseal(&visit.tenant, &about(visit, name), &sealed);
    let plain = plain.map_err(|_| no(STATE))?;
    let under_way: UnderWay = serde_json::from_slice(&plain).map_err(|_| no(STATE))?;
    let now = visit.request.at;
    let age = now.as_second().saturating_sub(under_way.began);
    if !(0..=GOOD_FOR.as_secs()).contains(&age) {
        return Err(no("state is too old"));
    }
    let until = now.checked_add(GOOD_FOR).unwrap_or(Timestamp::MAX);
    let what = ["log-in at a provider", under_way.nonce.as_str()];
    let first = visit.app.apps.tickets().mark(&visit.tenant, &what, until, now);
    if first.map_err(|e| visit.store(e))? {
        Ok(under_way)
    } else {
        Err(no("state was used before"))
    }
}

async fn came(
    visit: &Visit,
    name: &str,
    provider: &Provider,
) -> Result<axum::http::Response<axum::body::Body>, Ends> {
    let under_way = under_way(visit, name)?;
    let metadata = visit.app.providers.of(&visit.app, name, provider).await.map_err(no)?;
    match once(visit, "iss")? {
        Some(iss) if iss != provider.issuer => return Err(no("iss is another provider")),
        None if metadata.says_issuer => return Err(no("iss is missing")),
        _ => {}
    }
    if let Some(error) = once(visit, "error")? {
        // Its words may be anything: only those of the specifications are known.
        return Err(no(match error {
            "access_denied" => "the provider refuses (access_denied)",
            "login_required" => "the provider refuses (login_required)",
            "interaction_required" => "the provider refuses (interaction_required)",
            "invalid_scope" => "the provider refuses (invalid_scope)",
            "unmet_authentication_requirements" => "the provider can't show what acr asks for",
            "server_error" | "temporarily_unavailable" => "the provider is out of order",
            _ => "the provider refuses",
        }));
    }
    let code = once(visit, "code")?.filter(|c| !c.is_empty()).ok_or(no("code is missing"))?;
    let began = Timestamp::from_second(under_way.began).ok();
    let answer = sso::Answer {
        code,
        verifier: &under_way.verifier,
        redirect_uri: &redirect_uri(visit, name),
        nonce: &under_way.nonce,
        since: began.filter(|_| under_way.again),
    };
    let control = visit.control()?;
    let proven =
        sso::proven(&visit.app, control, &visit.tenant, (provider, &metadata), &answer).await;
    let proven = proven.map_err(no)?;
    if let Some(invitation) = &under_way.invitation {
        return invited(visit, name, provider, &proven, invitation).await;
    }
    let Some(account) = known(visit, provider, &proven)? else {
        return Err(Ends::No(No {
            user: None,
            why: "sub is tied to no account",
            status: StatusCode::FORBIDDEN,
            text: "Your organization knows you, but no account here is yours. Ask whoever manages \
                   accounts to tie it to you, or to invite you.",
        }));
    };
    if !account.active {
        return Err(never(
            &account.id,
            "the account is suspended",
            "Your account can't be used. Ask whoever manages accounts.",
        ));
    }
    let account = with_roles(visit, name, provider, &proven, account).await?;
    log_in(visit, name, provider, &proven, &account, under_way).await
}

/// The account of somebody at a provider: by a tie, or by what the directory calls the person.
fn known(visit: &Visit, provider: &Provider, proven: &Proven) -> Result<Option<Account>, Turn> {
    let (accounts, links) = (visit.accounts()?, Links::new(visit.control()?));
    let tied = links.find(&provider.issuer, &proven.subject).map_err(|e| visit.identity(e))?;
    let found = match tied {
        Some(link) => accounts.find(&link.user),
        None if provider.scim_external_id => accounts.by_external(&proven.subject),
        None => Ok(None),
    };
    found.map_err(|e| visit.identity(e))
}

/// The account with the roles that the provider gives it, where it may.
async fn with_roles(
    visit: &Visit,
    name: &str,
    provider: &Provider,
    proven: &Proven,
    account: Account,
) -> Result<Account, Ends> {
    let Some(claim) = &provider.roles_claim else { return Ok(account) };
    let Some(roles) = mapped(&provider.roles, proven.claim(claim), &account.roles) else {
        return Err(never(
            &account.id,
            "the provider says no roles where roles_claim has them",
            "Your organization does not say what you may do here. Ask its help desk.",
        ));
    };
    let mut held = account.roles.clone();
    held.sort();
    if roles == held {
        return Ok(account);
    }
    let by = whoever(visit, name);
    let failed = |e| Ends::Turn(accounts::said(visit, e));
    if roles.is_empty() {
        // An account has a role, or does not act: this one's living sessions end, too.
        let (app, id) = (&visit.app, &account.id);
        people::stand(app, &by, id, Standing::Suspended).await.map_err(failed)?;
        return Err(never(
            &account.id,
            "the provider gives no role any more: the account is suspended",
            "Your organization says that you may do nothing here any more. Your account is \
             suspended.",
        ));
    }
    let unit = account.unit.clone();
    people::set_roles(&visit.app, &by, &account.id, roles, unit).await.map_err(failed)
}

/// Who changes accounts when a provider says so.
fn whoever(visit: &Visit, name: &str) -> Caller {
    let mut caller = visit.app.local(&format!("sso-{name}"), &[], Surface::Page);
    caller.subject_mut().tenant = visit.tenant.clone();
    caller.request = visit.request.clone();
    caller
}

/// When the person showed who it is: as the provider says, and if it does not, not lately.
fn shown_at(visit: &Visit, proven: &Proven) -> Timestamp {
    let said = proven.claim("auth_time").and_then(serde_json::Value::as_i64);
    let before = visit.request.at.checked_sub(FRESH).unwrap_or(Timestamp::UNIX_EPOCH);
    said.and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(before)
}

fn factor(name: &str, second: bool) -> String {
    format!("sso {name}{}", if second { " mfa" } else { "" })
}

async fn log_in(
    visit: &Visit,
    name: &str,
    provider: &Provider,
    proven: &Proven,
    account: &Account,
    under_way: UnderWay,
) -> Result<axum::http::Response<axum::body::Body>, Ends> {
    let user = &account.id;
    let old = visit.person()?;
    let to = under_way.next.unwrap_or_else(|| visit.at("/"));
    let second = proven.showed_second(&provider.acr, &provider.amr);
    let how = factor(name, second);
    let at = Some(shown_at(visit, proven));
    if under_way.again {
        // Who it was before, and who logged in with two factors then.
        let same = old.as_ref().is_some_and(|p| p.subject.id == *user && p.subject.mfa == 2);
        if !same {
            return Err(never(user, "another person proved who it is", AGAIN));
        }
        let issued = login::whole_since(visit, user, &how, old.as_ref(), at).await?;
        return Ok(visit.logged_in(&issued, &to));
    }
    if second {
        let issued = login::whole_since(visit, user, &how, old.as_ref(), at).await?;
        return Ok(visit.logged_in(&issued, &to));
    }
    let factors = visit.factors()?.of(user).map_err(|e| visit.identity(e))?;
    if !factors.has_second() {
        return Err(never(
            user,
            "the provider shows one factor, and no second one is set here",
            "Your organization's log-in shows one factor, and a second one has to be set here \
             first. Ask whoever manages accounts for an invitation.",
        ));
    }
    let issued = first_half(visit, user, &how, None, old.as_ref())?;
    Ok(visit.logged_in(&issued, &visit.at_then("/login/second", &to)))
}

/// A log-in that still lacks a second factor.
fn first_half(
    visit: &Visit,
    user: &SubjectId,
    how: &str,
    invitation: Option<String>,
    old: Option<&Person>,
) -> Result<phial_store::sessions::Issued, Turn> {
    let browser = visit.browser().to_owned();
    let shown = Shown { browser, how: how.to_owned(), mfa: 1, invitation, proven: None };
    login::begin_login(visit, user, &shown, old)
}

/// An invitation that is taken up at a provider in the place of a password: the person there
/// is the account from now on.
async fn invited(
    visit: &Visit,
    name: &str,
    provider: &Provider,
    proven: &Proven,
    invitation: &str,
) -> Result<axum::http::Response<axum::body::Body>, Ends> {
    const OVER: &str = "The link was used up or is too old. Ask for a new one.";
    let now = visit.request.at;
    let found = visit.invitations()?.by_name(invitation, now).map_err(|e| visit.identity(e))?;
    let found = found.ok_or_else(|| {
        Ends::No(No {
            user: None,
            why: "the invitation is over",
            status: StatusCode::FORBIDDEN,
            text: OVER,
        })
    })?;
    let account = visit.accounts()?.find(&found.user).map_err(|e| visit.identity(e))?;
    let Some(account) = account.filter(|a| a.active) else {
        return Err(never(&found.user, "the account is suspended", OVER));
    };
    let user = &account.id;
    let links = Links::new(visit.control()?);
    if found.anew {
        invite::clear(visit, user).await?;
        let ended = visit.app.tokens.sessions().revoke_user(&visit.tenant, user, now);
        ended.map_err(|e| visit.store(e))?;
    }
    let subject = visit.as_account(user)?;
    let whose = (DetailKey::Account, user.to_string());
    let detail = [whose.clone(), (DetailKey::Factor, factor(name, false))];
    visit.note(Some(&subject), EventKind::FactorAdded, &detail).await?;
    let link = Link {
        issuer: provider.issuer.clone(),
        subject: proven.subject.clone(),
        user: user.clone(),
        by: "invitation".to_owned(),
        since: String::new(),
    };
    match links.tie(&visit.accounts()?, &link, now) {
        Ok(()) => {}
        Err(phial_identity::Error::Linked(why)) => {
            return Err(never(
                user,
                why,
                "Whoever you are at your organization has another account here, or this account \
                 is another person's. Ask whoever manages accounts.",
            ));
        }
        Err(e) => return Err(visit.identity(e).into()),
    }
    visit.note(Some(&subject), EventKind::UserChanged, &[whose, visit.control_head()?]).await?;
    let account = with_roles(visit, name, provider, proven, account).await?;
    let old = visit.person()?;
    let second = proven.showed_second(&provider.acr, &provider.amr);
    let how = factor(name, second);
    if !second {
        let name = Some(invitation.to_owned());
        let issued = first_half(visit, &account.id, &how, name, old.as_ref())?;
        return Ok(visit.logged_in(&issued, &visit.at("/account/enrol")));
    }
    // Of two who hold the link one goes on.
    let first = visit.invitations()?.use_up(invitation, now).map_err(|e| visit.identity(e))?;
    if !first {
        return Err(never(&account.id, "the invitation is over", OVER));
    }
    let at = Some(shown_at(visit, proven));
    let issued = login::whole_since(visit, &account.id, &how, old.as_ref(), at).await?;
    Ok(visit.logged_in(&issued, &visit.at("/")))
}
