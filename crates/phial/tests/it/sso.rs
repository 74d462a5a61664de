//! Log-in at an identity provider (OpenID Connect Core 1.0): who is let in, with which
//! factors and roles, and every way in which it is refused and written down.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use phial_crypto::{JwsAlg, sha256};
use phial_testkit::browser::{Browser, invite};
use phial_testkit::world::{Answer, Server, World, send};
use serde_json::{Value, json};

use crate::apps::encoded;
use crate::clinic::clinic;
use crate::services::{Key, root};
use crate::site::{Site, pairs};

const SUBJECT: &str = "248289761001";
const PASSED: &str = "__Host-phial";

fn now() -> i64 {
    phial_base::Clock::now(&phial_base::SystemClock).as_second()
}

/// What the provider gives for a code.
#[derive(Clone, Default)]
struct Gives {
    challenge: String,
    answer: Value,
    status: u16,
}

/// An identity provider in the test.
struct Idp {
    site: Site,
    key: Key,
    gives: Arc<Mutex<HashMap<String, Gives>>>,
    keys: Arc<Mutex<Value>>,
}

fn discovery(base: &str) -> Value {
    json!({"issuer": base, "authorization_endpoint": format!("{base}/auth?ui=1"),
        "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/jwks"),
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES384"]})
}

impl Idp {
    fn start(world: &World, alg: JwsAlg) -> Self {
        let key = Key::new(alg, "k1");
        let gives: Arc<Mutex<HashMap<String, Gives>>> = Arc::default();
        let keys = Arc::new(Mutex::new(json!({"keys": [key.jwk()]})));
        let there = (Arc::clone(&gives), Arc::clone(&keys));
        let site = Site::start(world.dir(), move |request| match request.path.as_str() {
            "/.well-known/openid-configuration" => {
                (200, discovery(&format!("https://{}", request.header("host").unwrap())))
            }
            "/jwks" => (200, there.1.lock().unwrap().clone()),
            "/token" => {
                let code = request.field("code").unwrap_or_default();
                let verifier = request.field("code_verifier").unwrap_or_default();
                let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
                match there.0.lock().unwrap().remove(&code) {
                    Some(g) if g.status != 0 => (g.status, g.answer),
                    Some(g) if g.challenge == challenge => (200, g.answer),
                    _ => (400, json!({"error": "invalid_grant", "error_description": code})),
                }
            }
            _ => (404, json!({})),
        });
        Idp { site, key, gives, keys }
    }

    fn header(&self) -> Value {
        let alg = self.key.jwk()["crv"].as_str().map_or("RS256", |c| match c {
            "P-256" => "ES256",
            _ => "ES384",
        });
        json!({"alg": alg, "kid": "k1", "typ": "JWT"})
    }
}

/// The provider, the server that knows it, and a browser.
struct Stage {
    world: World,
    server: Server,
    idp: Idp,
}

/// What a browser was sent to the provider with.
struct Asked(HashMap<String, String>);

impl Asked {
    fn of(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

impl Stage {
    fn new(more: &str) -> Self {
        Self::with(more, JwsAlg::ES256)
    }

    fn with(more: &str, alg: JwsAlg) -> Self {
        let world = clinic();
        let idp = Idp::start(&world, alg);
        let config = world.home().join("phial.toml");
        let mut text = std::fs::read_to_string(&config).unwrap();
        text.push_str(&format!(
            "\n[sso.clinic]\nlabel = \"Clinic account\"\nissuer = \"{}\"\nclient_id = \"phial\"\n\
             ca = \"{}\"\n{more}\n",
            idp.site.url(""),
            idp.site.ca().display()
        ));
        std::fs::write(&config, text).unwrap();
        let server = world.serve();
        Stage { world, server, idp }
    }

    fn link(&self, user: &str) {
        let args = ["user", "link", user, "--sso", "clinic", "--subject", SUBJECT];
        let _ = self.world.ok(&args);
    }

    /// Sets out from a page, by a link that stands on it.
    fn set_out(&self, browser: &mut Browser, path: &str) -> Asked {
        let to = browser.get(path).expect(303).header("location").to_owned();
        let (address, query) = to.split_once('?').unwrap();
        assert_eq!(address, self.idp.site.url("/auth"), "{to}");
        let asked: HashMap<String, String> = pairs(query).into_iter().collect();
        assert_eq!(asked["ui"], "1", "the endpoint's own query stays");
        Asked(asked)
    }

    /// Claims that are as they should be.
    fn claims(&self, asked: &Asked) -> Value {
        json!({"iss": self.idp.site.url(""), "aud": "phial", "sub": SUBJECT, "exp": now() + 300,
            "iat": now(), "nonce": asked.of("nonce")})
    }

    /// The provider will give a token with these claims for a code.
    fn give(&self, code: &str, asked: &Asked, claims: &Value) {
        let token = self.idp.key.sign(&self.idp.header(), claims);
        self.give_token(code, asked, &token);
    }

    fn give_token(&self, code: &str, asked: &Asked, token: &str) {
        let answer = json!({"access_token": "at-1", "token_type": "Bearer", "id_token": token});
        let gives = Gives { challenge: asked.of("code_challenge"), answer, status: 0 };
        self.idp.gives.lock().unwrap().insert(code.to_owned(), gives);
    }

    /// Comes back with this, in the place of what is usual.
    fn back(&self, browser: &mut Browser, asked: &Asked, more: &[(&str, &str)]) -> Answer {
        let iss = self.idp.site.url("");
        let state = asked.of("state");
        let mut all: Vec<(&str, &str)> = vec![("code", "c1"), ("state", &state), ("iss", &iss)];
        for (name, value) in more {
            all.retain(|(n, _)| n != name);
            if !value.is_empty() {
                all.push((name, value));
            }
        }
        browser.get(&format!("/login/sso/clinic/back?{}", encoded(&all)))
    }

    /// The whole way, with these claims beside the usual ones.
    fn log_in(&self, browser: &mut Browser, more: &Value) -> Answer {
        let asked = self.set_out(browser, "/login/sso/clinic?next=%2Faccount");
        let mut claims = self.claims(&asked);
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.give("c1", &asked, &claims);
        self.back(browser, &asked, &[])
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let all = self.world.ok(&["audit", "tail", "-n", "400"]);
        all.as_array().unwrap().iter().filter(|e| e["kind"] == kind).cloned().collect()
    }

    fn roles(&self, user: &str) -> Value {
        let all = self.world.ok(&["user", "list"]);
        let found = all.as_array().unwrap().iter().find(|a| a["id"] == user).unwrap().clone();
        found["roles"].clone()
    }
}

#[test]
fn a_second_factor_at_the_provider_counts_where_the_operator_says_so() {
    let s = Stage::new("acr = [\"urn:mfa\"]\namr = [\"hwk\"]\nscopes = [\"profile\"]\n");
    s.link("ana");
    let mut ana = Browser::new(&s.server);
    let page = ana.get("/login").expect(200);
    assert!(page.text().contains("href=\"/login/sso/clinic\">Clinic account"), "{}", page.text());
    let policy = page.header("content-security-policy").to_owned();
    assert!(policy.contains("form-action 'self' ;"), "{policy}");
    let asked = s.set_out(&mut ana, "/login/sso/clinic?next=%2Faccount");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "phial"),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
        ("acr_values", "urn:mfa"),
        ("redirect_uri", &format!("{}/login/sso/clinic/back", root(&s.server))),
    ] {
        assert_eq!(asked.of(name), value, "{name}");
    }
    assert_eq!((asked.of("nonce").len(), asked.of("code_challenge").len()), (43, 43));
    let mut claims = s.claims(&asked);
    claims["amr"] = json!(["pwd", "hwk"]);
    s.give("c1", &asked, &claims);
    let answer = s.back(&mut ana, &asked, &[]).expect(303);
    assert_eq!(answer.header("location"), "/account");
    assert!(ana.cookies.contains_key(PASSED));
    let _ = ana.get("/account").expect(200);
    // The server proved itself by a key that it publishes, for that endpoint, once.
    let call = &s.idp.site.calls("/token")[0];
    let assertion = call.field("client_assertion").unwrap();
    let parts: Vec<&str> = assertion.split('.').collect();
    let part = |n: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[n]).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("phial"), &json!("phial")));
    assert_eq!(claims["aud"], s.idp.site.url("/token"));
    assert!(claims["exp"].as_i64().unwrap() <= now() + 60 && claims["jti"].is_string());
    let keys = send(s.server.client().get(format!("{}/oauth/jwks", root(&s.server)))).json();
    let key = keys["keys"].as_array().unwrap().iter().find(|k| k["kid"] == header["kid"]).unwrap();
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let key = phial_crypto::JwsKey::Rsa { n: bytes("n"), e: bytes("e") };
    let message = format!("{}.{}", parts[0], parts[1]);
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    key.verify(JwsAlg::RS256, message.as_bytes(), &signature).unwrap();
    let login = &s.events("login")[0];
    assert_eq!(login["detail"]["factor"], "sso clinic mfa");
    assert_eq!((&login["who"]["user"], &login["who"]["mfa"]), (&json!("ana"), &json!(2)));
    // How long ago the person showed it there nobody said: a risky act asks once more.
    let to = ana.get("/account/enrol").expect(303).header("location").to_owned();
    assert!(to.starts_with("/login/again"), "{to}");
    let page = ana.get(&to).expect(200).text();
    assert!(page.contains("/login/sso/clinic?again=1&amp;next=%2Faccount%2Fenrol"), "{page}");
    // Nothing of it lies anywhere.
    let secrets = [asked.of("state"), asked.of("nonce"), assertion, ana.cookies[PASSED].clone()];
    let scanner = phial_testkit::canary::Scanner::new(&secrets).unwrap();
    let mut report = scanner.scan(&[s.world.home()]).unwrap();
    let printed = s.server.printed();
    scanner.bytes(std::path::Path::new("printed"), &printed, &mut report);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn one_factor_at_the_provider_is_topped_up_by_one_of_ours() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    // An account without any has to be invited first.
    let mut ana = Browser::new(&s.server);
    let refused = s.log_in(&mut ana, &json!({"amr": ["pwd"]})).expect(403);
    assert!(refused.text().contains("invitation"), "{}", refused.text());
    let _ = ana.accept(&invite(&s.world, "ana", &[]));
    let _ = ana.post("/", "/logout", &[]).expect(303);
    for more in [json!({}), json!({"amr": ["pwd"], "acr": "urn:mfa"})] {
        let answer = s.log_in(&mut ana, &more).expect(303);
        assert_eq!(answer.header("location"), "/login/second?next=%2Faccount");
        // Half a log-in opens nothing.
        assert!(ana.get("/account").expect(303).header("location").starts_with("/login/second"));
    }
    let _ = ana.post("/login/second", "/login/second", &[("code", "000000")]).expect(403);
    let code = ana.code();
    let fields = [("code", code.as_str()), ("next", "/account")];
    let done = ana.post("/login/second", "/login/second", &fields).expect(303);
    assert_eq!(done.header("location"), "/account");
    let _ = ana.get("/account").expect(200);
    assert_eq!(s.events("login").pop().unwrap()["detail"]["factor"], "sso clinic totp");
}

