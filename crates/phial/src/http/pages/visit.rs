//! One visit of a page: who comes, from which browser, with what form.
//!
//! Two cookies, both `__Host-`, Secure and HttpOnly. The browser's own one is signed,
//! lives long and names nobody: forms and log-ins are bound to it, and throttling knows by
//! it where somebody logged in before. The log-in's one is a session's token. Tenants have
//! cookies of their own. It refuses bodies over 64 KiB and hosts that are not ours.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, Response, StatusCode, request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use jiff::SignedDuration;
use phial_audit::{DetailKey, EventKind};
use phial_base::{Purpose, RequestInfo, Subject, SubjectId, TenantId};
use phial_engine::{Caller, Failure};
use phial_identity::passkey::Site;
use phial_identity::{Accounts, Factors, Invitations, Person};
use phial_policy::Action;
use phial_store::control::ControlLog;
use phial_store::sessions::Issued;

use super::layout;
use crate::app::App;
use crate::http::surface::Kind;

/// The largest form.
const MAX_FORM: usize = 64 * 1024;
/// A risky act needs a proof of who it is that is no older (SP 800-63B-4 §5.2).
pub(crate) const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// What a page asks of the person who is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Factors shown: 1 while the first ones are being set, 2 for all else.
    pub(crate) mfa: u8,
    /// Shown within [`FRESH`].
    pub(crate) fresh: bool,
    /// What one of the person's roles has to allow.
    pub(crate) action: Option<Action>,
}

impl Need {
    /// One factor was shown: for the pages that lead to a second one.
    pub(crate) const FIRST: Need = Need { mfa: 1, fresh: false, action: None };
    /// A person who is logged in.
    pub(crate) const PERSON: Need = Need { mfa: 2, fresh: false, action: None };
    /// A person who proved within five minutes to be who he is: for risky acts.
    pub(crate) const FRESH: Need = Need { mfa: 2, fresh: true, action: None };

    /// The same, of somebody who may do this.
    pub(crate) const fn may(self, action: Action) -> Need {
        Need { action: Some(action), ..self }
    }
}

/// Why a visit ends otherwise than with the page.
#[derive(Debug)]
pub(crate) enum Turn {
    /// See there: a path of this origin.
    To(String),
    /// A page that says no.
    Refused(StatusCode, &'static str, String, Option<SignedDuration>),
    /// The engine's.
    Failure(Failure),
}

impl Turn {
    pub(crate) fn refused(
        status: StatusCode,
        title: &'static str,
        text: impl Into<String>,
    ) -> Self {
        Turn::Refused(status, title, text.into(), None)
    }

