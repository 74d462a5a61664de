//! Services (SMART Backend Services, RFC 7523): what proves one, what is refused and
//! written down, what its scopes reach on every surface, and how its access ends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phial_crypto::{JwsAlg, JwsKey, JwsSigner};
use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;

/// A key of a client.
pub(crate) struct Key {
    signer: JwsSigner,
    kid: &'static str,
}

impl Key {
    pub(crate) fn new(alg: JwsAlg, kid: &'static str) -> Self {
        let signer = JwsSigner::from_pkcs8(alg, &JwsSigner::generate(alg).unwrap()).unwrap();
        Key { signer, kid }
    }

    pub(crate) fn jwk(&self) -> Value {
        let b64 = |b: &[u8]| URL_SAFE_NO_PAD.encode(b);
        match self.signer.public().unwrap() {
            JwsKey::Rsa { n, e } => {
                json!({"kty": "RSA", "n": b64(&n), "e": b64(&e), "kid": self.kid})
            }
            JwsKey::Ec { curve, x, y } => json!({"kty": "EC", "crv": curve.name(), "x": b64(&x),
                "y": b64(&y), "kid": self.kid}),
        }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.signer.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> Value {
        json!({"alg": self.signer.alg().name(), "kid": self.kid, "typ": "JWT"})
    }
}

fn now() -> i64 {
    phial_base::Clock::now(&phial_base::SystemClock).as_second()
}

pub(crate) fn root(server: &Server) -> String {
    server.base().strip_suffix("/fhir").unwrap().to_owned()
}

/// Claims that are as they should be.
fn claims(server: &Server, client: &str, jti: &str) -> Value {
    json!({"iss": client, "sub": client, "aud": format!("{}/oauth/token", root(server)),
        "exp": now() + 240, "jti": jti})
}

pub(crate) fn post(server: &Server, path: &str, form: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded(form);
    let request = server.client().post(format!("{}{path}", root(server)));
    send(request.header("content-type", "application/x-www-form-urlencoded").body(body))
}

fn form_urlencoded(form: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        text.bytes()
            .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    let pairs: Vec<String> =
        form.iter().map(|(n, v)| format!("{}={}", escaped(n), escaped(v))).collect();
    pairs.join("&")
}

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn with(server: &Server, assertion: &str, scope: &str) -> Answer {
    post(
        server,
        "/oauth/token",
        &[
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_assertion_type", JWT),
            ("client_assertion", assertion),
        ],
    )
}

/// Registers a service under an account of this role.
pub(crate) fn register(world: &World, client: &str, role: &str, scopes: &str, keys: &[&Key]) {
    let _ = world.ok(&["user", "add", client, "--role", role]);
    let file = world.dir().join(format!("{client}.jwks"));
    let set = json!({"keys": keys.iter().map(|k| k.jwk()).collect::<Vec<_>>()});
    std::fs::write(&file, set.to_string()).unwrap();
    let args = ["client", "add", client, "--kind", "service", "--name", "A service", "--account"];
    let file = file.to_str().unwrap();
    let _ = world.ok(&[&args[..], &[client, "--jwks", file, "--scope", scopes]].concat());
}

/// Asks for a token with an assertion of this number.
pub(crate) fn proven_with(server: &Server, key: &Key, client: &str, jti: &str) -> Answer {
    with(server, &key.sign(&key.header(), &claims(server, client, jti)), "system/*.rs")
}

pub(crate) fn access(server: &Server, key: &Key, client: &str, scope: &str) -> String {
    let jti = format!("{client}-{scope}-{}", now());
    let answer = with(server, &key.sign(&key.header(), &claims(server, client, &jti)), scope);
    answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

fn ask(server: &Server, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let url = match path {
        "" => server.base().to_owned(),
        path => format!("{}/{path}", server.base()),
    };
    let request = server.client().request(method, url).bearer_auth(token);
    send(match body {
        Some(body) => fhir(request, body),
        None => request,
    })
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    ask(server, token, Method::GET, path, None)
}

fn tail(world: &World, n: &str) -> Vec<Value> {
    world.ok(&["audit", "tail", "-n", n]).as_array().unwrap().clone()
}

#[test]
fn a_service_proves_itself_by_either_algorithm_and_is_named_in_the_log() {
    let world = clinic();
    let keys = [Key::new(JwsAlg::RS384, "r"), Key::new(JwsAlg::ES384, "e")];
    register(&world, "feed", "interface-engine", "system/*.rs", &[&keys[0], &keys[1]]);
    let server = world.serve();
    for key in &keys {
        let assertion = key.sign(&key.header(), &claims(&server, "feed", key.kid));
        let answer = with(&server, &assertion, "system/Observation.read system/Unknown.rs");
        let said = answer.expect(200);
        assert_eq!(said.header("cache-control"), "no-store");
        let said = said.json();
        assert_eq!(said["token_type"], "Bearer");
        assert_eq!(said["scope"], "system/Observation.rs", "version 1 is answered in version 2");
        let lasts = said["expires_in"].as_i64().unwrap();
        assert!((1..=300).contains(&lasts), "{lasts}");
        assert!(said.get("refresh_token").is_none());
        let token = said["access_token"].as_str().unwrap();
        let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
        let _ = get(&server, token, &path).expect(200);
    }
    let log = tail(&world, "20");
    let read = log.iter().rev().find(|e| e["kind"] == "read").unwrap();
    assert_eq!((&read["who"]["user"], &read["who"]["client"]), (&json!("feed"), &json!("feed")));
    let issued = log.iter().rev().find(|e| e["kind"] == "token-issued").unwrap();
    assert_eq!(issued["detail"]["scope"], "system/Observation.rs");
}

#[test]
fn whatever_is_wrong_with_an_assertion_is_refused_and_written_down() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    let other = Key::new(JwsAlg::ES384, "k");
    let weak = Key::new(JwsAlg::ES256, "w");
    register(&world, "feed", "interface-engine", "system/*.rs", &[&key, &weak]);
    let server = world.serve();
    let good = claims(&server, "feed", "once");
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&server, "feed", name);
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    };
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "k"});
        format!("{}.{}.", part(&header), part(&claims(&server, "feed", alg)))
    };
    let root = root(&server);
    let h = key.header();
    let cases: Vec<(&str, String, &str)> = vec![
        ("expired", key.sign(&h, &changed("exp", json!(now() - 1))), "has ended"),
        ("too long", key.sign(&h, &changed("exp", json!(now() + 3600))), "five minutes"),
        ("no end", key.sign(&h, &changed("exp", Value::Null)), "when it ends"),
        ("other aud", key.sign(&h, &changed("aud", json!("https://other.example/token"))), "aud"),
        ("our root as aud", key.sign(&h, &changed("aud", json!(root))), "aud"),
        ("no jti", key.sign(&h, &changed("jti", Value::Null)), "jti"),
        ("iss is not sub", key.sign(&h, &changed("sub", json!("other"))), "iss and sub"),
        ("to come", key.sign(&h, &changed("nbf", json!(now() + 200))), "time to come"),
        ("alg none", unsigned("none"), "alg none"),
        ("alg None", unsigned("None"), "alg none"),
        ("alg HS384", unsigned("HS384"), "algorithm"),
        ("alg ES256", weak.sign(&weak.header(), &changed("x", json!(1))), "algorithm"),
        ("another's key", other.sign(&h, &changed("y", json!(1))), "does not verify"),
        ("no kid", key.sign(&json!({"alg": "ES384"}), &changed("z", json!(1))), "kid"),
        (
            "unknown kid",
            key.sign(&json!({"alg": "ES384", "kid": "q"}), &changed("a", json!(1))),
            "no registered key",
        ),
        (
            "a jku of its own",
            key.sign(
                &json!({"alg": "ES384", "kid": "k", "jku": "https://evil.example/keys"}),
                &changed("b", json!(1)),
            ),
            "jku",
        ),
        ("unknown client", key.sign(&h, &claims(&server, "nobody-here", "c")), "no such client"),
        ("no token", "nonsense".to_owned(), "form"),
    ];
    for (what, assertion, _) in &cases {
        let answer = with(&server, assertion, "system/*.rs").expect(401);
        assert_eq!(answer.json()["error"], "invalid_client", "{what}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate"), "Basic", "{what}");
    }
    let good = key.sign(&h, &good);
    let _ = with(&server, &good, "system/*.rs").expect(200);
    let again = with(&server, &good, "system/*.rs").expect(401);
    assert!(again.json()["error_description"].as_str().unwrap().contains("used before"));
    let fresh = |n: &str| key.sign(&h, &claims(&server, "feed", n));
    for (scope, n) in [
        ("user/*.rs", "s1"),
        ("system/*.cud", "s2"),
        ("openid", "s3"),
        ("", "s4"),
        ("system/Nothing.rs", "s5"),
        ("launch fhirUser system/Patient.read", "s6"),
    ] {
        let answer = with(&server, &fresh(n), scope).expect(400);
        assert_eq!(answer.json()["error"], "invalid_scope", "{scope}");
    }
    for form in [
        vec![("grant_type", "password")],
        vec![("grant_type", "client_credentials"), ("client_id", "feed")],
        vec![("grant_type", "client_credentials"), ("client_id", "feed"), ("client_secret", "x")],
        vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials")],
        vec![],
    ] {
        let answer = post(&server, "/oauth/token", &form);
        assert!(matches!(answer.status, 400 | 401), "{form:?}: {}", answer.text());
    }
    let log = tail(&world, "100");
    let reasons: Vec<&str> = log
        .iter()
        .filter(|e| e["kind"] == "client-refused")
        .inspect(|e| assert_eq!(e["outcome"], "denied"))
        .map(|e| e["detail"]["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), cases.len() + 1 + 6 + 5, "{reasons:#?}");
    for (what, _, why) in &cases {
        assert!(reasons.iter().any(|r| r.contains(why)), "{what}: {reasons:#?}");
    }
    // A name that someone made up is not written down.
    assert!(!json!(log).to_string().contains("nobody-here"));
}

#[test]
fn access_ends_with_its_token_its_client_or_its_account() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    for name in ["one", "two", "three"] {
        register(&world, name, "interface-engine", "system/*.rs", &[&key]);
    }
    let server = world.serve();
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let tokens = ["one", "two", "three"].map(|c| access(&server, &key, c, "system/*.rs"));
    for token in &tokens {
        let _ = get(&server, token, &path).expect(200);
    }
    let proven = |client: &str, path: &str, token: &str, jti: &str| {
        let assertion = key.sign(&key.header(), &claims(&server, client, jti));
        let form = [("client_assertion_type", JWT), ("client_assertion", &*assertion)];
        post(&server, path, &[&form[..], &[("token", token)]].concat())
    };
    let said = proven("one", "/oauth/introspect", &tokens[0], "i1").expect(200).json();
    assert_eq!((&said["active"], &said["client_id"]), (&json!(true), &json!("one")));
    assert_eq!(said["scope"], "system/*.rs");
    // Another's token is not one's own to give back.
    let _ = proven("two", "/oauth/revoke", &tokens[0], "r1").expect(200);
    let _ = get(&server, &tokens[0], &path).expect(200);
    let _ = proven("one", "/oauth/revoke", &tokens[0], "r2").expect(200);
    let _ = world.ok(&["client", "remove", "two"]);
    let _ = world.ok(&["user", "suspend", "three"]);
    for token in &tokens {
        let _ = get(&server, token, &path).expect(401);
    }
    let said = proven("one", "/oauth/introspect", &tokens[0], "i2").expect(200).json();
    assert_eq!(said, json!({"active": false}));
    let answer = proven("two", "/oauth/introspect", &tokens[0], "i3");
    assert_eq!(answer.expect(401).json()["error"], "invalid_client");
    // What was withdrawn stays so.
    let _ = world.ok(&["user", "resume", "three"]);
    let _ = get(&server, &tokens[2], &path).expect(401);
    let scanner = phial_testkit::canary::Scanner::new(&tokens).unwrap();
    let report = scanner.scan(&[world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Every surface on which a record could come out, asked with one token. Each gives the
/// ids of what came.
fn surfaces(server: &Server, token: &str, obs: &str, cond: &str) -> Vec<(String, Vec<String>)> {
    let patient = format!("Patient/{}", BY_TEAM.id);
    let mut out = Vec::new();
    let mut seen = |what: &str, answer: &Answer| {
        let json = answer.json();
        let mut ids: Vec<String> = Vec::new();
        let mut take = |r: &Value| {
            if r["resourceType"] != "OperationOutcome"
                && let Some(id) = r["id"].as_str()
            {
                ids.push(format!("{}/{id}", r["resourceType"].as_str().unwrap()));
            }
        };
        match json["entry"].as_array() {
            Some(entries) => entries.iter().for_each(|e| take(&e["resource"])),
            None => take(&json),
        }
        out.push((what.to_owned(), ids));
    };
    for (what, path) in [
        ("read", format!("Observation/{obs}")),
        ("vread", format!("Observation/{obs}/_history/1")),
        ("history", format!("Observation/{obs}/_history")),
        ("type history", "Observation/_history?_count=200".to_owned()),
        ("system history", "_history?_count=500".to_owned()),
        ("search", format!("Observation?_id={obs}")),
        ("search of all", "Observation?_count=200".to_owned()),
        ("system search", "?_type=Observation,Condition&_count=200".to_owned()),
        ("compartment", format!("{patient}/Observation?_count=200")),
        ("revinclude", format!("Patient?_id={}&_revinclude=Observation:patient", BY_TEAM.id)),
        ("include", format!("Observation?_id={obs}&_include=Observation:patient")),
        ("everything", format!("{patient}/$everything")),
        ("read of another type", format!("Condition/{cond}")),
        ("search of another type", "Condition?_count=200".to_owned()),
    ] {
        seen(what, &get(server, token, &path));
    }
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": format!("Observation/{obs}")}},
        {"request": {"method": "GET", "url": format!("Condition/{cond}")}}]});
    seen("batch", &ask(server, token, Method::POST, "", Some(&batch)));
    let posted = server
        .client()
        .post(format!("{}/Observation/_search", server.base()))
        .bearer_auth(token)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("_count=200");
    seen("posted search", &send(posted));
    out
}

#[test]
fn scopes_hold_on_every_surface() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    register(&world, "all", "interface-engine", "system/*.cruds", &[&key]);
    let server = world.serve();
    let (obs, cond) = (id("obs", BY_TEAM, 3), id("cond", BY_TEAM, 0));
    let whole = access(&server, &key, "all", "system/*.cruds");
    let all = surfaces(&server, &whole, &obs, &cond);
    for (what, ids) in &all {
        assert!(!ids.is_empty(), "{what}: the role sees something");
    }
    for (scope, sees) in [
        ("system/Observation.rs", &["Observation"][..]),
        ("system/Observation.rs system/Patient.rs", &["Observation", "Patient"]),
        ("system/Condition.rs", &["Condition"]),
        ("system/Observation.c", &[]),
        ("system/Practitioner.rs", &["Practitioner"]),
    ] {
        let token = access(&server, &key, "all", scope);
        let seen = surfaces(&server, &token, &obs, &cond);
        for ((what, ids), (_, most)) in seen.iter().zip(&all) {
            for id in ids {
                assert!(most.contains(id), "{scope}: {what} shows {id}, which the role does not");
                let ty = id.split('/').next().unwrap();
                assert!(sees.contains(&ty), "{scope}: {what} shows {id}");
            }
            // Within what is reached, nothing is lost.
            let may = |id: &&String| sees.contains(&id.split('/').next().unwrap());
            let bundled = ["everything", "revinclude"].contains(&what.as_str());
            if !bundled && !sees.is_empty() {
                let expected: Vec<_> = most.iter().filter(may).collect();
                assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{scope}: {what}");
            }
        }
    }
    // Letters: what may be read may not be searched, and neither may be written.
    let reads = access(&server, &key, "all", "system/Observation.r");
    let _ = get(&server, &reads, &format!("Observation/{obs}")).expect(200);
    assert_eq!(get(&server, &reads, "Observation").expect(200).json()["total"], json!(0));
    let body = fixture::observation(BY_TEAM, 3);
    let put = |token: &str| {
        ask(&server, token, Method::PUT, &format!("Observation/{obs}"), Some(&body)).status
    };
    assert!(matches!(put(&reads), 403..=405), "{}", put(&reads));
    let writes = access(&server, &key, "all", "system/Observation.u system/Observation.r");
    assert_eq!(put(&writes), 200);
    let gone = |token: &str| {
        ask(&server, token, Method::DELETE, &format!("Observation/{obs}"), None).status
    };
    assert!(matches!(gone(&writes), 403 | 404), "{}", gone(&writes));
}

