//! Apps (SMART App Launch 2.2, OAuth 2.1): a code with PKCE, its tokens, what a person
//! lets an app do, and every way in which that is refused and written down.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phial_testkit::browser::{Browser, PASSWORD, hidden, invite};
use phial_testkit::fixture::{BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;
use crate::services::{post, root};
use crate::site::pairs;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "https://app.example/cb";
const SCOPES: &str = "launch launch/patient launch/encounter openid fhirUser offline_access online_access \
                      patient/*.cruds user/*.cruds";

/// An app, and ana logged in at a browser.
struct Stage {
    world: World,
    server: Server,
    browser: RefCell<Browser>,
}

impl Stage {
    fn new(kind: &str) -> Self {
        let world = clinic();
        let mut args = vec!["client", "add", "app", "--kind", kind, "--name", "Growth chart"];
        args.extend(["--redirect-uri", CALLBACK, "--scope", SCOPES]);
        args.extend(["--launch-uri", "https://app.example/launch"]);
        if kind == "confidential" {
            args.push("--secret");
        }
        let _ = world.ok(&args);
        let link = invite(&world, "ana", &[]);
        let server = world.serve();
        let mut browser = Browser::new(&server);
        let _ = browser.accept(&link);
        Stage { world, server, browser: RefCell::new(browser) }
    }

    /// The parameters of a request that is as it should be.
    fn asked(&self, scope: &str) -> Vec<(&'static str, String)> {
        vec![
            ("response_type", "code".into()),
            ("client_id", "app".into()),
            ("redirect_uri", CALLBACK.into()),
            ("scope", scope.into()),
            ("state", "s-1".into()),
            ("aud", self.server.base().into()),
            ("code_challenge", CHALLENGE.into()),
            ("code_challenge_method", "S256".into()),
            ("nonce", "n-1".into()),
        ]
    }

    fn authorize(&self, pairs: &[(&str, String)]) -> Answer {
        self.browser.borrow_mut().get(&format!("/oauth/authorize?{}", encoded(pairs)))
    }

    /// The patient is chosen and everything is allowed, or what is `marked`.
    fn allow(&self, shown: Answer, marked: Option<&[&str]>) -> Answer {
        let mut browser = self.browser.borrow_mut();
        let mut text = shown.expect(200).text();
        if text.contains("Choose a patient") {
            let ask = hidden(&text, "ask").unwrap();
            let chosen = [("ask", ask.as_str()), ("patient", BY_TEAM.id), ("do", "choose")];
            let next = browser.answer(&text, "/oauth/patient", &chosen);
            if next.status == 303 {
                return next;
            }
            text = next.expect(200).text();
        }
        let ask = hidden(&text, "ask").unwrap();
        let all: Vec<String> = match marked {
            Some(marked) => marked.iter().map(|m| (*m).to_owned()).collect(),
            None => text
                .split("name=\"scope\" value=\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"))
                .collect(),
        };
        let mut fields = vec![("ask", ask.as_str()), ("word", "allow")];
        fields.extend(all.iter().map(|m| ("scope", m.as_str())));
        browser.answer(&text, "/oauth/consent", &fields)
    }

    fn code(&self, scope: &str) -> String {
        let shown = self.authorize(&self.asked(scope));
        let answer = if shown.status == 303 { shown } else { self.allow(shown, None) };
        let answered = returned(&answer);
        assert_eq!(answered["state"], "s-1");
        assert_eq!(answered["iss"], json!(root(&self.server)));
        answered["code"].as_str().unwrap().to_owned()
    }

    fn redeem(&self, code: &str, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("client_id", "app"),
        ];
        for (name, value) in more {
            form.retain(|(n, _)| n != name);
            if !value.is_empty() {
                form.push((name, value));
            }
        }
        post(&self.server, "/oauth/token", &form)
    }

    fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut form =
            vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "app")];
        form.extend_from_slice(more);
        post(&self.server, "/oauth/token", &form)
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, Method::GET, path, None)
    }

    fn ask(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("{}/{path}", self.server.base());
        let request = self.server.client().request(method, url).bearer_auth(token);
        send(match body {
            Some(body) => fhir(request, body),
            None => request,
        })
    }

    fn reasons(&self) -> Vec<String> {
        let log = self.world.ok(&["audit", "tail", "-n", "300"]);
        log.as_array()
            .unwrap()
            .iter()
            .filter(|e| e["kind"] == "client-refused")
            .map(|e| e["detail"]["reason"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) fn encoded<T: AsRef<str>>(pairs: &[(&str, T)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect()
    };
    pairs.iter().map(|(n, v)| format!("{n}={}", escape(v.as_ref()))).collect::<Vec<_>>().join("&")
}

/// What an answer says to the app.
fn returned(answer: &Answer) -> Value {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let to = answer.header("location").to_owned();
    let (address, query) = to.split_once('?').unwrap_or((&to, ""));
    assert_eq!(address, CALLBACK, "{to}");
    Value::Object(pairs(query).into_iter().map(|(n, v)| (n, Value::from(v))).collect())
}

#[test]
fn an_app_gets_a_code_tokens_a_context_and_an_id_token() {
    let s = Stage::new("public");
    let shown = s.authorize(&s.asked("launch/patient openid fhirUser offline_access patient/*.rs"));
    let answered = returned(&s.allow(shown, None));
    let code = answered["code"].as_str().unwrap();
    let said = s.redeem(code, &[]).expect(200).json();
    assert_eq!((&said["token_type"], &said["patient"]), (&json!("Bearer"), &json!(BY_TEAM.id)));
    assert_eq!(said["need_patient_banner"], true);
    let token = said["access_token"].as_str().unwrap();
    let _ = s.get(token, &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let _ = s.get(token, &format!("Patient/{}", UNTIED.id)).expect(404);
    // The id_token is signed by a published key, for this app and this log-in.
    let parts: Vec<&str> = said["id_token"].as_str().unwrap().split('.').collect();
    let part = |n: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[n]).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(root(&s.server)), &json!("app")));
    assert_eq!((&claims["nonce"], &claims["sub"]), (&json!("n-1"), &json!("ana")));
    assert_eq!(claims["acr"], "urn:phial:acr:2");
    let keys = send(s.server.client().get(format!("{}/oauth/jwks", root(&s.server)))).json();
    let keys = keys["keys"].as_array().unwrap();
    let key = keys.iter().find(|k| k["kid"] == header["kid"]).unwrap();
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let key = phial_crypto::JwsKey::Rsa { n: bytes("n"), e: bytes("e") };
    let message = format!("{}.{}", parts[0], parts[1]);
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    assert_eq!(header["alg"], "RS256");
    key.verify(phial_crypto::JwsAlg::RS256, message.as_bytes(), &signature).unwrap();
    // The refresh token is good once, and gives the next.
    let first = said["refresh_token"].as_str().unwrap();
    let next = s.refresh(first, &[]).expect(200).json();
    let token = next["access_token"].as_str().unwrap();
    let _ = s.get(token, &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let less =
        s.refresh(next["refresh_token"].as_str().unwrap(), &[("scope", "patient/Patient.r")]);
    assert_eq!(less.expect(200).json()["scope"], "patient/Patient.r");
    let log = s.world.ok(&["audit", "tail", "-n", "100"]);
    let read = log.as_array().unwrap().iter().rev().find(|e| e["kind"] == "read").unwrap();
    assert_eq!((&read["who"]["user"], &read["who"]["client"]), (&json!("ana"), &json!("app")));
    assert_eq!(read["who"]["mfa"], 2);
    let secrets = [code, first, token].map(str::to_owned);
    let scanner = phial_testkit::canary::Scanner::new(&secrets).unwrap();
    let report = scanner.scan(&[s.world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_request_that_is_not_as_it_should_be_is_refused_and_written_down() {
    let s = Stage::new("public");
    let with = |name: &str, value: &str| {
        let mut all = s.asked("patient/*.rs launch/patient");
        all.retain(|(n, _)| *n != name);
        if !value.is_empty() {
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            all.push((name, value.to_owned()));
        }
        all
    };
    // Nobody is sent to an address that is not registered.
    for (name, value) in [
        ("client_id", "nobody-here"),
        ("client_id", ""),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", "https://app.example/cb/"),
        ("redirect_uri", "https://app.example/cb?x=1"),
        ("redirect_uri", ""),
    ] {
        let answer = s.authorize(&with(name, value));
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{name}={value}");
    }
    let cases = [
        ("state", "", "invalid_request"),
        ("aud", "", "invalid_request"),
        ("aud", "https://other.example/fhir", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("scope", "system/*.rs", "invalid_scope"),
        ("scope", "nonsense", "invalid_scope"),
        ("request", "x.y.z", "invalid_request"),
    ];
    for (name, value, error) in cases {
        let answered = returned(&s.authorize(&with(name, value)));
        assert_eq!(answered["error"], error, "{name}={value}");
        assert!(answered.get("code").is_none());
    }
    let mut twice = s.asked("patient/*.rs");
    twice.push(("aud", s.server.base().to_owned()));
    assert_eq!(returned(&s.authorize(&twice))["error"], "invalid_request");
    let mut silent = s.asked("patient/*.rs launch/patient");
    silent.push(("prompt", "none".into()));
    assert_eq!(returned(&s.authorize(&silent))["error"], "interaction_required");
    let reasons = s.reasons();
    assert_eq!(reasons.len(), 6 + cases.len() + 2, "{reasons:#?}");
    for why in ["redirect URI", "state is missing", "aud is not", "PKCE"] {
        assert!(reasons.iter().any(|r| r.contains(why)), "{why}: {reasons:#?}");
    }
    // Who is not logged in is asked to, and comes back.
    let mut other = Browser::new(&s.server);
    let path = format!("/oauth/authorize?{}", encoded(&s.asked("patient/*.rs")));
    let answer = other.get(&path).expect(303);
    assert!(answer.header("location").starts_with("/login?next=%2Foauth%2Fauthorize"));
}

#[test]
fn a_code_is_good_once_for_its_app_its_address_and_its_verifier() {
    let s = Stage::new("public");
    let mut args = vec!["client", "add", "other", "--kind", "public", "--name", "Other"];
    args.extend(["--redirect-uri", CALLBACK, "--scope", SCOPES]);
    let _ = s.world.ok(&args);
    let code = s.code("launch/patient patient/*.rs offline_access");
    for (more, error) in [
        (&[("code_verifier", CHALLENGE)][..], "invalid_grant"),
        (&[("code_verifier", "")], "invalid_request"),
        (&[("redirect_uri", "https://app.example/other")], "invalid_grant"),
        (&[("redirect_uri", "")], "invalid_request"),
        (&[("client_id", "other")], "invalid_grant"),
        (&[("code", "phial_ac_0000000000000000000000000000000000000000000")], "invalid_grant"),
        (&[("code", "nonsense")], "invalid_grant"),
    ] {
        let answer = s.redeem(&code, more);
        assert_eq!(answer.expect(400).json()["error"], error, "{more:?}");
    }
    let said = s.redeem(&code, &[]).expect(200).json();
    let token = said["access_token"].as_str().unwrap();
    let path = format!("Patient/{}", BY_TEAM.id);
    let _ = s.get(token, &path).expect(200);
    // Whoever comes a second time, one of the two has what is not his: both have nothing.
    assert_eq!(s.redeem(&code, &[]).expect(400).json()["error"], "invalid_grant");
    let _ = s.get(token, &path).expect(401);
    let refresh = said["refresh_token"].as_str().unwrap();
    assert_eq!(s.refresh(refresh, &[]).expect(400).json()["error"], "invalid_grant");
    // A public app need not name itself to refresh; whoever comes second is still known.
    let unnamed = |token: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        post(&s.server, "/oauth/token", &form)
    };
    let said = s.redeem(&s.code("launch/patient patient/*.rs offline_access"), &[]).json();
    let first = said["refresh_token"].as_str().unwrap().to_owned();
    let next = unnamed(&first).expect(200).json();
    let _ = s.get(next["access_token"].as_str().unwrap(), &path).expect(200);
    assert_eq!(unnamed(&first).expect(400).json()["error"], "invalid_grant");
    let _ = s.get(next["access_token"].as_str().unwrap(), &path).expect(401);
    // The same of a refresh token.
    let said = s.redeem(&s.code("launch/patient patient/*.rs offline_access"), &[]).json();
    let first = said["refresh_token"].as_str().unwrap().to_owned();
    let wider = s.refresh(&first, &[("scope", "user/*.rs")]).expect(400).json();
    assert_eq!(wider["error"], "invalid_scope");
    let other = post(
        &s.server,
        "/oauth/token",
        &[("grant_type", "refresh_token"), ("refresh_token", &first), ("client_id", "other")],
    );
    assert_eq!(other.expect(400).json()["error"], "invalid_grant");
    let next = s.refresh(&first, &[]).expect(200).json();
    let token = next["access_token"].as_str().unwrap();
    let _ = s.get(token, &path).expect(200);
    assert_eq!(s.refresh(&first, &[]).expect(400).json()["error"], "invalid_grant");
    let _ = s.get(token, &path).expect(401);
    let _ = s.refresh(next["refresh_token"].as_str().unwrap(), &[]).expect(400);
    let reasons = s.reasons();
    for why in ["(PKCE)", "redirect URI", "another app", "code was used", "token was used"] {
        assert!(reasons.iter().any(|r| r.contains(why)), "{why}: {reasons:#?}");
    }
}

#[test]
fn what_a_person_leaves_out_the_app_goes_without_and_a_word_taken_back_ends_it_at_once() {
    let s = Stage::new("public");
    let asked =
        s.asked("launch/patient openid offline_access patient/Observation.rs patient/Condition.rs");
    let page = s.authorize(&asked);
    let answer = s.allow(page, Some(&["offline_access", "patient/Condition.rs"]));
    let code = returned(&answer)["code"].as_str().unwrap().to_owned();
    let said = s.redeem(&code, &[]).expect(200).json();
    assert_eq!(said["scope"], "launch/patient offline_access patient/Condition.rs");
    assert!(said.get("id_token").is_none());
    let token = said["access_token"].as_str().unwrap();
    let _ = s.get(token, &format!("Condition/{}", id("cond", BY_TEAM, 0))).expect(200);
    let _ = s.get(token, &format!("Observation/{}", id("obs", BY_TEAM, 0))).expect(404);
    let log = s.world.ok(&["audit", "tail", "-n", "60"]);
    let given = log.as_array().unwrap().iter().rev().find(|e| e["kind"] == "grant-given").unwrap();
    let left_out = given["detail"]["value"].as_str().unwrap();
    assert_eq!(left_out, "left out: openid patient/Observation.rs");
    // What was allowed before is not asked again; more is.
    let again = s.authorize(&s.asked("launch/patient patient/Condition.rs"));
    assert!(again.expect(200).text().contains("Choose a patient"));
    let more = s.authorize(&asked).expect(200);
    let text = s.allow(more.clone(), Some(&[]));
    assert_eq!(returned(&text)["error"], "access_denied");
    // Another's browser can't answer for ana.
    let shown = s.authorize(&asked).expect(200).text();
    let ask = hidden(&shown, "ask").unwrap();
    let mut other = Browser::new(&s.server);
    let _ = other.accept(&invite(&s.world, "bill", &[]));
    let page = other.get("/account").text();
    let fields = [("ask", ask.as_str()), ("word", "allow"), ("scope", "patient/Condition.rs")];
    let _ = other.answer(&page, "/oauth/consent", &fields).expect(400);
    // A form of no page of ours is none.
    let fields = [("ask", "x"), ("word", "allow")];
    let _ = s.browser.borrow_mut().bare("/oauth/consent", &fields).expect(403);
    let page = s.browser.borrow_mut().get("/account/apps").expect(200).text();
    assert!(page.contains("Growth chart"), "{page}");
    let ended = s.browser.borrow_mut().answer(&page, "/account/apps/end", &[("app", "app")]);
    let _ = ended.expect(303);
    let _ = s.get(token, &format!("Condition/{}", id("cond", BY_TEAM, 0))).expect(401);
    let refresh = said["refresh_token"].as_str().unwrap();
    let _ = s.refresh(refresh, &[]).expect(400);
    let page = s.browser.borrow_mut().get("/account/apps").expect(200).text();
    assert!(!page.contains("Growth chart"));
}

#[test]
fn a_patients_scopes_reach_that_patient_on_every_surface() {
    let s = Stage::new("public");
    let said = s.redeem(&s.code("launch/patient patient/*.cruds"), &[]).expect(200).json();
    let token = said["access_token"].as_str().unwrap();
    let mine = format!("Patient/{}", BY_TEAM.id);
    for path in [
        "Patient?_count=100".to_owned(),
        "Observation?_count=200".to_owned(),
        "Condition?_count=100".to_owned(),
        "Observation/_history?_count=200".to_owned(),
        "Encounter?_include=Encounter:patient&_count=100".to_owned(),
        "Patient?_revinclude=Condition:patient&_count=100".to_owned(),
        format!("{mine}/$everything"),
        format!("Patient/{}/Observation?_count=200", UNTIED.id),
        format!("Patient/{}/$everything", UNTIED.id),
    ] {
        let answer = s.get(token, &path);
        let text = answer.text();
        assert!(answer.status == 200 || answer.status == 404, "{path}: {text}");
        assert!(!text.contains(UNTIED.id) || path.contains(UNTIED.id), "{path}: {text}");
        for entry in answer.json()["entry"].as_array().into_iter().flatten() {
            let about = entry["resource"].to_string();
            let ty = entry["resource"]["resourceType"].as_str().unwrap_or("");
            let shared = ["Practitioner", "Organization", "Location"].contains(&ty);
            assert!(shared || about.contains(BY_TEAM.id), "{path}: {about}");
        }
    }
    let count = |path: &str| s.get(token, path).expect(200).json()["total"].clone();
    assert_eq!(count("Patient?_summary=count"), 1);
    let theirs = phial_testkit::fixture::condition(UNTIED, 0);
    let path = format!("Condition/{}", theirs["id"].as_str().unwrap());
    let answer = s.ask(token, Method::PUT, &path, Some(&theirs));
    assert!(matches!(answer.status, 403..=405), "{}", answer.text());
    let own = phial_testkit::fixture::condition(BY_TEAM, 0);
    let path = format!("Condition/{}", own["id"].as_str().unwrap());
    let _ = s.ask(token, Method::PUT, &path, Some(&own)).expect(200);
    // An app is none of its user's tools beyond records.
    let _ = s.ask(token, Method::POST, "../oauth/launch", Some(&json!({}))).expect(403);
}

#[test]
fn an_ehr_launches_an_app_for_its_user_its_patient_and_once() {
    let s = Stage::new("public");
    let launch = |body: &Value, role: &str| {
        let request = s.server.client().post(format!("{}/oauth/launch", root(&s.server)));
        let request = request.bearer_auth(s.world.token(role));
        send(request.header("content-type", "application/json").body(body.to_string()))
    };
    let encounter = id("enc", BY_TEAM, 0);
    let body = json!({"client": "app", "patient": BY_TEAM.id, "encounter": encounter,
        "need_patient_banner": false});
    let made = launch(&body, "physician").expect(201).json();
    let url = made["url"].as_str().unwrap();
    assert!(url.starts_with("https://app.example/launch?iss=https%3A%2F%2F"), "{url}");
    let mut asked = s.asked("launch openid patient/*.rs");
    asked.push(("launch", made["launch"].as_str().unwrap().to_owned()));
    let page = s.authorize(&asked);
    let code = returned(&s.allow(page, None))["code"].as_str().unwrap().to_owned();
    let said = s.redeem(&code, &[]).expect(200).json();
    assert_eq!((&said["patient"], &said["encounter"]), (&json!(BY_TEAM.id), &json!(encounter)));
    assert_eq!(said["need_patient_banner"], false);
    // A second time, and for another's account, it is nothing.
    assert_eq!(returned(&s.authorize(&asked))["error"], "invalid_request");
    let made = launch(&body, "privacy-officer").expect(201).json();
    *asked.last_mut().unwrap() = ("launch", made["launch"].as_str().unwrap().to_owned());
    assert_eq!(returned(&s.authorize(&asked))["error"], "invalid_request");
    for (body, role, status) in [
        (json!({"client": "app", "patient": "absent"}), "physician", 404),
        (json!({"client": "app", "patient": BY_TEAM.id}), "operator-of-nothing", 0),
        (json!({"client": "app"}), "physician", 400),
        (json!({"client": "none", "patient": BY_TEAM.id}), "physician", 401),
    ] {
        if status > 0 {
            assert_eq!(launch(&body, role).status, status, "{body}");
        }
    }
}

#[test]
fn access_ends_with_the_log_in_that_it_hangs_on() {
    let s = Stage::new("confidential");
    let secret = s.world.ok(&["client", "rotate", "secret", "app"])["secret"].clone();
    let secret = secret.as_str().unwrap();
    let code = s.code("launch/patient online_access patient/*.rs");
    // A confidential app proves itself.
    let _ = s.redeem(&code, &[]).expect(401);
    let _ = s.redeem(&code, &[("client_secret", "wrong")]).expect(401);
    let said = s.redeem(&code, &[("client_secret", secret)]).expect(200).json();
    let refresh = said["refresh_token"].as_str().unwrap();
    let unnamed = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let _ = post(&s.server, "/oauth/token", &unnamed).expect(401);
    let next = s.refresh(refresh, &[("client_secret", secret)]).expect(200).json();
    let mut browser = s.browser.borrow_mut();
    let page = browser.get("/account").expect(200).text();
    let _ = browser.answer(&page, "/logout", &[]).expect(303);
    let refresh = next["refresh_token"].as_str().unwrap();
    let answer = s.refresh(refresh, &[("client_secret", secret)]).expect(400).json();
    assert_eq!(answer["error"], "invalid_grant");
    let _ = s.world.ok(&["user", "suspend", "ana"]);
    let token = next["access_token"].as_str().unwrap();
    let _ = s.get(token, &format!("Patient/{}", BY_TEAM.id)).expect(401);
}

#[test]
fn a_token_ends_at_once_with_the_log_in_and_goes_on_after_a_fresh_proof() {
    let s = Stage::new("public");
    let patient = format!("Patient/{}", BY_TEAM.id);
    let given = |scope: &str| s.redeem(&s.code(scope), &[]).expect(200).json();
    let token = |said: &Value| said["access_token"].as_str().unwrap().to_owned();
    let online = given("launch/patient online_access patient/*.rs");
    let bare = given("launch/patient patient/*.rs");
    let offline = given("launch/patient offline_access patient/*.rs");
    let opens = |said: &Value| s.get(&token(said), &patient).status;
    // A fresh proof puts another session in the place of the log-in.
    let again = [("password", PASSWORD), ("next", "/account")];
    let _ = s.browser.borrow_mut().post("/login/again", "/login/again", &again).expect(303);
    for said in [&online, &bare, &offline] {
        assert_eq!(opens(said), 200);
    }
    let refresh = online["refresh_token"].as_str().unwrap();
    let online = s.refresh(refresh, &[]).expect(200).json();
    assert_eq!(opens(&online), 200);
    let late = s.code("launch/patient online_access patient/*.rs");
    let _ = s.browser.borrow_mut().post("/account", "/logout", &[]).expect(303);
    assert_eq!((opens(&online), opens(&bare)), (401, 401));
    assert_eq!(opens(&offline), 200, "it was let go on without");
    assert_eq!(s.redeem(&late, &[]).expect(400).json()["error"], "invalid_grant");
    let refresh = online["refresh_token"].as_str().unwrap();
    assert_eq!(s.refresh(refresh, &[]).expect(400).json()["error"], "invalid_grant");
    // Another log-in of the same person is another one.
    let _ = s.browser.borrow_mut().log_in("ana").expect(303);
    assert_eq!(opens(&online), 401);
    // Ended on the account's page, from elsewhere.
    let online = given("launch/patient online_access patient/*.rs");
    assert_eq!(opens(&online), 200);
    let _ = s.world.ok(&["user", "sessions", "ana", "--end-all"]);
    assert_eq!((opens(&online), opens(&offline)), (401, 401));
}

#[test]
fn an_app_by_itself_gets_the_encounter_that_the_person_chooses_or_none() {
    let s = Stage::new("public");
    let scope = "launch/patient launch/encounter patient/*.rs";
    let to_encounters = || {
        let text = s.authorize(&s.asked(scope)).expect(200).text();
        let ask = hidden(&text, "ask").unwrap();
        let chosen = [("ask", ask.as_str()), ("patient", BY_TEAM.id), ("do", "choose")];
        let text =
            s.browser.borrow_mut().answer(&text, "/oauth/patient", &chosen).expect(200).text();
        assert!(text.contains("Choose an encounter"), "{text}");
        text
    };
    let choose = |text: &str, fields: &[(&str, &str)]| {
        let ask = hidden(text, "ask").unwrap();
        let mut all = vec![("ask", ask.as_str())];
        all.extend_from_slice(fields);
        s.browser.borrow_mut().answer(text, "/oauth/encounter", &all)
    };
    let (own, other) = (id("enc", BY_TEAM, 0), id("enc", UNTIED, 0));
    let shown = to_encounters();
    assert!(shown.contains(&own) && !shown.contains(&other));
    assert!(shown.contains("2024-01-15 08:00"), "{shown}");
    // Another patient's is none, and neither is one that is not there.
    for wrong in [other.as_str(), "absent"] {
        let _ = choose(&to_encounters(), &[("encounter", wrong)]).expect(404);
    }
    let again = choose(&to_encounters(), &[]).expect(200).text();
    assert!(again.contains("role=\"alert\"") && again.contains(&own));
    let page = choose(&again, &[("encounter", &own)]);
    let code = returned(&s.allow(page, None))["code"].as_str().unwrap().to_owned();
    let said = s.redeem(&code, &[]).expect(200).json();
    assert_eq!((&said["patient"], &said["encounter"]), (&json!(BY_TEAM.id), &json!(own)));
    assert!(said["scope"].as_str().unwrap().contains("launch/encounter"), "{said}");
    // Without: the app is told by what it is given.
    let page = choose(&to_encounters(), &[("none", "yes")]);
    let answer = if page.status == 303 { page } else { s.allow(page, None) };
    let code = returned(&answer)["code"].as_str().unwrap().to_owned();
    let said = s.redeem(&code, &[]).expect(200).json();
    assert_eq!((&said["patient"], &said["encounter"]), (&json!(BY_TEAM.id), &Value::Null));
    assert!(!said["scope"].as_str().unwrap().contains("launch/encounter"), "{said}");
    // Silently nothing is chosen.
    let mut asked = s.asked(scope);
    asked.push(("prompt", "none".to_owned()));
    assert_eq!(returned(&s.authorize(&asked))["error"], "interaction_required");
}