    pub(super) fn into_response(self, prefix: &str, kind: Kind) -> Response<Body> {
        if kind == Kind::Api
            && let Turn::Failure(failure) = &self
        {
            return crate::http::serve::fail(failure);
        }
        match self {
            Turn::To(path) => see_other(&path),
            Turn::Refused(status, title, text, after) => {
                let mut response = layout::refused_at(prefix, status, title, &text);
                if let Some(after) = after
                    && let Ok(value) = HeaderValue::from_str(&(after.as_secs() + 1).to_string())
                {
                    response.headers_mut().insert(header::RETRY_AFTER, value);
                }
                response
            }
            Turn::Failure(failure) => {
                // Written to the log as any other failure is.
                let status = crate::http::serve::fail(&failure).status();
                let text = match &failure {
                    Failure::Internal { incident, .. } => {
                        format!("Something broke. The operator finds it under {incident}.")
                    }
                    Failure::Busy(_) => {
                        "A store, the keys or the audit log can't be reached. Nothing was done: \
                         try again in a moment."
                            .to_owned()
                    }
                    _ => "It is not here.".to_owned(),
                };
                layout::refused_at(prefix, status, "This did not work", &text)
            }
        }
    }
}

impl From<Failure> for Turn {
    fn from(f: Failure) -> Self {
        Turn::Failure(f)
    }
}

/// 303: the answer is there (RFC 9110 §15.4.4).
pub(crate) fn see_other(path: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

pub(crate) fn set_cookie(response: &mut Response<Body>, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// One visit.
pub(crate) struct Visit {
    pub(crate) app: Arc<App>,
    pub(crate) tenant: TenantId,
    /// What the paths of this tenant's pages begin with: nothing, or `/t/NAME`.
    pub(crate) prefix: String,
    /// The site as browsers know it.
    pub(crate) site: Site,
    pub(crate) request: RequestInfo,
    pub(crate) headers: HeaderMap,
    /// What the path's placeholders stand for.
    pub(crate) words: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    /// The fields of a form; empty when the body is none.
    pub(crate) form: Vec<(String, String)>,
    /// The body as it came.
    #[expect(dead_code, reason = "for rows whose bodies are no forms")]
    pub(crate) body: Bytes,
    method: Method,
    /// The path and its query.
    whole: String,
    browser: String,
    browser_is_new: bool,
    session: Option<String>,
}

type Stopped = Box<Response<Body>>;

impl Visit {
    pub(super) async fn take_in(
        app: Arc<App>,
        address: SocketAddr,
        tenant: TenantId,
        words: Vec<String>,
        request: RequestInfo,
        parts: request::Parts,
        body: Body,
    ) -> Result<Visit, Stopped> {
        let site = site(&app, address, &parts)?;
        let too_large = || {
            let text = "The form is larger than is taken.";
            Box::new(layout::refused(StatusCode::PAYLOAD_TOO_LARGE, "Too large", text))
        };
        let body = axum::body::to_bytes(body, MAX_FORM).await.map_err(|_| too_large())?;
        let query = parts.uri.query().unwrap_or("").as_bytes();
        let prefix = if tenant == TenantId::default_tenant() {
            String::new()
        } else {
            format!("/t/{tenant}")
        };
        let mut visit = Visit {
            query: form_urlencoded::parse(query).into_owned().collect(),
            form: crate::http::negotiate::form(&parts.headers, &body),
            whole: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            method: parts.method,
            headers: parts.headers,
            browser: String::new(),
            browser_is_new: false,
            session: None,
            app,
            tenant,
            prefix,
            site,
            request,
            words,
            body,
        };
        visit.session = visit.cookie(&visit.cookie_name(""));
        let kept = visit.cookie(&visit.cookie_name("-browser"));
        match kept.and_then(|value| visit.browser_of(&value)) {
            Some(browser) => visit.browser = browser,
            None => {
                visit.browser = hex::encode(visit.app.tokens.sessions().random::<16>());
                visit.browser_is_new = true;
            }
        }
        Ok(visit)
    }

    fn cookie_name(&self, of: &str) -> String {
        match self.prefix.strip_prefix("/t/") {
            Some(tenant) => format!("__Host-phial{of}-{tenant}"),
            None => format!("__Host-phial{of}"),
        }
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let all = self.headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        all.flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.to_owned())
    }

    /// The name of a browser whose cookie carries our signature.
    fn browser_of(&self, value: &str) -> Option<String> {
        let (name, mac) = value.split_once('.')?;
        let good = self.browser_mac(name)?;
        phial_crypto::constant_time_eq(mac.as_bytes(), good.as_bytes()).then(|| name.to_owned())
    }

    fn browser_mac(&self, name: &str) -> Option<String> {
        let sessions = self.app.tokens.sessions();
        let mac = sessions.mac(&self.tenant, &[b"browser cookie", name.as_bytes()]).ok()?;
        Some(B64.encode(mac))
    }

    /// The cookie for a browser that came without one.
    pub(super) fn new_browser_cookie(&self) -> Option<String> {
        if !self.browser_is_new {
            return None;
        }
        // 400 days: as long as browsers keep any.
        Some(format!(
            "{}={}.{}; Path=/; Max-Age=34560000; Secure; HttpOnly; SameSite=Lax",
            self.cookie_name("-browser"),
            self.browser,
            self.browser_mac(&self.browser)?
        ))
    }

    /// The browser's name.
    pub(crate) fn browser(&self) -> &str {
        &self.browser
    }

    /// Whether a form was sent by a page of ours that this browser was shown, and to this
    /// log-in: its origin, and its token.
    pub(super) fn comes_from_our_page(&self) -> bool {
        let text = |name: header::HeaderName| self.headers.get(name).and_then(|v| v.to_str().ok());
        let origin = text(header::ORIGIN) == Some(self.site.origin.as_str());
        let fetched = self.headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
        let (Some(sent), Ok(good)) = (self.field("csrf"), self.csrf()) else { return false };
        origin
            && fetched.is_none_or(|f| f == "same-origin")
            && phial_crypto::constant_time_eq(sent.as_bytes(), good.as_bytes())
    }

    /// The token of this browser's and log-in's forms.
    pub(crate) fn csrf(&self) -> Result<String, Turn> {
        let session = phial_crypto::sha256(self.session.as_deref().unwrap_or("").as_bytes());
        let parts: [&[u8]; 3] = [b"csrf", self.browser.as_bytes(), &session];
        let mac = self.app.tokens.sessions().mac(&self.tenant, &parts);
        mac.map(|mac| B64.encode(mac)).map_err(|e| self.store(e))
    }

    /// A field of the form.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A parameter of the query.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Where to go after a log-in: `next` of form or query, when it is a path of ours.
    pub(crate) fn next(&self) -> Option<String> {
        let asked = self.field("next").or_else(|| self.asked("next"))?;
        is_path(asked).then(|| asked.to_owned())
    }

    /// A path of this tenant's pages.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// `path` of this tenant, with where to go on from there.
    pub(crate) fn at_then(&self, path: &str, next: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("next", next).finish();
        format!("{}{path}?{query}", self.prefix)
    }

    /// Where this visit goes on once the person was asked for something: itself, or when
    /// it sent a form, `otherwise`.
    fn myself(&self, otherwise: &str) -> String {
        if self.method == Method::POST { self.at(otherwise) } else { self.whole.clone() }
    }

    /// Who is logged in, if anybody. It counts as a use of the session.
    pub(crate) fn person(&self) -> Result<Option<Person>, Turn> {
        let Some(cookie) = &self.session else { return Ok(None) };
        let found = self.app.tokens.logged_in(
            self.control()?,
            self.app.engine.policy(),
            &self.tenant,
            cookie,
            Some(&self.browser),
            self.request.at,
        );
        found.map_err(|e| self.identity(e))
    }

    /// The person that a page needs. Whoever is not logged in, showed too little, or that
    /// too long ago, is sent to where it can be shown, and comes back. Who may not do what
    /// the page does is told so, and that is written down.
    pub(crate) async fn need(&self, need: Need) -> Result<Person, Turn> {
        self.need_else(need, "/account").await
    }

    /// As [`Visit::need`]; whoever sent a form too late proves who it is and comes back to
    /// `otherwise`.
    pub(crate) async fn need_else(&self, need: Need, otherwise: &str) -> Result<Person, Turn> {
        let Some(person) = self.person()? else {
            return Err(Turn::To(self.at_then("/login", &self.myself("/"))));
        };
        if person.subject.mfa < need.mfa {
            let to = match person.login.invitation {
                Some(_) => self.at("/account/enrol"),
                None => self.at_then("/login/second", &self.myself("/")),
            };
            return Err(Turn::To(to));
        }
        let mut person = person;
        if let Some(action) = need.action {
            let Some(subject) = self.who_may(&person, action) else {
                let why = [(DetailKey::Reason, format!("{action} is not for this role"))];
                self.note(Some(&person.subject), EventKind::Denied, &why).await?;
                return Err(Turn::refused(
                    StatusCode::FORBIDDEN,
                    "Not for your role",
                    "None of your roles may use this page.",
                ));
            };
            person.subject = subject;
        }
        if need.fresh && !person.proven_within(FRESH, self.request.at) {
            return Err(Turn::To(self.at_then("/login/again", &self.myself(otherwise))));
        }
        Ok(person)
    }

    /// The person as whoever may do this: a log-in begins for the first purpose of the
    /// person's roles, what is managed on pages is managed for operations, and emergency
    /// access is for treatment. `None` when no role allows it for any of them.
    pub(crate) fn who_may(&self, person: &Person, action: Action) -> Option<Arc<Subject>> {
        let policy = self.app.engine.policy();
        if policy.allows(&person.subject, action) {
            return Some(Arc::clone(&person.subject));
        }
        let mut subject = Subject::clone(&person.subject);
        subject.purpose = match action {
            Action::BreakGlass => Purpose::TREAT,
            _ => Purpose::HOPERAT,
        };
        policy.allows(&subject, action).then(|| Arc::new(subject))
    }

    /// The tenant's control log.
    pub(crate) fn control(&self) -> Result<&ControlLog, Turn> {
        let tenant = self.app.engine.tenant(&self.tenant).ok_or(Failure::NotFound)?;
        Ok(tenant.vessel.control())
    }

    /// The tenant's accounts.
    pub(crate) fn accounts(&self) -> Result<Accounts<'_>, Turn> {
        Ok(Accounts::new(self.control()?, self.app.engine.policy()))
    }

    /// What they prove themselves by.
    pub(crate) fn factors(&self) -> Result<Factors<'_>, Turn> {
        Ok(Factors::new(self.control()?, self.app.tokens.sessions(), &self.tenant))
    }

