//! Apps that register themselves (RFC 7591): off by default, waiting for somebody's word, and
//! few.

use phial_crypto::JwsAlg;
use phial_testkit::browser::{Browser, invite};
use phial_testkit::world::{Answer, Server, World, send};
use serde_json::{Value, json};

use crate::clinic::clinic;
use crate::services::{Key, root};

const CALLBACK: &str = "https://app.example/cb";

fn with(world: &World, mode: &str, more: &str) {
    let config = world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = format!("[oauth]\nregistration = \"{mode}\"\n{more}");
    std::fs::write(&config, text.replace("[oauth]\n", &with)).unwrap();
}

fn register(server: &Server, body: &Value) -> Answer {
    let request = server.client().post(format!("{}/oauth/register", root(server)));
    send(request.header("content-type", "application/json").body(body.to_string()))
}

fn smart(server: &Server) -> Value {
    let url = format!("{}/.well-known/smart-configuration", root(server));
    send(server.client().get(url)).expect(200).json()
}

fn app() -> Value {
    json!({"client_name": "My record", "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "launch/patient openid offline_access patient/Observation.rs patient/Nothing.rs"})
}

fn authorize(browser: &mut Browser, server: &Server, client: &str) -> Answer {
    let aud = server.base().replace(':', "%3A").replace('/', "%2F");
    browser.get(&format!(
        "/oauth/authorize?response_type=code&client_id={client}&state=s&aud={aud}&redirect_uri=\
         https%3A%2F%2Fapp.example%2Fcb&scope=launch%2Fpatient+patient%2FObservation.rs&\
         code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    ))
}

#[test]
fn nobody_registers_where_it_is_off_and_it_is_not_claimed() {
    let world = clinic();
    let server = world.serve();
    assert!(smart(&server).get("registration_endpoint").is_none());
    assert_eq!(register(&server, &app()).expect(403).json()["error"], "access_denied");
    assert_eq!(world.ok(&["client", "list"]), json!([]));
}

#[test]
fn an_app_that_registered_itself_waits_for_an_administrators_word() {
    let world = clinic();
    with(&world, "approval", "");
    let link = invite(&world, "ana", &[]);
    let server = world.serve();
    let at = smart(&server)["registration_endpoint"].as_str().unwrap().to_owned();
    assert_eq!(at, format!("{}/oauth/register", root(&server)));
    let made = register(&server, &app()).expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let id = made["client_id"].as_str().unwrap().to_owned();
    assert_eq!(made["scope"], "launch/patient openid offline_access patient/Observation.rs");
    assert!(made.get("client_secret").is_none());
    let mut ana = Browser::new(&server);
    let _ = ana.accept(&link);
    // It may do nothing, at either endpoint.
    let _ = authorize(&mut ana, &server, &id).expect(400);
    let form = format!("grant_type=authorization_code&client_id={id}&code=x&code_verifier=y");
    let token = || {
        let request = server.client().post(format!("{}/oauth/token", root(&server)));
        let kind = "application/x-www-form-urlencoded";
        send(request.header("content-type", kind).body(form.clone()))
    };
    let refused = token().expect(401).json();
    assert!(refused["error_description"].as_str().unwrap().contains("waits"), "{refused}");
    let listed = world.ok(&["client", "list"]);
    assert_eq!((&listed[0]["waits"], &listed[0]["dynamic"]), (&json!(true), &json!(true)));
    let args = ["client", "approve", &id, "--scope", "launch/patient patient/Observation.rs"];
    let _ = world.ok(&args);
    assert_eq!(world.run(&args).code, Some(1), "it does not wait any more");
    let shown = authorize(&mut ana, &server, &id).expect(200).text();
    assert!(shown.contains("Choose a patient"), "{shown}");
    assert_eq!(token().expect(400).json()["error"], "invalid_request");
    let _ = world.ok(&["client", "remove", &id]);
    let _ = authorize(&mut ana, &server, &id).expect(400);
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let said: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "client-changed")
        .map(|e| e["detail"]["value"].as_str().unwrap())
        .collect();
    let itself = "registered itself and waits";
    assert_eq!(said, [itself, itself, "approved", "approved", "removed", "removed"]);
}

#[test]
fn what_is_refused_has_the_code_of_the_rfc_and_is_written_down() {
    let world = clinic();
    with(&world, "approval", "hosts = [\"keys.example\"]\n");
    let server = world.serve();
    let key = Key::new(JwsAlg::ES384, "k");
    let cases = [
        ("redirect_uris", json!(["http://app.example/cb"]), "invalid_redirect_uri"),
        ("token_endpoint_auth_method", json!("client_secret_post"), "invalid_client_metadata"),
        ("grant_types", json!(["client_credentials"]), "invalid_client_metadata"),
        ("response_types", json!(["token"]), "invalid_client_metadata"),
        ("scope", json!("system/*.rs"), "invalid_client_metadata"),
        ("client_name", json!("a\u{7}"), "invalid_client_metadata"),
    ];
    for (name, value, code) in &cases {
        let mut body = app();
        body[*name] = value.clone();
        assert_eq!(register(&server, &body).expect(400).json()["error"], *code, "{name}");
    }
    let mut body = app();
    body["token_endpoint_auth_method"] = json!("private_key_jwt");
    body["jwks_uri"] = json!("https://169.254.169.254/keys");
    let refused = register(&server, &body).expect(400).json();
    assert!(refused["error_description"].as_str().unwrap().contains("jwks_uri"), "{refused}");
    body.as_object_mut().unwrap().remove("jwks_uri");
    body["jwks"] = json!({"keys": [key.jwk()]});
    let made = register(&server, &body).expect(201).json();
    assert_eq!(made["token_endpoint_auth_method"], "private_key_jwt");
    // Ten from one network, and then no more for a while; what was refused counts.
    let mut last = register(&server, &app());
    let mut more = 1;
    while last.status == 201 {
        last = register(&server, &app());
        more += 1;
    }
    assert_eq!((last.status, more), (429, 3), "{}", last.text());
    assert!(last.header("retry-after").parse::<u64>().unwrap() > 60);
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let refused = log.as_array().unwrap().iter().filter(|e| e["kind"] == "client-refused").count();
    assert_eq!(refused, cases.len() + 1);
    assert!(log.as_array().unwrap().iter().any(|e| e["kind"] == "throttled"));
    assert!(!log.to_string().contains("app.example"));
}

#[test]
fn an_app_for_reading_ones_own_record_may_act_at_once_where_the_operator_says_why() {
    let world = clinic();
    with(&world, "patient-apps", "");
    assert_eq!(world.try_serve().err().unwrap().code, Some(1), "it needs a rationale");
    let config = world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let why = "[oauth]\nrationale = \"patients bring their own apps\"\n";
    std::fs::write(&config, text.replace("[oauth]\n", why)).unwrap();
    let link = invite(&world, "ana", &[]);
    let server = world.serve();
    let id = |body: &Value| {
        register(&server, body).expect(201).json()["client_id"].as_str().unwrap().to_owned()
    };
    let mut wider = app();
    wider["scope"] = json!("launch/patient user/Observation.rs patient/Observation.rs");
    let (own, wider) = (id(&app()), id(&wider));
    let mut ana = Browser::new(&server);
    let _ = ana.accept(&link);
    assert!(authorize(&mut ana, &server, &own).expect(200).text().contains("Choose a patient"));
    let _ = authorize(&mut ana, &server, &wider).expect(400);
}