#[test]
fn a_scopes_query_is_held_against_each_record_and_no_count_tells_more() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    register(&world, "all", "interface-engine", "system/*.cruds", &[&key]);
    let server = world.serve();
    let mut marked = fixture::observation(BY_TEAM, 3);
    marked["category"] = json!([{"coding": [{"system": "urn:c", "code": "lab"}]}]);
    let _ = server.put("interface-engine", &marked).expect(200);
    let (lab, plain) = (id("obs", BY_TEAM, 3), id("obs", BY_TEAM, 4));
    let scope = "system/Observation.rs?category=urn:c|lab system/Patient.rs";
    let token = access(&server, &key, "all", scope);
    let only = format!("Observation/{lab}");
    for obs in [&lab, &plain] {
        for (what, ids) in surfaces(&server, &token, obs, &id("cond", BY_TEAM, 0)) {
            for id in ids.iter().filter(|id| id.starts_with("Observation/")) {
                assert_eq!(*id, only, "{what}");
            }
            let other = obs == &plain && ["read", "vread", "history", "search"].contains(&&*what);
            assert!(!other || ids.is_empty(), "{what} of what is out of reach");
            let hit =
                ["read", "search", "search of all", "compartment", "revinclude", "everything"];
            if obs == &lab && hit.contains(&&*what) {
                assert!(ids.contains(&only), "{what} of what is within reach");
            }
        }
    }
    assert_eq!(get(&server, &token, "Observation?_summary=count").expect(200).json()["total"], 1);
    assert_eq!(get(&server, &token, &format!("Observation/{plain}")).status, 404);
    // No search of another type leads through what is out of reach.
    for path in [
        format!("Patient?_has:Observation:patient:_id={plain}"),
        "Patient?_has:Observation:patient:code=2339-0".to_owned(),
    ] {
        let _ = get(&server, &token, &path).expect(403);
    }
    // An older version, from before it was within reach, is shown by what it was then.
    let _ = get(&server, &token, &format!("Observation/{lab}/_history/1")).expect(404);
    let untied = get(&server, &token, &format!("Observation?patient={}", UNTIED.id));
    assert_eq!(untied.expect(200).ids("match"), Vec::<String>::new());
}