    /// The tenant's invitations.
    pub(crate) fn invitations(&self) -> Result<Invitations<'_>, Turn> {
        Ok(Invitations::new(self.control()?))
    }

    /// A failing store.
    pub(crate) fn store(&self, e: phial_store::Error) -> Turn {
        Turn::Failure(Failure::from_store(e, self.request.id))
    }

    /// A failure about accounts: words for people, or a failing store.
    pub(crate) fn identity(&self, e: phial_identity::Error) -> Turn {
        match e {
            phial_identity::Error::Store(e) => self.store(e),
            phial_identity::Error::Damaged => {
                tracing::error!(incident = %self.request.id, error = %e, "an account can't be read");
                Turn::refused(StatusCode::INTERNAL_SERVER_ERROR, "This did not work", e.to_string())
            }
            e => Turn::refused(StatusCode::CONFLICT, "This can't be done", e.to_string()),
        }
    }

    /// A caller for this visit: the person, or nobody.
    pub(crate) fn caller(&self, subject: Option<&Arc<Subject>>) -> Result<Caller, Turn> {
        let subject = match subject {
            Some(subject) => Arc::clone(subject),
            None => Arc::new(crate::http::authn::nobody(&self.tenant)?),
        };
        Ok(Caller { subject, request: self.request.clone() })
    }

    /// Writes something down, durably.
    pub(crate) async fn note(
        &self,
        subject: Option<&Arc<Subject>>,
        kind: EventKind,
        detail: &[(DetailKey, String)],
    ) -> Result<(), Turn> {
        let caller = self.caller(subject)?;
        Ok(self.app.engine.record_event(&caller, kind, detail).await?)
    }

    /// The control log as it stands, for the entry about a change of it.
    pub(crate) fn control_head(&self) -> Result<(DetailKey, String), Turn> {
        let head = self.control()?.head().map_err(|e| self.store(e))?;
        Ok((DetailKey::ControlHead, head))
    }

    /// Who the account is when it is alone named: for entries before a log-in is whole.
    pub(crate) fn as_account(&self, user: &SubjectId) -> Result<Arc<Subject>, Turn> {
        let mut subject = crate::http::authn::nobody(&self.tenant)?;
        if let Some(account) = self.accounts()?.find(user).map_err(|e| self.identity(e))? {
            subject.id = account.id;
            subject.roles = account.roles;
            subject.unit = account.unit;
        }
        Ok(Arc::new(subject))
    }

    /// An answer that gives the browser a new log-in and leads on.
    pub(crate) fn logged_in(&self, issued: &Issued, to: &str) -> Response<Body> {
        let mut response = see_other(to);
        self.give_login(&mut response, issued);
        response
    }

    /// The cookie of a log-in.
    pub(crate) fn give_login(&self, response: &mut Response<Body>, issued: &Issued) {
        let cookie = format!(
            "{}={}; Path=/; Secure; HttpOnly; SameSite=Lax",
            self.cookie_name(""),
            issued.token.as_str()
        );
        set_cookie(response, &cookie);
    }

    /// The end of a log-in at this browser.
    pub(crate) fn logged_out(&self, to: &str) -> Response<Body> {
        let mut response = see_other(to);
        let name = self.cookie_name("");
        let cookie = format!("{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        set_cookie(&mut response, &cookie);
        response
    }

    /// Whether the log-in of this browser's cookie lives. It counts as no use.
    pub(crate) fn still_logged_in(&self) -> Result<bool, Turn> {
        let Some(cookie) = &self.session else { return Ok(false) };
        let found = self.app.tokens.sessions().peek(cookie, self.request.at);
        Ok(found.map_err(|e| self.store(e))?.is_some_and(|s| s.login.is_some()))
    }
}