#[test]
fn whatever_is_wrong_with_an_answer_is_refused_and_written_down_by_its_place() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    let mut browser = Browser::new(&s.server);
    let other = Key::new(JwsAlg::ES256, "k1");
    type Change = fn(&mut Value);
    let claims: Vec<(Change, &str)> = vec![
        (|c| c["iss"] = json!("https://other.example"), "iss is not"),
        (|c| c["aud"] = json!("other"), "aud is not"),
        (|c| c["aud"] = json!(["phial", "other"]), "azp"),
        (|c| c["azp"] = json!("other"), "azp"),
        (|c| c["exp"] = json!(now() - 120), "ended (exp)"),
        (|c| c["iat"] = json!(now() + 600), "to come (iat)"),
        (|c| c["nonce"] = json!("AAAA"), "nonce"),
        (|c| drop(c.as_object_mut().unwrap().remove("nonce")), "nonce"),
        (|c| c["at_hash"] = json!("AAAA"), "at_hash"),
        (|c| c["sub"] = json!("another"), "tied to no account"),
        (|c| drop(c.as_object_mut().unwrap().remove("sub")), "sub is missing"),
    ];
    let mut places: Vec<&str> = Vec::new();
    for (change, place) in claims {
        let asked = s.set_out(&mut browser, "/login/sso/clinic");
        let mut all = s.claims(&asked);
        all["amr"] = json!(["hwk"]);
        // An address that is ana's makes nobody ana.
        all["email"] = json!("ana@clinic.example");
        all["preferred_username"] = json!("ana");
        change(&mut all);
        s.give("c1", &asked, &all);
        let answer = s.back(&mut browser, &asked, &[]).expect(403);
        assert!(answer.text().contains("You are not logged in"), "{place}");
        places.push(place);
    }
    // Signatures.
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    for (sign, place) in [("another", "does not verify"), ("none", "alg none"), ("kid", "kid")] {
        let asked = s.set_out(&mut browser, "/login/sso/clinic");
        let all = s.claims(&asked);
        let token = match sign {
            "another" => other.sign(&s.idp.header(), &all),
            "kid" => s.idp.key.sign(&json!({"alg": "ES256", "kid": "unknown"}), &all),
            _ => format!("{}.{}.", part(&json!({"alg": "none"})), part(&all)),
        };
        s.give_token("c1", &asked, &token);
        let _ = s.back(&mut browser, &asked, &[]).expect(403);
        places.push(place);
    }
    // What comes with the answer.
    let back: Vec<(&[(&str, &str)], &str)> = vec![
        (&[("state", "")], "state is missing"),
        (&[("state", "AAAA")], "state is not of this browser"),
        (&[("iss", "https://other.example")], "iss is another"),
        (&[("iss", "")], "iss is missing"),
        (&[("code", "")], "code is missing"),
        (&[("code", "c-unknown")], "invalid_grant"),
        (&[("code", ""), ("error", "access_denied")], "access_denied"),
        (&[("code", ""), ("error", "a word of nobody's")], "the provider refuses"),
    ];
    for (more, place) in back {
        let asked = s.set_out(&mut browser, "/login/sso/clinic");
        s.give("c1", &asked, &s.claims(&asked));
        let _ = s.back(&mut browser, &asked, more).expect(403);
        places.push(place);
    }
    // The verifier goes with the request that it was made for: a code of another is none.
    let (one, two) = (
        s.set_out(&mut browser, "/login/sso/clinic"),
        s.set_out(&mut browser, "/login/sso/clinic"),
    );
    s.give("c1", &one, &s.claims(&two));
    let _ = s.back(&mut browser, &two, &[]).expect(403);
    places.push("invalid_grant");
    // Once, and at this browser.
    let asked = s.set_out(&mut browser, "/login/sso/clinic");
    let mut all = s.claims(&asked);
    all["amr"] = json!(["hwk"]);
    for (n, code) in ["c1", "c2", "c3"].iter().enumerate() {
        s.give(code, &asked, &all);
        let mut thief = Browser::new(&s.server);
        let _ = thief.get("/login");
        let whose = if n == 0 { &mut thief } else { &mut browser };
        let answer = s.back(whose, &asked, &[("code", code)]);
        assert_eq!(answer.status, if n == 1 { 303 } else { 403 }, "{n}: {}", answer.text());
    }
    places.extend(["state is not of this browser", "state was used before"]);
    let failed = s.events("login-failed");
    assert_eq!(failed.len(), places.len());
    for (event, place) in failed.iter().zip(&places) {
        let factor = event["detail"]["factor"].as_str().unwrap();
        assert!(factor.starts_with("sso clinic: ") && factor.contains(place), "{place}: {factor}");
        assert_eq!(event["outcome"], "denied");
    }
    let log = s.world.ok(&["audit", "tail", "-n", "400"]).to_string();
    for value in ["other.example", "ana@clinic", "of nobody's", "c-unknown", SUBJECT] {
        assert!(!log.contains(value), "the log has a value: {value}");
    }
    let asked_for = s.idp.site.calls("/.well-known/openid-configuration").len();
    assert_eq!(asked_for, 1, "what a provider says of itself is kept");
}

