//! SCIM 2.0: joiners, movers and leavers, and what a directory may not.

use phial_testkit::world::{Answer, Server, World, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;
use crate::services::{Key, access, register, root};

struct Directory<'w> {
    server: &'w Server,
    token: String,
}

impl Directory<'_> {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>, tag: Option<&str>) -> Answer {
        let url = format!("{}/scim/v2/{path}", root(self.server));
        let mut request = self.server.client().request(method, url).bearer_auth(&self.token);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        if let Some(body) = body {
            request =
                request.header("content-type", "application/scim+json").body(body.to_string());
        }
        send(request)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None, None)
    }
}

fn allowed(world: &World) {
    let config = world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = text.replace("[scim]\n", "[scim]\nroles = [\"nurse\", \"billing\"]\n");
    std::fs::write(&config, with).unwrap();
}

#[test]
fn joiners_movers_and_leavers_are_told_and_leavers_are_out_at_once() {
    let world = clinic();
    allowed(&world);
    let key = Key::new(phial_crypto::JwsAlg::ES384, "k");
    register(&world, "directory", "operator", "scim", &[&key]);
    let server = world.serve();
    let d = Directory { server: &server, token: access(&server, &key, "directory", "scim") };
    let user = |name: &str, roles: &[&str]| {
        let roles: Vec<Value> = roles.iter().map(|r| json!({"value": r})).collect();
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
            "displayName": "Nora Holm", "roles": roles})
    };
    let made = d.ask(Method::POST, "Users", Some(&user("Nora", &["nurse"])), None).expect(201);
    assert_eq!((&made.json()["id"], &made.json()["active"]), (&json!("nora"), &json!(true)));
    let first = made.header("etag").to_owned();
    let again = d.ask(Method::POST, "Users", Some(&user("nora", &["nurse"])), None);
    assert_eq!(again.expect(409).json()["scimType"], "uniqueness");
    let token = world.issue("nora");
    let read = || {
        send(server.client().get(format!("{}/Patient?_count=1", server.base())).bearer_auth(&token))
            .status
    };
    assert_eq!(read(), 200);
    let found = d.get("Users?filter=userName%20eq%20%22nora%22").expect(200).json();
    assert_eq!(
        (&found["totalResults"], &found["Resources"][0]["displayName"]),
        (&json!(1), &json!("Nora Holm"))
    );
    // A mover, by way of a group, and over another version not at all.
    let patch = |operations: Value| json!({"Operations": operations});
    let into = patch(json!([{"op": "add", "path": "members", "value": [{"value": "nora"}]}]));
    let group = d.ask(Method::PATCH, "Groups/billing", Some(&into), None).expect(200).json();
    assert!(group["members"].as_array().unwrap().iter().any(|m| m["value"] == "nora"));
    let out = patch(json!([{"op": "remove", "path": "roles[value eq \"nurse\"]"}]));
    let _ = d.ask(Method::PATCH, "Users/nora", Some(&out), Some(&first)).expect(412);
    let moved = d.ask(Method::PATCH, "Users/nora", Some(&out), None).expect(200).json();
    assert_eq!(moved["roles"], json!([{"value": "billing", "display": "billing"}]));
    // A leaver.
    let off = patch(json!([{"op": "replace", "value": {"active": false}}]));
    let _ = d.ask(Method::PATCH, "Users/nora", Some(&off), None).expect(200);
    assert_eq!(read(), 401);
    let on = patch(json!([{"op": "replace", "path": "active", "value": true}]));
    let _ = d.ask(Method::PATCH, "Users/nora", Some(&on), None).expect(200);
    assert_eq!(read(), 401, "a session that ended stays so");
    let _ = d.ask(Method::DELETE, "Users/nora", None, None).expect(204);
    let _ = d.get("Users/nora").expect(404);
    assert_eq!(world.run(&["token", "--user", "nora"]).code, Some(1));
    let log = world.ok(&["audit", "tail", "-n", "60"]);
    let log = log.as_array().unwrap();
    for kind in ["user-added", "user-changed", "user-ended"] {
        let e = log.iter().find(|e| e["kind"] == kind && e["detail"]["account"] == "nora");
        assert_eq!(e.unwrap()["who"]["client"], "directory", "{kind}");
    }
}

#[test]
fn a_directory_gives_no_role_that_is_not_listed_and_sees_no_account_with_one() {
    let world = clinic();
    allowed(&world);
    let key = Key::new(phial_crypto::JwsAlg::ES384, "k");
    register(&world, "directory", "operator", "scim", &[&key]);
    register(&world, "feed", "interface-engine", "system/*.rs", &[&key]);
    let server = world.serve();
    let d = Directory { server: &server, token: access(&server, &key, "directory", "scim") };
    let add = |roles: Value, more: Value| {
        let mut body = json!({"userName": "eve", "roles": roles});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        d.ask(Method::POST, "Users", Some(&body), None).status
    };
    assert_eq!(add(json!([{"value": "operator"}]), json!({})), 400);
    assert_eq!(add(json!([]), json!({})), 400);
    assert_eq!(add(json!([{"value": "nurse"}]), json!({"password": "x"})), 400);
    // ana is a physician, which is not the directory's.
    let _ = d.get("Users/ana").expect(404);
    let _ = d.ask(Method::DELETE, "Users/ana", None, None).expect(404);
    let _ = d.get("Groups/operator").expect(404);
    let to =
        json!({"Operations": [{"op": "add", "path": "roles", "value": [{"value": "operator"}]}]});
    let _ = d.ask(Method::PATCH, "Users/nils", Some(&to), None).expect(400);
    let listed = d.get("Users?count=500").expect(200).json();
    let names: Vec<&str> =
        listed["Resources"].as_array().unwrap().iter().map(|u| u["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["bill", "nils"]);
    for path in ["Users?filter=userName%20co%20%22a%22", "Users?filter=emails%20eq%20%22a%22"] {
        assert_eq!(d.get(path).expect(400).json()["scimType"], "invalidFilter");
    }
    for path in ["ServiceProviderConfig", "ResourceTypes", "Schemas", "Groups"] {
        let _ = d.get(path).expect(200);
    }
    // Without the scope it is nobody's business, a person's own token least of all.
    let feed = Directory { server: &server, token: access(&server, &key, "feed", "system/*.rs") };
    let _ = feed.get("Users").expect(403);
    let person = Directory { server: &server, token: world.token("physician").to_owned() };
    let _ = person.get("Users").expect(403);
    let nobody = Directory { server: &server, token: "x".to_owned() };
    let _ = nobody.get("Users").expect(401);
    // And the scope opens nothing else.
    let url = format!("{}/Patient", server.base());
    let answer = send(server.client().get(url).bearer_auth(&d.token));
    assert!(answer.status == 403 || answer.json()["total"] == 0, "{}", answer.text());
}