#[test]
fn a_job_keeps_the_limits_of_the_service_that_asked_for_it() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    register(&world, "bulk", "export-client", "system/*.rs", &[&key]);
    register(&world, "other", "export-client", "system/*.rs", &[&key]);
    let server = world.serve();
    let token = access(&server, &key, "bulk", "system/Observation.rs");
    let kick = server
        .client()
        .get(format!("{}/$export", server.base()))
        .bearer_auth(&token)
        .header("prefer", "respond-async");
    let status = send(kick).expect(202).header("content-location").to_owned();
    let other = access(&server, &key, "other", "system/*.rs");
    let _ = send(server.client().get(&status).bearer_auth(&other)).expect(404);
    let manifest = loop {
        let answer = send(server.client().get(&status).bearer_auth(&token));
        if answer.status == 200 {
            break answer.json();
        }
        assert_eq!(answer.status, 202, "{}", answer.text());
        crate::clinic::pause();
    };
    let types: Vec<&str> = manifest["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["Observation"]);
    // Wider scopes of the same service see another export, not this one.
    let wider = access(&server, &key, "bulk", "system/*.rs");
    let file = manifest["output"][0]["url"].as_str().unwrap();
    let _ = send(server.client().get(file).bearer_auth(&token)).expect(200);
    let answer = send(server.client().get(file).bearer_auth(&wider));
    assert!(matches!(answer.status, 403 | 404), "{}", answer.status);
    // Only reading in full is enough to export.
    let reads = access(&server, &key, "other", "system/Observation.r");
    let kick = server.client().get(format!("{}/$export", server.base())).bearer_auth(&reads);
    let _ = send(kick.header("prefer", "respond-async")).expect(403);
}