#[test]
fn a_flood_from_a_network_keeps_out_nobody_whose_browser_is_known() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    let mut ana = Browser::new(&s.server);
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
    let mut flood = Browser::new(&s.server);
    let _ = flood.get("/login");
    let statuses: Vec<u16> =
        (0..60).map(|_| flood.get("/login/sso/clinic/back?state=AAAA&code=x").status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 403).count(), 50, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
    // Passwords have budgets of their own.
    let wrong = [("user", "bill"), ("password", "a wrong password")];
    let _ = flood.post("/login", "/login", &wrong).expect(403);
    assert_eq!(s.events("throttled").len(), 1);
}

#[test]
fn a_suspended_account_is_out_whatever_the_provider_says() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    let mut ana = Browser::new(&s.server);
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
    let _ = ana.get("/account").expect(200);
    let _ = s.world.ok(&["user", "suspend", "ana"]);
    assert!(ana.get("/account").expect(303).header("location").starts_with("/login?"));
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(403);
    let failed = s.events("login-failed").pop().unwrap();
    assert_eq!(failed["detail"]["account"], "ana");
    let _ = s.world.ok(&["user", "resume", "ana"]);
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
    // The tie is undone: its log-ins end, and there are no new ones.
    let _ = s.world.ok(&["user", "link", "ana", "--sso", "clinic", "--undo"]);
    assert!(ana.get("/account").expect(303).header("location").starts_with("/login?"));
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(403);
    // One person there is one account here, until that one is ended.
    s.link("bill");
    let args = ["user", "link", "ana", "--sso", "clinic", "--subject", SUBJECT];
    assert_eq!(s.world.run(&args).code, Some(1));
    let _ = s.world.ok(&["user", "terminate", "bill"]);
    s.link("ana");
    let other = ["user", "link", "ana", "--sso", "clinic", "--subject", "other"];
    assert_eq!(s.world.run(&other).code, Some(1), "an account is one person there");
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
}

