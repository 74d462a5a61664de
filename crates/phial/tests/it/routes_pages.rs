//! The rows of the pages in the table of routes. Everybody is logged in at a browser of
//! his own; a form is asked for as its page sends it, and once as no page of ours does.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use phial_testkit::browser::{Browser, invite};
use phial_testkit::world::{Answer, PEOPLE, Server, World};

use crate::routes::{Ask, NOBODY, Row};

type Browsers = Mutex<HashMap<(String, String), Browser>>;

fn browsers() -> &'static Browsers {
    static ALL: OnceLock<Browsers> = OnceLock::new();
    ALL.get_or_init(Browsers::default)
}

/// A log-in for each role, as the pages will be asked.
pub(crate) fn log_everybody_in(world: &World, server: &Server) {
    let people: Vec<(&str, &str)> = PEOPLE
        .iter()
        .map(|(name, role, _)| (*name, *role))
        .chain([("olaf", "operator"), ("sys", "system-client")])
        .collect();
    for (name, role) in people {
        let mut browser = Browser::new(server);
        let _ = browser.accept(&invite(world, name, &[]));
        let key = (server.base().to_owned(), role.to_owned());
        browsers().lock().unwrap().insert(key, browser);
    }
}

/// Asks as the role's browser; as a new one when nobody is logged in.
fn at(server: &Server, role: &str, ask: impl FnOnce(&mut Browser) -> Answer) -> Answer {
    if role == NOBODY {
        return ask(&mut Browser::new(server));
    }
    let mut all = browsers().lock().unwrap();
    ask(all.get_mut(&(server.base().to_owned(), role.to_owned())).unwrap())
}

fn get(server: &Server, role: &str, path: &str) -> Answer {
    at(server, role, |b| b.get(path))
}

/// A form, from the log-in page or from the page that the log-in leads to.
fn post(server: &Server, role: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    at(server, role, |b| {
        let page = if b.cookies.contains_key("__Host-phial") { "/" } else { "/login" };
        b.post(page, path, fields)
    })
}

fn bare(server: &Server, role: &str, path: &str) -> Answer {
    at(server, role, |b| b.bare(path, &[]))
}

macro_rules! page {
    ($path:literal) => {
        Row { route: concat!("GET ", $path), asks: &[("as it is", |s, r, _| get(s, r, $path))] }
    };
    ($path:literal, $asked:literal) => {
        Row { route: concat!("GET ", $path), asks: &[("as it is", |s, r, _| get(s, r, $asked))] }
    };
}

macro_rules! form {
    ($path:literal, $asked:literal, $what:literal, $fields:expr) => {
        Row {
            route: concat!("POST ", $path),
            asks: &[
                ($what, |s, r, _| post(s, r, $asked, $fields)),
                ("from no page of ours", |s, r, _| bare(s, r, $asked)),
            ],
        }
    };
}

const LOG_OUT: &[(&str, Ask)] = &[
    ("from no page of ours", |s, r, _| bare(s, r, "/logout")),
    ("as it is", |s, r, _| {
        let answer = post(s, r, "/logout", &[]);
        if r != NOBODY {
            // Back in for what follows: not what was asked.
            let name = PEOPLE.iter().find(|(_, role, _)| *role == r).map(|(name, ..)| *name);
            let name = name.unwrap_or(if r == "operator" { "olaf" } else { "sys" });
            let _ = at(s, r, |b| b.log_in(name).expect(303));
        }
        answer
    }),
];

