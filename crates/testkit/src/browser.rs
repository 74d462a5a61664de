//! A browser without a screen: it keeps cookies, finds the token of a form in its page,
//! and sends the form as a browser does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a page that is not as it should be fails the test that asked for it"
)]

use std::collections::BTreeMap;

use phial_base::{Clock as _, SystemClock};
use reqwest::blocking::{Client, RequestBuilder};

use crate::world::{Answer, Server, World, send};

/// A password that is fit.
pub const PASSWORD: &str = "a river of small stones";

/// A browser, and the person's authenticator app.
pub struct Browser {
    client: Client,
    /// The origin of the pages.
    pub origin: String,
    /// Cookies, by name.
    pub cookies: BTreeMap<String, String>,
    /// The secret of the authenticator app, and the last step that it was asked for.
    pub app: Option<(Vec<u8>, i64)>,
}

impl Browser {
    /// A browser that talks to this origin.
    #[must_use]
    pub fn to(client: Client, origin: &str) -> Browser {
        Browser { client, origin: origin.to_owned(), cookies: BTreeMap::new(), app: None }
    }

    /// A browser without cookies.
    ///
    /// # Panics
    /// As all of these, when what it is shown is not a page of ours.
    #[must_use]
    pub fn new(server: &Server) -> Browser {
        Browser::to(server.client().clone(), server.base().trim_end_matches("/fhir"))
    }

    /// The same browser at another server over the same home.
    #[must_use]
    pub fn at(mut self, server: &Server) -> Browser {
        let fresh = Browser::new(server);
        self.client = fresh.client;
        self.origin = fresh.origin;
        self
    }

    fn go(&mut self, request: RequestBuilder) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = send(request.header("cookie", cookies.join("; ")));
        for set in answer.headers.get_all("set-cookie") {
            let (pair, rest) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            for needed in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                assert!(rest.contains(needed), "{name} lacks {needed}");
            }
            assert!(name.starts_with("__Host-") && !rest.contains("Domain"), "{name}");
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// A page.
    pub fn get(&mut self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.origin));
        self.go(request)
    }

    /// A form as some page would send it: no token, no origin.
    pub fn bare(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send_form(path, fields, None)
    }

    /// A form with just these fields, and perhaps an origin.
    pub fn send_form(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        origin: Option<&str>,
    ) -> Answer {
        let mut body = String::new();
        for (name, value) in fields {
            let escape = |text: &str| -> String {
                text.bytes()
                    .map(|b| match b {
                        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
                        b => format!("%{b:02X}"),
                    })
                    .collect()
            };
            body.push_str(&format!("{}={}&", escape(name), escape(value)));
        }
        let mut request = self
            .client
            .post(format!("{}{path}", self.origin))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.go(request)
    }

    /// The form of a page, filled in and sent.
    pub fn post(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let shown = self.get(page).text();
        self.answer(&shown, path, fields)
    }

    /// The form of a page that was shown.
    pub fn answer(&mut self, shown: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = hidden(shown, "csrf").unwrap_or_default();
        let mut all = vec![("csrf", token.as_str())];
        all.extend_from_slice(fields);
        let origin = self.origin.clone();
        self.send_form(path, &all, Some(&origin))
    }

    /// A code of the app that was not used yet: of the next step, if need be.
    pub fn code(&mut self) -> String {
        let (secret, last) = self.app.as_mut().unwrap();
        let step = (SystemClock.now().as_second() / 30).max(*last + 1);
        *last = step;
        code(secret, step)
    }

    /// Follows an invitation to its end: password, app, recovery codes. Gives the page
    /// with the codes.
    pub fn accept(&mut self, link: &str) -> Answer {
        let path = link.find("/invite/").map(|at| &link[at..]).unwrap();
        let path = match link.find("/t/") {
            Some(at) => &link[at..],
            None => path,
        };
        let done = self.post(path, path, &[("password", PASSWORD), ("repeat", PASSWORD)]);
        let to = done.expect(303).header("location").to_owned();
        let shown = self.get(&to).expect(200).text();
        self.add_app(&shown, &format!("{to}/totp")).expect(200)
    }

    /// Adds the app that the page offers.
    pub fn add_app(&mut self, shown: &str, path: &str) -> Answer {
        let key = shown.split("id=\"totp-key\">").nth(1).unwrap().split('<').next().unwrap();
        let (secret, step) = (base32(key), SystemClock.now().as_second() / 30);
        let code = code(&secret, step);
        self.app = Some((secret, step));
        let sealed = hidden(shown, "secret").unwrap();
        self.answer(shown, path, &[("secret", &sealed), ("name", "app"), ("code", &code)])
    }

    /// Name and password, then a code.
    pub fn log_in(&mut self, user: &str) -> Answer {
        let first = self.post("/login", "/login", &[("user", user), ("password", PASSWORD)]);
        let _ = first.expect(303);
        let code = self.code();
        self.post("/login/second", "/login/second", &[("kind", "totp"), ("code", &code)])
    }
}

/// The value of a hidden field.
#[must_use]
pub fn hidden(page: &str, name: &str) -> Option<String> {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1)?;
    Some(rest.split('"').next()?.to_owned())
}

/// The link of a new invitation.
#[must_use]
pub fn invite(world: &World, user: &str, more: &[&str]) -> String {
    let mut args = vec!["user", "invite", user];
    args.extend_from_slice(more);
    world.ok(&args)["link"].as_str().unwrap().to_owned()
}

/// What base32 (RFC 4648) stands for; spaces are left out.
#[must_use]
pub fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for c in text.bytes().filter(|b| *b != b' ') {
        let five = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        bits = (bits << 5 | u32::from(five)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    out
}

/// RFC 6238, written once more.
#[must_use]
pub fn code(secret: &[u8], step: i64) -> String {
    let mac = phial_crypto::hmac_sha1(secret, &step.to_be_bytes());
    let at = usize::from(mac[19] & 15);
    let four = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", four % 1_000_000)
}