#[test]
fn roles_are_given_and_taken_as_the_map_says_and_each_change_is_written_down() {
    let map = "amr = [\"hwk\"]\nroles_claim = \"groups\"\n[sso.clinic.roles]\n\
               ward = \"nurse\"\ndoctors = \"physician\"\n";
    let s = Stage::new(map);
    s.link("ana");
    let mut ana = Browser::new(&s.server);
    let with = |groups: Value| json!({"amr": ["hwk"], "groups": groups});
    let _ = s.log_in(&mut ana, &with(json!(["ward", "operator", "unknown"]))).expect(303);
    assert_eq!(
        s.roles("ana"),
        json!(["nurse"]),
        "given what is in the map, taken what is not said"
    );
    let change = s.events("user-changed");
    let change = change.iter().find(|e| e["detail"]["roles_after"] == "nurse").unwrap();
    assert_eq!(change["detail"]["roles_before"], "physician");
    assert_eq!(change["who"]["user"], "sso-clinic");
    // Roles beside the map are not the provider's.
    let _ = s.world.ok(&["user", "add", "olga", "--role", "operator", "--role", "physician"]);
    let args = ["user", "link", "olga", "--sso", "clinic", "--subject", "olga"];
    let _ = s.world.ok(&args);
    let mut olga = Browser::new(&s.server);
    let mut said = with(json!([]));
    said["sub"] = json!("olga");
    let _ = s.log_in(&mut olga, &said).expect(303);
    assert_eq!(s.roles("olga"), json!(["operator"]));
    let _ = olga.get("/admin/people").expect(200);
    // A claim that is not there is no reason to take anything.
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(403);
    assert_eq!(s.roles("ana"), json!(["nurse"]));
    let mut there = Browser::new(&s.server);
    let _ = s.log_in(&mut there, &with(json!("ward"))).expect(303);
    let _ = there.get("/account").expect(200);
    // Nothing is left: the account acts no more, and what lives of it ends.
    let _ = s.log_in(&mut ana, &with(json!(["unknown"]))).expect(403);
    assert!(there.get("/account").expect(303).header("location").starts_with("/login?"));
    let listed = s.world.ok(&["user", "list"]);
    let found = listed.as_array().unwrap().iter().find(|a| a["id"] == "ana").unwrap();
    assert_eq!(found["active"], false);
}