/// Whether this leads to a page of this origin and nowhere else. A browser takes `\` for
/// `/`, and drops tabs and line ends.
pub(crate) fn is_path(text: &str) -> bool {
    text.len() <= 2048
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

/// The site that a visit is for. Without `http.public_url` it is this machine alone, so
/// that nobody makes a page of ours believe that it is somebody else's.
fn site(app: &App, address: SocketAddr, parts: &request::Parts) -> Result<Site, Stopped> {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .or_else(|| parts.uri.authority().map(axum::http::uri::Authority::as_str))
        .unwrap_or("");
    let (name, _) =
        host.rsplit_once(':').filter(|(_, p)| p.parse::<u16>().is_ok()).unwrap_or((host, ""));
    let ours = match &app.config().http.public_url {
        Some(url) => url.strip_prefix("https://") == Some(host),
        None => ["localhost", "127.0.0.1", "[::1]"].contains(&name) || host == address.to_string(),
    };
    if ours {
        return Ok(Site { id: name.to_owned(), origin: format!("https://{host}") });
    }
    Err(Box::new(layout::refused(
        StatusCode::MISDIRECTED_REQUEST,
        "Not this server's name",
        "Pages are served under the name in http.public_url alone, or to this machine when none \
         is set there.",
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_ours_is_gone_to() {
        for good in ["/", "/account", "/oauth/authorize?client_id=a&redirect_uri=https%3A%2F%2Fx"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a b",
            "/\u{e9}",
        ] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }
}