pub(crate) const ROWS: &[Row] = &[
    page!("/"),
    Row {
        route: "GET /assets/[name]",
        asks: &[
            ("the style sheet", |s, r, _| get(s, r, "/assets/phial.css")),
            ("what is absent", |s, r, _| get(s, r, "/assets/absent")),
        ],
    },
    page!("/login"),
    Row {
        route: "POST /login",
        asks: &[
            ("a wrong password", |s, r, n| {
                // Of nobody, and of another nobody each time: budgets are another matter.
                let user = format!("absent-{n}");
                post(s, r, "/login", &[("user", &user), ("password", "wrong")])
            }),
            ("from no page of ours", |s, r, _| bare(s, r, "/login")),
        ],
    },
    form!("/login/passkey", "/login/passkey", "no passkey", &[("credential", "AAAA")]),
    page!("/login/second"),
    form!("/login/second", "/login/second", "a code", &[("code", "000000")]),
    page!("/login/again"),
    form!("/login/again", "/login/again", "a wrong password", &[("password", "wrong")]),
    page!("/login/sso/[provider]", "/login/sso/absent"),
    page!("/login/sso/[provider]/back", "/login/sso/absent/back"),
    page!("/login/ended"),
    Row { route: "POST /logout", asks: LOG_OUT },
    page!("/invite/[token]", "/invite/absent"),
    form!("/invite/[token]", "/invite/absent", "a password", &[("password", "x")]),
    page!("/oauth/authorize"),
    form!("/oauth/consent", "/oauth/consent", "about no request", &[("ask", "x")]),
    form!("/oauth/patient", "/oauth/patient", "about no request", &[("ask", "x")]),
    form!("/oauth/encounter", "/oauth/encounter", "about no request", &[("ask", "x")]),
    page!("/account/apps"),
    form!("/account/apps/end", "/account/apps/end", "about no app", &[("app", "x")]),
    page!("/account"),
    form!("/account/password", "/account/password", "two that differ", &[("password", "x")]),
    page!("/account/enrol"),
    form!("/account/enrol/passkey", "/account/enrol/passkey", "no passkey", &[("name", "x")]),
    form!("/account/enrol/totp", "/account/enrol/totp", "no secret", &[("code", "000000")]),
    form!("/account/factor/remove", "/account/factor/remove", "no factor", &[("id", "x")]),
    form!("/account/codes", "/account/codes", "new codes", &[]),
    form!("/account/sessions/end", "/account/sessions/end", "none of theirs", &[("handle", "x")]),
    form!("/account/browsers/forget", "/account/browsers/forget", "all of them", &[]),
    page!("/admin/people"),
    form!("/admin/people", "/admin/people", "a bad name", &[("user", "No Name")]),
    page!("/admin/people/[user]", "/admin/people/ana"),
    form!("/admin/people/[user]/roles", "/admin/people/ana/roles", "no role", &[]),
    form!(
        "/admin/people/[user]/standing",
        "/admin/people/absent/standing",
        "of nobody",
        &[("standing", "suspended")]
    ),
    form!("/admin/people/[user]/invite", "/admin/people/absent/invite", "of nobody", &[]),
    form!("/admin/people/[user]/sessions", "/admin/people/absent/sessions", "of nobody", &[]),
    form!(
        "/admin/people/[user]/link",
        "/admin/people/ana/link",
        "at no provider",
        &[("subject", "x")]
    ),
    form!("/admin/people/[user]/unlink", "/admin/people/ana/unlink", "at no provider", &[]),
    page!("/admin/review"),
    form!("/admin/review/[user]", "/admin/review/ana", "other roles", &[("roles", "x")]),
    page!("/break-glass"),
    form!(
        "/break-glass",
        "/break-glass",
        "for a patient who is absent",
        &[("patient", "absent"), ("reason", "record-wrong"), ("text", "a row of the table")]
    ),
    page!("/break-glass/new"),
    form!("/break-glass/end", "/break-glass/end", "none of theirs", &[("grant", "absent")]),
    page!("/break-glass/reviews"),
    page!("/break-glass/reviews/[grant]", "/break-glass/reviews/absent"),
    form!("/break-glass/reviews/[grant]", "/break-glass/reviews/absent", "of none", &[]),
    form!("/break-glass/reviews/[grant]/end", "/break-glass/reviews/absent/end", "of none", &[]),
    form!("/break-glass/alerts/[alert]", "/break-glass/alerts/absent", "of none", &[]),
];