#[test]
fn a_directory_says_who_somebody_is_where_the_operator_lets_it() {
    let s = Stage::new("amr = [\"hwk\"]\nscim_external_id = true\n");
    let config = s.world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = text.replace("[scim]\n", "[scim]\nroles = [\"nurse\"]\n");
    std::fs::write(&config, &with).unwrap();
    let key = Key::new(JwsAlg::ES384, "k");
    crate::services::register(&s.world, "directory", "operator", "scim", &[&key]);
    let Stage { world, server, idp } = s;
    let _ = server.stop().expect(0);
    let s = Stage { server: world.serve(), world, idp };
    let token = crate::services::access(&s.server, &key, "directory", "scim");
    let add = |name: &str, external: &str| {
        let body = json!({"userName": name, "roles": ["nurse"], "externalId": external});
        let request = s.server.client().post(format!("{}/scim/v2/Users", root(&s.server)));
        let kind = "application/scim+json";
        send(request.bearer_auth(&token).header("content-type", kind).body(body.to_string()))
    };
    assert_eq!(add("nora", SUBJECT).expect(201).json()["externalId"], SUBJECT);
    assert_eq!(add("omar", SUBJECT).expect(409).json()["scimType"], "uniqueness");
    let mut nora = Browser::new(&s.server);
    let _ = s.log_in(&mut nora, &json!({"amr": ["hwk"]})).expect(303);
    let last = s.events("login").pop().unwrap();
    assert_eq!(last["who"]["user"], "nora");
    let _ = s.log_in(&mut nora, &json!({"amr": ["hwk"], "sub": "another"})).expect(403);
    // A tie that somebody made comes first.
    s.link("ana");
    let _ = s.log_in(&mut nora, &json!({"amr": ["hwk"]})).expect(303);
    assert_eq!(s.events("login").pop().unwrap()["who"]["user"], "ana");
    // Where it is not said, a directory's word makes nobody anybody.
    let _ = s.world.ok(&["user", "link", "ana", "--sso", "clinic", "--undo"]);
    std::fs::write(&config, with.replace("scim_external_id = true", "")).unwrap();
    let Stage { world, server, idp } = s;
    let _ = server.stop().expect(0);
    let s = Stage { server: world.serve(), world, idp };
    let mut nora = Browser::new(&s.server);
    let _ = s.log_in(&mut nora, &json!({"amr": ["hwk"]})).expect(403);
}

