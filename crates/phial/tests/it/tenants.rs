//! Two tenants in one home: each has its own records, accounts, keys and log.

use phial_testkit::fixture::{self, BY_TEAM};
use phial_testkit::world::{fhir, send};
use reqwest::Method;
use serde_json::json;

use crate::clinic::{clinic, findings};

#[test]
fn nothing_of_one_tenant_is_seen_or_used_in_another() {
    let world = clinic();
    let _ = world.ok(&["init", "--tenant", "annexe"]);
    assert_eq!(world.run(&["init", "--tenant", "annexe"]).code, Some(1), "it is not made over");
    for (name, role) in [("petra", "privacy-officer"), ("ivo", "import-client")] {
        let _ = world.ok(&["user", "add", name, "--role", role, "--tenant", "annexe"]);
    }
    let token = |name: &str| -> String {
        let issued = world.ok(&["token", "--user", name, "--tenant", "annexe"]);
        issued["token"].as_str().unwrap().to_owned()
    };
    let (officer, import) = (token("petra"), token("ivo"));
    let server = world.serve();
    let base = format!("https://{}/t/annexe/fhir", server.authority());
    let there = |method: Method, token: &str, path: &str| {
        server.client().request(method, format!("{base}/{path}")).bearer_auth(token)
    };

    // An account of the one is nobody in the other, of the same name or not.
    for role in ["privacy-officer", "import-client", "physician"] {
        let path = format!("Patient/{}", BY_TEAM.id);
        let _ = send(there(Method::GET, server.token(role), &path)).expect(401);
    }
    let here = format!("{}/Patient/{}", server.base(), BY_TEAM.id);
    let _ = send(server.client().get(&here).bearer_auth(&officer)).expect(401);

    // The same id there is another record.
    let empty = send(there(Method::GET, &officer, "Patient?_summary=count")).expect(200);
    assert_eq!(empty.json()["total"], 0);
    let _ = send(there(Method::GET, &officer, &format!("Patient/{}", BY_TEAM.id))).expect(404);
    let other = json!({"resourceType": "Patient", "id": BY_TEAM.id, "gender": "female"});
    let put = there(Method::PUT, &import, &format!("Patient/{}", BY_TEAM.id));
    let made = send(fhir(put, &other)).expect(201);
    assert!(made.header("location").starts_with(&format!("{base}/Patient/")));
    let read = server.get("privacy-officer", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    assert_eq!(read.json()["gender"], "unknown");
    assert_eq!(server.count("privacy-officer", "Patient", ""), fixture::PEOPLE.len() as u64);

    // A paging token does not pass the border either.
    let page = server.search("privacy-officer", "Patient", "_count=2").expect(200);
    let next = page.link("next").unwrap().replace("/fhir/", "/t/annexe/fhir/");
    let _ = send(server.client().get(next).bearer_auth(&officer)).expect(400);
    let _ = server.stop().expect(0);

    // Forgetting someone here forgets nobody there.
    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    let server = world.serve();
    let url = format!("https://{}/t/annexe/fhir/Patient/{}", server.authority(), BY_TEAM.id);
    let kept = send(server.client().get(url).bearer_auth(&officer)).expect(200);
    assert_eq!(kept.json()["gender"], "female");
    let _ = server.get("privacy-officer", &format!("Patient/{}", BY_TEAM.id)).expect(404);
    let _ = server.stop().expect(0);
    for tenant in ["default", "annexe"] {
        assert_eq!(findings(&world, world.home(), &["--tenant", tenant]), Vec::<String>::new());
    }
}
