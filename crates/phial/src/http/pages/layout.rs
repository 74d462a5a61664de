//! What all pages look like: head, navigation, forms, messages. Made with maud, which
//! escapes every value.
//!
//! A page has a title, a link that skips the navigation, one `h1`, labels at every field,
//! and messages in regions that screen readers speak. Nothing comes from elsewhere and
//! nothing is inline: style and script are files of ours.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use maud::{DOCTYPE, Markup, html};
use phial_engine::access::accesses::Waiting;
use phial_identity::Person;
use phial_policy::Action;

use super::visit::{Turn, Visit};

/// Marks an answer as a page, so that it leaves with a page's headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct IsPage {
    /// An origin that forms of this page may lead to in the end, by way of redirects:
    /// browsers hold `form-action` against all of them.
    pub(crate) forms_to: Option<String>,
}

impl IsPage {
    /// The content security policy of this page.
    pub(crate) fn policy(&self) -> HeaderValue {
        let more = self.forms_to.as_deref().unwrap_or("");
        let text = POLICY.replace("form-action 'self'", &format!("form-action 'self' {more}"));
        HeaderValue::from_str(text.trim()).unwrap_or(HeaderValue::from_static(POLICY))
    }
}

/// Lets forms of this page lead to another origin in the end: an app's that asked for a
/// log-in, and is registered with it.
pub(crate) fn forms_to(response: &mut Response<Body>, origin: &str) {
    response.extensions_mut().insert(IsPage { forms_to: Some(origin.to_owned()) });
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// The headers of pages beside [`IsPage::policy`], in the place of those that all other
/// answers have.
pub(crate) static PAGE_HEADERS: [(HeaderName, HeaderValue); 2] = [
    // With `no-referrer` browsers send forms with `Origin: null`.
    (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

pub(super) fn mark(response: &mut Response<Body>) {
    if response.extensions().get::<IsPage>().is_none() {
        response.extensions_mut().insert(IsPage::default());
    }
}

/// A message at the head of a page.
pub(crate) enum Message {
    /// Spoken at once: something is wrong.
    Wrong(String),
    /// Spoken when there is time: something was done.
    Done(String),
}

/// What a page is made of.
pub(crate) struct Page<'a> {
    /// For the window and the heading.
    pub(crate) title: &'a str,
    /// Who is logged in.
    pub(crate) person: Option<&'a Person>,
    pub(crate) message: Option<Message>,
    /// Below the heading.
    pub(crate) content: Markup,
    /// Whether passkeys are used on it.
    pub(crate) script: bool,
}

impl<'a> Page<'a> {
    pub(crate) fn new(title: &'a str, content: Markup) -> Self {
        Page { title, person: None, message: None, content, script: false }
    }

    pub(crate) fn of(self, person: &'a Person) -> Self {
        Page { person: Some(person), ..self }
    }

    pub(crate) fn with(self, message: Option<Message>) -> Self {
        Page { message, ..self }
    }

    pub(crate) fn scripted(self) -> Self {
        Page { script: true, ..self }
    }

    /// The page as an answer.
    pub(crate) fn show(self, visit: &Visit) -> Result<Response<Body>, Turn> {
        self.show_as(StatusCode::OK, visit)
    }

    /// The page as an answer with this status.
    pub(crate) fn show_as(self, status: StatusCode, visit: &Visit) -> Result<Response<Body>, Turn> {
        let csrf = visit.csrf()?;
        let ways = match self.person {
            Some(person) => Ways::of(visit, person)?,
            None => Ways::default(),
        };
        Ok(respond(status, self.html(&visit.prefix, &csrf, &ways)))
    }

    fn html(self, prefix: &str, csrf: &str, ways: &Ways) -> Markup {
        // A little after the session's own end, so that this look finds it ended.
        let idle = self.person.map(|p| p.session.idle.as_secs() + 5);
        let whole = self.person.filter(|p| p.subject.mfa != 1);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = idle {
                        // With scripts the page warns before it goes.
                        noscript {
                            meta http-equiv="refresh"
                                content={ (seconds) ";url=" (prefix) "/login/ended" };
                        }
                    }
                    title { (self.title) " – Phial" }
                    link rel="stylesheet" href="/assets/phial.css";
                    link rel="icon" href="/assets/phial.svg" type="image/svg+xml";
                    @if self.script || idle.is_some() {
                        script src="/assets/phial.js" defer {}
                    }
                }
                body data-idle=[idle] data-ended={ (prefix) "/login/ended" }
                    data-stay={ (prefix) "/" } {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href={ (prefix) "/" } { "Phial" }
                        @if let Some(person) = whole {
                            nav aria-label="Main" {
                                @for (path, name) in [("/account", "Your account"), ("/account/apps", "Apps")] {
                                    a href={ (prefix) (path) } { (name) }
                                }
                                @if ways.breaks_glass {
                                    a href={ (prefix) "/break-glass" } { "Emergency access" }
                                }
                                @if let Some(waiting) = &ways.waiting {
                                    a href={ (prefix) "/break-glass/reviews" } {
                                        "Emergency reviews"
                                        @let n = waiting.open + waiting.alerts;
                                        @if n > 0 {
                                            " " span.badge aria-hidden="true" { (n) }
                                            span.away { ", " (n) " waiting" }
                                        }
                                    }
                                }
                                @if ways.manages {
                                    a href={ (prefix) "/admin/people" } { "People" }
                                    a href={ (prefix) "/admin/review" } { "Access review" }
                                }
                            }
                            div.who {
                                span { (person.subject.id) }
                                (form_of(csrf, &format!("{prefix}/logout"), html! {
                                    button.quiet type="submit" { "Log out" }
                                }))
                            }
                        }
                    }
                    main #main tabindex="-1" {
                        h1 { (self.title) }
                        @if let Some(text) = ways.notice() {
                            p.notice role="status" {
                                (text) " "
                                a href={ (prefix) "/break-glass/reviews" } { "See the reviews" }
                            }
                        }
                        @match &self.message {
                            Some(Message::Wrong(text)) => p.message.wrong role="alert" { (text) },
                            Some(Message::Done(text)) => p.message.done role="status" { (text) },
                            None => {}
                        }
                        (self.content)
                    }
                    @if idle.is_some() {
                        div #idle .idle role="alert" hidden {
                            p { "You will be logged out soon, because nothing was done for a \
                                 while." }
                            button.primary type="button" { "Stay logged in" }
                        }
                    }
                    footer {
                        @if let Some(person) = whole {
                            p {
                                "You are logged out after "
                                @match person.session.idle.as_secs() / 60 {
                                    1 => "a minute",
                                    minutes => { (minutes) " minutes" }
                                }
                                " without use."
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Which ways lead on from a page, for the person that it is shown to.
#[derive(Default)]
struct Ways {
    manages: bool,
    breaks_glass: bool,
    /// What waits, for whoever reviews emergency access.
    waiting: Option<Waiting>,
}

impl Ways {
    fn of(visit: &Visit, person: &Person) -> Result<Self, Turn> {
        let waiting = match visit.who_may(person, Action::ReviewAccess) {
            Some(subject) => Some(visit.app.engine.waiting(&visit.caller(Some(&subject))?)?),
            None => None,
        };
        Ok(Ways {
            manages: visit.who_may(person, Action::ManageUsers).is_some(),
            breaks_glass: visit.who_may(person, Action::BreakGlass).is_some(),
            waiting,
        })
    }

    /// What a reviewer is told on every page until it is looked at.
    fn notice(&self) -> Option<String> {
        let Waiting { alerts, overdue, .. } = self.waiting?;
        let many = |n: usize, one: &str, more: &str| match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {more}")),
        };
        let all = [
            many(alerts, "alert has not been seen", "alerts have not been seen"),
            many(
                overdue,
                "review of an emergency access is overdue",
                "reviews of emergency access are overdue",
            ),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| format!("{}.", all.join(", and ")))
    }
}

/// HTML as an answer.
pub(crate) fn respond(status: StatusCode, html: Markup) -> Response<Body> {
    let mut response = Response::new(Body::from(html.into_string()));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// A page that says no, where no visit could be taken in.
pub(super) fn refused(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    let mut response = refused_at("", status, title, text);
    mark(&mut response);
    response
}

pub(super) fn refused_at(
    prefix: &str,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response<Body> {
    let content = html! {
        p role="alert" { (text) }
        p { a href={ (prefix) "/" } { "To the start" } }
    };
    respond(status, Page::new(title, content).html(prefix, "", &Ways::default()))
}

/// A form that is sent by POST to a path of the tenant, with the token that makes it good.
pub(crate) fn form(visit: &Visit, path: &str, content: Markup) -> Result<Markup, Turn> {
    Ok(form_of(&visit.csrf()?, &visit.at(path), content))
}

fn form_of(csrf: &str, path: &str, content: Markup) -> Markup {
    html! {
        form method="post" action=(path) {
            input type="hidden" name="csrf" value=(csrf);
            (content)
        }
    }
}

/// A text field with its label, and perhaps a hint.
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    /// Its id on the page: the name, unless another field has that.
    pub(crate) id: &'a str,
    pub(crate) label: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) value: &'a str,
    pub(crate) autocomplete: &'a str,
    pub(crate) hint: Option<&'a str>,
    pub(crate) required: bool,
    pub(crate) focus: bool,
}

impl<'a> Field<'a> {
    pub(crate) fn new(name: &'a str, label: &'a str) -> Self {
        Field {
            name,
            id: name,
            label,
            kind: "text",
            value: "",
            autocomplete: "off",
            hint: None,
            required: true,
            focus: false,
        }
    }

    /// A field for a password: paste it, or let a password manager fill it in.
    pub(crate) fn password(name: &'a str, label: &'a str, autocomplete: &'a str) -> Self {
        Field { kind: "password", autocomplete, ..Field::new(name, label) }
    }

    pub(crate) fn html(&self) -> Markup {
        let hint = format!("{}-hint", self.id);
        html! {
            div.field {
                label for=(self.id) { (self.label) }
                @if let Some(text) = self.hint { p.hint id=(hint) { (text) } }
                input id=(self.id) name=(self.name) type=(self.kind) value=(self.value)
                    autocomplete=(self.autocomplete) autocapitalize="none" spellcheck="false"
                    required[self.required] autofocus[self.focus]
                    aria-describedby=[self.hint.map(|_| hint.as_str())];
            }
        }
    }
}

/// A time for people, UTC to the minute.
pub(crate) fn when(at: jiff::Timestamp) -> Markup {
    let text = at.to_string();
    let (day, rest) = text.split_once('T').unwrap_or((text.as_str(), ""));
    let minute = rest.get(..5).unwrap_or("");
    html! { time datetime=(text) { (day) " " (minute) " UTC" } }
}