#[test]
fn an_invitation_is_taken_up_at_the_provider_in_the_place_of_a_password() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    let _ = s.world.ok(&["user", "add", "nora", "--role", "nurse"]);
    let path = |link: &str| link[link.find("/invite/").unwrap()..].to_owned();
    let link = path(&invite(&s.world, "nora", &[]));
    let mut nora = Browser::new(&s.server);
    let page = nora.get(&link).expect(200).text();
    let to = page.split("href=\"/login/sso/clinic").nth(1).unwrap().split('"').next().unwrap();
    let to = format!("/login/sso/clinic{to}");
    let asked = s.set_out(&mut nora, &to);
    let mut claims = s.claims(&asked);
    claims["amr"] = json!(["hwk"]);
    s.give("c1", &asked, &claims);
    let _ = s.back(&mut nora, &asked, &[]).expect(303);
    let _ = nora.get("/account").expect(200);
    let _ = Browser::new(&s.server).get(&link).expect(404);
    // With one factor there, the second one is set here, and the link is used up then.
    let _ = s.world.ok(&["user", "add", "omar", "--role", "nurse"]);
    let link = path(&invite(&s.world, "omar", &[]));
    let mut omar = Browser::new(&s.server);
    let page = omar.get(&link).expect(200).text();
    let to = page.split("href=\"/login/sso/clinic").nth(1).unwrap().split('"').next().unwrap();
    let to = format!("/login/sso/clinic{to}");
    let asked = s.set_out(&mut omar, &to);
    let mut claims = s.claims(&asked);
    // Nora's person there is not Omar's.
    s.give("c1", &asked, &claims);
    let _ = s.back(&mut omar, &asked, &[]).expect(403);
    let asked = s.set_out(&mut omar, &to);
    claims = s.claims(&asked);
    claims["sub"] = json!("omar there");
    s.give("c1", &asked, &claims);
    let next = s.back(&mut omar, &asked, &[]).expect(303).header("location").to_owned();
    assert_eq!(next, "/account/enrol");
    let shown = omar.get(&next).expect(200).text();
    let codes = omar.add_app(&shown, "/account/enrol/totp").expect(200).text();
    assert_eq!(codes.matches("<li><code>").count(), 10);
    let _ = omar.get("/account").expect(200);
    let _ = Browser::new(&s.server).get(&link).expect(404);
    let last = s.events("login").pop().unwrap();
    assert_eq!(last["detail"]["factor"], "sso clinic totp");
    let added = s.events("factor-added");
    assert!(added.iter().any(|e| e["detail"]["factor"] == "sso clinic"), "{added:?}");
    let factors = s.world.ok(&["user", "factors", "omar"]);
    assert_eq!(factors["providers"], json!([s.idp.site.url("")]));
    let _ = s.server.stop().expect(0);
    assert_eq!(s.world.run(&["verify"]).code, Some(0));
}