#[test]
fn a_client_that_can_not_be_trusted_is_not_registered() {
    let world = clinic();
    let key = Key::new(JwsAlg::ES384, "k");
    let file = world.dir().join("keys");
    let args = |more: &[&str]| {
        let first = ["client", "add", "x", "--name", "X", "--scope", "system/*.rs"];
        world.run(&[&first[..], more].concat())
    };
    let mut private = key.jwk();
    private["d"] = json!("AAAA");
    std::fs::write(&file, json!({"keys": [private]}).to_string()).unwrap();
    let jwks = ["--jwks", file.to_str().unwrap()];
    for (more, why) in [
        (&["--kind", "service"][..], "needs keys"),
        (&["--kind", "service", "--account", "ana", "--secret"], "shared secret"),
        (&["--kind", "public"], "redirect"),
        (&["--kind", "public", "--redirect-uri", "http://app.example/"], "redirect URI"),
        (&["--kind", "confidential", "--redirect-uri", "https://app.example/"], "keys"),
        (&["--kind", "service", "--account", "ana", "--jwks-uri", "https://a.example/k"], "hosts"),
        (&[&["--kind", "service", "--account", "ana"][..], &jwks].concat(), "private key"),
        (&[&["--kind", "service", "--account", "nobody"][..], &jwks].concat(), "user add"),
    ] {
        let ran = args(more);
        assert_eq!(ran.code, Some(1), "{more:?}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains(why), "{more:?}: {said}");
    }
    let made =
        args(&["--kind", "confidential", "--redirect-uri", "https://a.example/", "--secret"]);
    let secret = made.expect(0).json()["secret"].as_str().unwrap().to_owned();
    let shown = world.ok(&["client", "show", "x"]);
    assert_eq!((&shown["has_secret"], shown.get("secret")), (&json!(true), None));
    let next =
        world.ok(&["client", "rotate", "secret", "x"])["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, next);
    let server = world.serve();
    let ask = |secret: &str| {
        let form = [("token", "x"), ("client_id", "x"), ("client_secret", secret)];
        post(&server, "/oauth/introspect", &form).status
    };
    assert_eq!((ask(&secret), ask(&next), ask("")), (401, 200, 401));
    let scanner = phial_testkit::canary::Scanner::new(&[secret, next]).unwrap();
    let report = scanner.scan(&[world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_clients_find_out_is_so_and_only_under_our_own_name() {
    let world = clinic();
    let server = world.serve();
    let root = root(&server);
    let get = |url: String| send(server.client().get(url));
    let one = get(format!("{root}/.well-known/smart-configuration")).expect(200).json();
    let two = get(format!("{root}/fhir/.well-known/smart-configuration")).expect(200).json();
    assert_eq!(one, two);
    let openid = get(format!("{root}/.well-known/openid-configuration")).expect(200).json();
    assert_eq!((&one["issuer"], &openid["issuer"]), (&json!(root), &json!(root)));
    for name in ["token_endpoint", "introspection_endpoint", "revocation_endpoint", "jwks_uri"] {
        let url = one[name].as_str().unwrap().to_owned();
        assert!(url.starts_with(&root));
        assert_ne!(get(url).status, 404, "{name}");
    }
    let keys = get(format!("{root}/oauth/jwks")).expect(200).json();
    let algs: Vec<&str> =
        keys["keys"].as_array().unwrap().iter().map(|k| k["alg"].as_str().unwrap()).collect();
    assert!(algs.contains(&"RS256") && algs.contains(&"ES384"), "{algs:?}");
    assert!(keys["keys"].as_array().unwrap().iter().all(|k| k.get("d").is_none()));
    let _ = world.ok(&["client", "rotate", "keys"]);
    let more = get(format!("{root}/oauth/jwks")).expect(200).json();
    assert_eq!(more["keys"].as_array().unwrap().len(), 4, "those before stay published");
    let foreign = server
        .client()
        .get(format!("{root}/.well-known/smart-configuration"))
        .header("host", "other.example");
    let _ = send(foreign).expect(421);
}

/// A certificate that vouches for itself, and a client that has its key.
fn certified(server: &Server) -> (String, reqwest::blocking::Client) {
    let made = rcgen::generate_simple_self_signed(vec!["feed.example".to_owned()]).unwrap();
    let name = hex::encode(phial_crypto::sha256(made.cert.der()));
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let ca =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_file(
            server.ca(),
        );
    roots.add(ca.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let client = reqwest::blocking::Client::builder();
    (name, client.tls_backend_preconfigured(tls).build().unwrap())
}

#[test]
fn a_certificate_proves_a_service_and_its_token_is_good_with_that_one_alone() {
    let world = clinic();
    let _ = world.ok(&["user", "add", "feed", "--role", "interface-engine"]);
    let config = world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = text.replace("[tls]\n", "[tls]\nclient_certificates = true\n");
    std::fs::write(&config, with).unwrap();
    let server = world.serve();
    let ((one, first), (_, second)) = (certified(&server), certified(&server));
    let args =
        ["client", "add", "feed", "--kind", "service", "--name", "Feed", "--account", "feed"];
    let _ = world.ok(&[&args[..], &["--certificate", &one, "--scope", "system/*.rs"]].concat());
    let token = |client: &reqwest::blocking::Client| {
        let form = "grant_type=client_credentials&client_id=feed&scope=system/*.rs";
        let request = client.post(format!("{}/oauth/token", root(&server)));
        let kind = "application/x-www-form-urlencoded";
        send(request.header("content-type", kind).body(form))
    };
    let said = token(&first).expect(200).json();
    for other in [&second, server.client()] {
        assert_eq!(token(other).expect(401).json()["error"], "invalid_client");
    }
    let url = format!("{}/Observation/{}", server.base(), id("obs", BY_TEAM, 0));
    let token = said["access_token"].as_str().unwrap();
    let read =
        |client: &reqwest::blocking::Client| send(client.get(&url).bearer_auth(token)).status;
    assert_eq!((read(&first), read(&second), read(server.client())), (200, 401, 401));
    let asked = first.post(format!("{}/oauth/introspect", root(&server)));
    let form = format!("client_id=feed&token={token}");
    let kind = "application/x-www-form-urlencoded";
    let said = send(asked.header("content-type", kind).body(form)).expect(200).json();
    let bound = URL_SAFE_NO_PAD.decode(said["cnf"]["x5t#S256"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode(bound), one);
}