#[test]
fn a_risky_act_takes_the_same_person_at_the_provider_just_now() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    let _ = s.world.ok(&["user", "link", "bill", "--sso", "clinic", "--subject", "bill"]);
    let mut ana = Browser::new(&s.server);
    // Who logged in there this minute need not do it again.
    let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"], "auth_time": now()})).expect(303);
    let _ = ana.get("/account/enrol").expect(200);
    let old = json!({"amr": ["hwk"], "auth_time": now() - 3600});
    let _ = s.log_in(&mut ana, &old).expect(303);
    let _ = ana.get("/account/enrol").expect(303);
    let again = "/login/sso/clinic?again=1&next=%2Faccount%2Fenrol";
    let attempt = |ana: &mut Browser, more: Value| {
        let asked = s.set_out(ana, again);
        assert_eq!((asked.of("prompt"), asked.of("max_age")), ("login".into(), "0".into()));
        let mut claims = s.claims(&asked);
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        s.give("c1", &asked, &claims);
        s.back(ana, &asked, &[])
    };
    let _ = attempt(&mut ana, json!({})).expect(403);
    let _ = attempt(&mut ana, json!({"auth_time": now() - 600})).expect(403);
    let _ = attempt(&mut ana, json!({"auth_time": now(), "sub": "bill"})).expect(403);
    let _ = ana.get("/account/enrol").expect(303);
    let done = attempt(&mut ana, json!({"auth_time": now()})).expect(303);
    assert_eq!(done.header("location"), "/account/enrol");
    let _ = ana.get("/account/enrol").expect(200);
    assert!(!s.events("reauthenticated").is_empty());
    // Who is not logged in proves nothing once more.
    let mut nobody = Browser::new(&s.server);
    assert!(nobody.get(again).expect(303).header("location").starts_with("/login?"));
}

#[test]
fn keys_that_are_changed_are_found_and_the_provider_is_not_asked_for_each_unknown_one() {
    let s = Stage::new("amr = [\"hwk\"]\n");
    s.link("ana");
    let mut ana = Browser::new(&s.server);
    let hwk = json!({"amr": ["hwk"]});
    let _ = s.log_in(&mut ana, &hwk).expect(303);
    assert_eq!(s.idp.site.calls("/jwks").len(), 1);
    for n in 0..3 {
        let asked = s.set_out(&mut ana, "/login/sso/clinic");
        let token = s.idp.key.sign(&json!({"alg": "ES256", "kid": "gone"}), &s.claims(&asked));
        s.give_token("c1", &asked, &token);
        let _ = s.back(&mut ana, &asked, &[]).expect(403);
        assert_eq!(s.idp.site.calls("/jwks").len(), 1, "{n}: asked anew within its time");
    }
    // Another server over the same home has kept none, and finds the key that is new.
    let new = Key::new(JwsAlg::PS256, "k2");
    *s.idp.keys.lock().unwrap() = json!({"keys": [s.idp.key.jwk(), new.jwk()]});
    let Stage { world, server, idp } = s;
    let _ = server.stop().expect(0);
    let s = Stage { server: world.serve(), world, idp };
    let mut ana = Browser::new(&s.server);
    let asked = s.set_out(&mut ana, "/login/sso/clinic");
    let mut claims = s.claims(&asked);
    claims["amr"] = json!(["hwk"]);
    s.give_token("c1", &asked, &new.sign(&json!({"alg": "PS256", "kid": "k2"}), &claims));
    let _ = s.back(&mut ana, &asked, &[]).expect(303);
}

#[test]
fn a_provider_that_is_not_the_one_configured_is_not_believed() {
    let world = clinic();
    let elsewhere = Site::start(world.dir(), |_| (200, json!({})));
    let site = Site::start(world.dir(), |_| (200, json!({})));
    let cases = [
        ("issuer", site.url("/issuer/")),
        ("authorization_endpoint", elsewhere.url("/auth")),
        ("token_endpoint", elsewhere.url("/token")),
        ("jwks_uri", elsewhere.url("/jwks")),
    ];
    let said: HashMap<String, (u16, Value)> = cases
        .iter()
        .map(|(name, value)| {
            let mut other = discovery(&site.url(&format!("/{name}")));
            other[*name] = json!(value);
            (format!("/{name}/.well-known/openid-configuration"), (200, other))
        })
        .collect();
    site.answers(move |request| match said.get(&request.path) {
        Some(answer) => answer.clone(),
        // It leads nowhere by a redirect either.
        None if request.path.starts_with("/redirected/") => (307, json!({})),
        None => (200, Value::Null),
    });
    let config = world.home().join("phial.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    let names = cases.iter().map(|(name, _)| *name).chain(["redirected", "nothing"]);
    for name in names.clone() {
        text.push_str(&format!(
            "\n[sso.{}]\nlabel = \"x\"\nissuer = \"{}\"\nclient_id = \"phial\"\nca = \"{}\"\n",
            name.replace('_', "-"),
            site.url(&format!("/{name}")),
            site.ca().display()
        ));
    }
    std::fs::write(&config, text).unwrap();
    let server = world.serve();
    let mut browser = Browser::new(&server);
    for name in names.clone() {
        // Whoever tries again makes the server ask nobody again at once.
        for _ in 0..3 {
            let _ = browser.get(&format!("/login/sso/{}", name.replace('_', "-"))).expect(503);
        }
        let asked = site.calls(&format!("/{name}/.well-known/openid-configuration")).len();
        assert_eq!(asked, 1, "{name}");
    }
    assert!(elsewhere.calls("/token").is_empty() && elsewhere.calls("/jwks").is_empty());
    let all = world.ok(&["audit", "tail", "-n", "100"]);
    let failed: Vec<&Value> =
        all.as_array().unwrap().iter().filter(|e| e["kind"] == "login-failed").collect();
    assert_eq!(failed.len(), 3 * names.count());
    for (event, (name, _)) in failed.iter().step_by(3).zip(&cases) {
        assert!(event["detail"]["factor"].as_str().unwrap().contains(name), "{event}");
    }
    assert!(!json!(failed).to_string().contains(&elsewhere.host()));
    let _ = browser.get("/login/sso/absent").expect(404);
    let _ = browser.get("/login/sso/absent/back").expect(404);
}

#[test]
fn a_provider_whom_the_ca_does_not_vouch_for_is_told_nothing() {
    let world = clinic();
    let (idp, other) =
        (Idp::start(&world, JwsAlg::ES256), Site::start(world.dir(), |_| (200, json!({}))));
    let config = world.home().join("phial.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "\n[sso.clinic]\nlabel = \"Clinic\"\nissuer = \"{}\"\nclient_id = \"phial\"\nca = \"{}\"\n",
        idp.site.url(""),
        other.ca().display()
    ));
    std::fs::write(&config, text).unwrap();
    let server = world.serve();
    let _ = Browser::new(&server).get("/login/sso/clinic").expect(503);
    assert!(idp.site.calls("/.well-known/openid-configuration").is_empty());
}

#[test]
fn a_secret_comes_from_a_file_that_is_for_its_owner_alone() {
    let world = clinic();
    let secret = world.dir().join("secret");
    std::fs::write(&secret, "s3cret & more\n").unwrap();
    let mode = |mode: u32| {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (how, basic) in [("client_secret_basic", true), ("client_secret_post", false)] {
        mode(0o600);
        let s = Stage::new(&format!(
            "amr = [\"hwk\"]\nauthentication = \"{how}\"\nclient_secret_file = \"{}\"\n",
            secret.display()
        ));
        s.link("ana");
        let mut ana = Browser::new(&s.server);
        let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(303);
        let call = s.idp.site.calls("/token").pop().unwrap();
        let expected = format!("Basic {}", STANDARD.encode("phial:s3cret+%26+more"));
        let in_form = call.field("client_secret").is_some_and(|f| f == "s3cret & more");
        let in_header = call.header("authorization").is_some_and(|h| h == expected);
        assert_eq!((in_header, in_form), (basic, !basic), "{how}: {call:?}");
        mode(0o640);
        let _ = s.log_in(&mut ana, &json!({"amr": ["hwk"]})).expect(403);
        let failed = s.events("login-failed").pop().unwrap();
        assert!(failed["detail"]["factor"].as_str().unwrap().contains("read by others"));
        let scanner = phial_testkit::canary::Scanner::new(&["s3cret & more".to_owned()]).unwrap();
        let report = scanner.scan(&[s.world.home()]).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn a_provider_is_one_tenants_own_and_a_role_that_is_none_stops_the_start() {
    let s = Stage::new("tenant = \"north\"\n");
    let mut browser = Browser::new(&s.server);
    assert!(!browser.get("/login").expect(200).text().contains("Clinic account"));
    let _ = browser.get("/login/sso/clinic").expect(404);
    let config = s.world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let _ = s.server.stop().expect(0);
    for (more, why) in [
        ("roles_claim = \"g\"\n[sso.clinic.roles]\na = \"no-such-role\"\n", "no role"),
        ("roles_claim = \"g\"\n[sso.clinic.roles]\na = \"operator\"\n", "rationale"),
        ("roles_claim = \"g\"\n", "together"),
    ] {
        std::fs::write(&config, format!("{text}{more}")).unwrap();
        let ran = s.world.try_serve().err().unwrap();
        assert_eq!(ran.code, Some(1));
        assert!(format!("{}{}", ran.out, ran.err).contains(why), "{why}: {ran:?}");
    }
}
