//! People: invited, logged in by two factors, and out at once when they are to be.

use phial_testkit::browser::{Browser, PASSWORD, hidden, invite};
use phial_testkit::world::{Server, World, send};
use serde_json::Value;

use crate::clinic::clinic;

fn events(world: &World, kind: &str) -> Vec<Value> {
    let all = world.ok(&["audit", "tail", "-n", "400"]);
    all.as_array().unwrap().iter().filter(|e| e["kind"] == kind).cloned().collect()
}

/// Somebody of the clinic, logged in.
fn come_in(world: &World, server: &Server, user: &str) -> Browser {
    let mut browser = Browser::new(server);
    let _ = browser.accept(&invite(world, user, &[]));
    browser
}

#[test]
fn an_invitation_leads_to_two_factors_and_is_used_up() {
    let world = clinic();
    let server = world.serve();
    let link = invite(&world, "ana", &[]);
    let path = &link[link.find("/invite/").unwrap()..];
    let mut ana = Browser::new(&server);
    // A weak password is refused, and the link stays good.
    for weak in ["short", "password1234", "ana-ana-ana-ana"] {
        let answer = ana.post(path, path, &[("password", weak), ("repeat", weak)]);
        assert!(answer.expect(422).text().contains("role=\"alert\""));
    }
    let _ = ana.post(path, path, &[("password", PASSWORD), ("repeat", "other")]).expect(422);
    // A password alone opens nothing.
    let _ = ana.post(path, path, &[("password", PASSWORD), ("repeat", PASSWORD)]).expect(303);
    for page in ["/", "/account", "/admin/people"] {
        assert_eq!(ana.get(page).expect(303).header("location"), "/account/enrol");
    }
    let mut elsewhere = Browser::new(&server);
    let fields = [("user", "ana"), ("password", PASSWORD)];
    let answer = elsewhere.post("/login", "/login", &fields).expect(403);
    assert!(answer.text().contains("One step is missing"), "{}", answer.text());
    // Broken off, it is taken up again by the same link.
    let page = ana.accept(&link).text();
    assert_eq!(page.matches("<li><code>").count(), 10, "{page}");
    let _ = ana.get("/").expect(200);
    let _ = ana.get(path).expect(404);
    let _ = Browser::new(&server).get(path).expect(404);
    for (kind, count) in [("invited", 2), ("factor-added", 1), ("password-changed", 2)] {
        assert_eq!(events(&world, kind).len(), count, "{kind}");
    }
    let login = &events(&world, "login")[0];
    assert_eq!((&login["who"]["user"], &login["surface"]), (&"ana".into(), &"page".into()));
    assert_eq!(login["detail"]["factor"], "password totp");
    assert_eq!(login["who"]["mfa"], 2, "{login}");
    let _ = server.stop().expect(0);
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.out);
}

#[test]
fn a_log_in_takes_password_and_code_and_each_code_once() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let before = ana.cookies["__Host-phial"].clone();
    let _ = ana.post("/", "/logout", &[]).expect(303);
    assert!(!ana.cookies.contains_key("__Host-phial"));
    let first = ana.post(
        "/login",
        "/login",
        &[("user", " Ana "), ("password", PASSWORD), ("next", "/account")],
    );
    assert_eq!(first.expect(303).header("location"), "/login/second?next=%2Faccount");
    let half = ana.cookies["__Host-phial"].clone();
    assert_ne!(before, half);
    for page in ["/", "/account"] {
        assert!(ana.get(page).expect(303).header("location").starts_with("/login/second"));
    }
    let wrong = [("kind", "totp"), ("code", "000000"), ("next", "/account")];
    let _ = ana.post("/login/second", "/login/second", &wrong).expect(403);
    let code = ana.code();
    let fields = [("kind", "totp"), ("code", code.as_str()), ("next", "/account")];
    let done = ana.post("/login/second", "/login/second", &fields).expect(303);
    assert_eq!(done.header("location"), "/account");
    assert_ne!(ana.cookies["__Host-phial"], half, "another session once more was shown");
    let _ = ana.get("/account").expect(200);
    // Neither the code nor the half log-in is good again.
    let mut thief = Browser::new(&server);
    let first = [("user", "ana"), ("password", PASSWORD)];
    let _ = thief.post("/login", "/login", &first).expect(303);
    let again = [("kind", "totp"), ("code", code.as_str())];
    let _ = thief.post("/login/second", "/login/second", &again).expect(403);
    let mut old = Browser::new(&server);
    old.cookies.clone_from(&ana.cookies);
    old.cookies.insert("__Host-phial".to_owned(), half);
    assert!(old.get("/account").expect(303).header("location").starts_with("/login?"));
    for failed in events(&world, "login-failed") {
        assert_eq!(failed["detail"]["account"], "ana", "{failed}");
        assert_eq!(failed["outcome"], "denied");
    }
}

#[test]
fn a_recovery_code_stands_in_once() {
    let world = clinic();
    let server = world.serve();
    let mut ana = Browser::new(&server);
    let page = ana.accept(&invite(&world, "ana", &[])).text();
    let code = page.split("<li><code>").nth(1).unwrap().split('<').next().unwrap();
    for expected in [303, 403] {
        let _ = ana.post("/", "/logout", &[]);
        let mut ana = Browser::new(&server);
        let _ = ana.post("/login", "/login", &[("user", "ana"), ("password", PASSWORD)]);
        let fields = [("kind", "recovery"), ("recovery", code)];
        let _ = ana.post("/login/second", "/login/second", &fields).expect(expected);
    }
}

#[test]
fn wrong_name_wrong_password_and_suspended_are_answered_alike() {
    let world = clinic();
    let server = world.serve();
    let _ = come_in(&world, &server, "ana");
    let _ = come_in(&world, &server, "bill");
    let _ = world.ok(&["user", "suspend", "bill"]);
    let face = |user: &str, password: &str| {
        let mut b = Browser::new(&server);
        let answer = b.post("/login", "/login", &[("user", user), ("password", password)]);
        let text = answer.expect(403).text();
        let csrf = hidden(&text, "csrf").unwrap();
        let challenge = text.split("data-challenge=\"").nth(1).unwrap();
        let challenge = challenge.split('"').next().unwrap();
        text.replace(&csrf, "").replace(challenge, "").replace(user, "")
    };
    let one = face("ana", "a wrong password");
    assert_eq!(one, face("nobody-here", "a wrong password"));
    assert_eq!(one, face("bill", PASSWORD));
    // What was typed as a name is not written down unless it is one.
    assert!(events(&world, "login-failed").iter().any(|e| e["detail"]["account"].is_null()));
    let log = world.ok(&["audit", "tail", "-n", "400"]).to_string();
    assert!(!log.contains("nobody-here"));
}

#[test]
fn a_form_counts_only_from_our_own_page() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let page = ana.get("/").text();
    let token = hidden(&page, "csrf").unwrap();
    let origin = ana.origin.clone();
    let bad = [
        (None, Some(origin.as_str())),
        (Some("x"), Some(origin.as_str())),
        (Some(token.as_str()), None),
        (Some(token.as_str()), Some("https://evil.example")),
        (Some(token.as_str()), Some("null")),
    ];
    for (token, origin) in bad {
        let fields: Vec<(&str, &str)> = token.map(|t| ("csrf", t)).into_iter().collect();
        let _ = ana.send_form("/logout", &fields, origin).expect(403);
    }
    // A token is good for its browser and its log-in alone.
    let mut bill = come_in(&world, &server, "bill");
    let _ = bill.send_form("/logout", &[("csrf", &token)], Some(&origin)).expect(403);
    let _ = ana.get("/account").expect(200);
    let _ = ana.send_form("/logout", &[("csrf", &token)], Some(&origin)).expect(303);
    let _ = ana.get("/account").expect(303);
}

#[test]
fn a_cookie_is_good_at_its_browser_alone_and_opens_no_fhir_base() {
    let world = clinic();
    let server = world.serve();
    let ana = come_in(&world, &server, "ana");
    let cookie = ana.cookies["__Host-phial"].clone();
    let mut other = Browser::new(&server);
    let _ = other.get("/login");
    other.cookies.insert("__Host-phial".to_owned(), cookie.clone());
    assert!(other.get("/account").expect(303).header("location").starts_with("/login?"));
    let forged = ana.cookies["__Host-phial-browser"].replace(|c: char| c.is_ascii_digit(), "0");
    other.cookies.insert("__Host-phial-browser".to_owned(), forged);
    assert!(other.get("/account").expect(303).header("location").starts_with("/login?"));
    let url = format!("{}/Patient?_count=1", server.base());
    let _ = send(server.client().get(&url).bearer_auth(&cookie)).expect(401);
    let with_cookie = format!("__Host-phial={cookie}");
    let _ = send(server.client().get(&url).header("cookie", with_cookie)).expect(401);
    let mut with_token = ana;
    let token = world.token("physician").to_owned();
    with_token.cookies.insert("__Host-phial".to_owned(), token);
    assert!(with_token.get("/account").expect(303).header("location").starts_with("/login?"));
}

#[test]
fn suspended_terminated_or_ended_sessions_are_out_at_once() {
    let world = clinic();
    let server = world.serve();
    for (user, act) in [
        ("ana", &["user", "suspend", "ana"][..]),
        ("bill", &["user", "terminate", "bill"]),
        ("dora", &["user", "sessions", "dora", "--end-all"]),
    ] {
        let mut here = come_in(&world, &server, user);
        let mut there = Browser::new(&server);
        there.app.clone_from(&here.app);
        let _ = there.log_in(user).expect(303);
        let living = world.ok(&["user", "sessions", user]);
        assert!(living.as_array().unwrap().len() >= 2, "{living}");
        let _ = (here.get("/account").expect(200), there.get("/account").expect(200));
        let _ = world.ok(act);
        for browser in [&mut here, &mut there] {
            assert!(browser.get("/account").expect(303).header("location").starts_with("/login?"));
        }
    }
    assert_eq!(world.run(&["user", "resume", "bill"]).code, Some(1), "ended for good");
    assert_eq!(world.run(&["user", "invite", "bill"]).code, Some(1));
    assert_eq!(world.run(&["token", "--user", "bill"]).code, Some(1));
    assert_eq!(events(&world, "user-ended").len(), 1);
}

#[test]
fn one_of_several_log_ins_is_ended_by_its_owner() {
    let world = clinic();
    let server = world.serve();
    let mut here = come_in(&world, &server, "ana");
    let mut there = Browser::new(&server);
    there.app.clone_from(&here.app);
    let _ = there.log_in("ana").expect(303);
    let mut bill = come_in(&world, &server, "bill");
    let page = here.get("/account").text();
    let handle = hidden(&page, "handle").unwrap();
    // Nobody ends another's.
    let _ = bill.post("/account", "/account/sessions/end", &[("handle", &handle)]).expect(303);
    let _ = there.get("/account").expect(200);
    let others = [("handle", "others")];
    let _ = here.post("/account", "/account/sessions/end", &others).expect(303);
    let _ = (here.get("/account").expect(200), there.get("/account").expect(303));
    assert!(!events(&world, "token-revoked").is_empty());
}

#[test]
fn a_password_that_is_changed_ends_all_other_log_ins() {
    let world = clinic();
    let server = world.serve();
    let mut here = come_in(&world, &server, "ana");
    let mut there = Browser::new(&server);
    there.app.clone_from(&here.app);
    let _ = there.log_in("ana").expect(303);
    let new = "seven green lamps by the sea";
    let fields = [("password", new), ("repeat", new)];
    let _ = here.post("/account", "/account/password", &fields).expect(303);
    let _ = (here.get("/account").expect(200), there.get("/account").expect(303));
    let old = [("user", "ana"), ("password", PASSWORD)];
    let _ = there.post("/login", "/login", &old).expect(403);
    let _ = there.post("/login", "/login", &[("user", "ana"), ("password", new)]).expect(303);
}

#[test]
fn an_administrator_invites_changes_and_reviews_and_nobody_else_does() {
    let mut world = clinic();
    world.user("olaf", "operator", None);
    let server = world.serve();
    let mut olaf = come_in(&world, &server, "olaf");
    let new = [("user", "nora"), ("name", "Nora Lind"), ("role", "nurse"), ("unit", "icu")];
    let shown = olaf.post("/admin/people", "/admin/people", &new).expect(200).text();
    let link = shown.split("id=\"link\">").nth(1).unwrap().split('<').next().unwrap();
    let mut nora = Browser::new(&server);
    let _ = nora.accept(link).expect(200);
    assert_eq!(
        nora.get("/admin/people").expect(403).header("content-type"),
        "text/html; charset=utf-8"
    );
    let path = "/admin/people/nora/roles";
    let _ = nora.post("/", path, &[("role", "operator")]).expect(403);
    assert!(events(&world, "denied").iter().any(|e| e["who"]["user"] == "nora"));
    // What is changed holds for the log-in that is alive.
    let page = "/admin/people/nora";
    let _ = olaf.post(page, path, &[("role", "operator"), ("unit", "it")]).expect(303);
    let _ = nora.get("/admin/people").expect(200);
    let _ = olaf.post(page, path, &[("role", "nurse")]).expect(303);
    let _ = nora.get("/admin/people").expect(403);
    let changed = events(&world, "user-changed");
    assert!(changed.iter().any(|e| e["detail"]["roles_before"] == "nurse"
        && e["detail"]["roles_after"] == "operator"
        && e["who"]["user"] == "olaf"));
    // Nobody for himself.
    for path in ["roles", "standing", "invite"] {
        let path = format!("/admin/people/olaf/{path}");
        let _ = olaf.post("/admin/people", &path, &[("role", "physician")]).expect(409);
    }
    // The review: due, signed, due again once the roles are others.
    let due = |world: &World| {
        let list = world.run(&["review", "list", "--due"]);
        let list: Vec<Value> = list.json().as_array().unwrap().clone();
        list.iter().map(|r| r["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(due(&world).contains(&"nora".to_owned()));
    let _ = olaf.post("/admin/review", "/admin/review/nora", &[("roles", "nurse")]).expect(303);
    assert!(!due(&world).contains(&"nora".to_owned()));
    let _ = olaf.post(page, path, &[("role", "nurse"), ("role", "billing")]).expect(303);
    assert!(due(&world).contains(&"nora".to_owned()));
    let old = [("roles", "nurse")];
    let _ = olaf.post("/admin/review", "/admin/review/nora", &old).expect(303);
    assert!(due(&world).contains(&"nora".to_owned()), "what was looked at is not what is there");
    let _ = world.ok(&["review", "sign", "nora", "--note", "looked at it"]);
    assert!(!due(&world).contains(&"nora".to_owned()));
    assert_eq!(events(&world, "access-reviewed").len(), 2);
}

#[test]
fn factors_are_added_and_removed_by_their_owner_and_never_the_last() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let factors = |n: usize| {
        let found = world.ok(&["user", "factors", "ana"]);
        assert_eq!(found["apps"].as_array().unwrap().len(), n, "{found}");
        assert_eq!(found["recovery_codes"], 10);
    };
    factors(1);
    let page = ana.get("/account/enrol").expect(200).text();
    let _ = ana.add_app(&page, "/account/enrol/totp").expect(303);
    factors(2);
    let page = ana.get("/account").text();
    let id = hidden(&page, "id").unwrap();
    let _ = ana.post("/account", "/account/factor/remove", &[("id", &id)]).expect(303);
    factors(1);
    // The page shows no way to remove the last, and there is none.
    let page = ana.get("/account").text();
    assert!(hidden(&page, "id").is_none());
    let _ = ana.post("/account", "/account/factor/remove", &[("id", &id)]).expect(404);
    let page = ana.get("/account/enrol").text();
    let _ = ana.add_app(&page, "/account/enrol/totp").expect(303);
    let shown = ana.get("/account").text();
    let ids: Vec<&str> = shown.split("name=\"id\" value=\"").skip(1).collect();
    let ids: Vec<&str> = ids.iter().map(|rest| rest.split('"').next().unwrap()).collect();
    let _ = ana.post("/account", "/account/factor/remove", &[("id", ids[0])]).expect(303);
    let _ = ana.post("/account", "/account/factor/remove", &[("id", ids[1])]).expect(409);
    factors(1);
    // Lost: invited anew, and all that there was is gone.
    let link = invite(&world, "ana", &["--anew"]);
    let mut new = Browser::new(&server);
    let _ = new.accept(&link).expect(200);
    let _ = ana.get("/account").expect(303);
    factors(1);
    assert_eq!(events(&world, "factor-removed").len(), 3);
}

#[test]
fn guesses_from_elsewhere_are_throttled_and_the_persons_own_browser_is_not() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let mut guesser = Browser::new(&server);
    let guess = [("user", "ana"), ("password", "a wrong password")];
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = guesser.post("/login", "/login", &guess);
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 60);
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [vec![403; 5], vec![429; 7]].concat());
    // Even the right password is not looked at from there.
    let right = [("user", "ana"), ("password", PASSWORD)];
    let _ = guesser.post("/login", "/login", &right).expect(429);
    let _ = ana.post("/", "/logout", &[]).expect(303);
    let _ = ana.log_in("ana").expect(303);
    let _ = ana.get("/account").expect(200);
    assert_eq!(events(&world, "throttled").len(), 1, "a flood is one entry a minute");
    assert_eq!(events(&world, "login-failed").len(), 5);
    // A restart forgets nothing.
    let _ = server.stop().expect(0);
    let server = world.serve();
    let mut guesser = guesser.at(&server);
    let _ = guesser.post("/login", "/login", &right).expect(429);
}

#[test]
fn pages_let_nothing_in_and_lead_nowhere_else() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    for page in ["/login/ended", "/", "/account", "/account/enrol", "/admin/people", "/absent"] {
        let answer = ana.get(page);
        if answer.status == 404 {
            continue;
        }
        let policy = answer.header("content-security-policy").to_owned();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = answer.text();
        for bad in ["<style", " style=", "<script>", " onclick", "http://", "javascript:"] {
            assert!(!text.contains(bad), "{page} has {bad}");
        }
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(text.matches("<h1").count(), 1, "{page}");
    }
    // Where a log-in leads is a path of ours.
    for next in ["https://evil.example", "//evil.example", "/\\evil.example"] {
        let mut b = Browser::new(&server);
        b.app.clone_from(&ana.app);
        ana.app.as_mut().unwrap().1 += 1;
        let _ = b.get("/login");
        let first = [("user", "ana"), ("password", PASSWORD), ("next", next)];
        let to = b.post("/login", "/login", &first).expect(303).header("location").to_owned();
        assert_eq!(to, "/login/second", "{next}");
    }
    // A name that is not ours is not answered to.
    let request = server.client().get(format!("{}/login", ana.origin));
    let _ = send(request.header("host", "evil.example")).expect(421);
}

#[test]
fn each_tenant_has_people_and_cookies_of_its_own() {
    let world = clinic();
    let _ = world.ok(&["init", "--tenant", "north"]);
    let _ = world.ok(&["user", "add", "ana", "--role", "nurse", "--tenant", "north"]);
    let server = world.serve();
    let link = invite(&world, "ana", &["--tenant", "north"]);
    assert!(link.contains("/t/north/invite/"), "{link}");
    let mut ana = Browser::new(&server);
    let _ = ana.accept(&link).expect(200);
    let _ = ana.get("/t/north/account").expect(200);
    assert!(ana.get("/account").expect(303).header("location").starts_with("/login?"));
    let stolen = ana.cookies["__Host-phial-north"].clone();
    ana.cookies.insert("__Host-phial".to_owned(), stolen);
    assert!(ana.get("/account").expect(303).header("location").starts_with("/login?"));
    let _ = ana.get("/t/absent/login").expect(404);
}

#[test]
fn no_secret_of_a_person_is_in_any_file_or_any_output() {
    let world = clinic();
    let server = world.serve();
    let link = invite(&world, "ana", &[]);
    let mut ana = Browser::new(&server);
    let page = ana.accept(&link).text();
    let _ = ana.post("/", "/logout", &[]).expect(303);
    let _ = ana.log_in("ana").expect(303);
    let mut wrong = Browser::new(&server);
    let typed = "a password typed as a name";
    let _ = wrong.post("/login", "/login", &[("user", typed), ("password", "wrong wrong")]);
    let mut secrets: Vec<String> = page
        .split("<li><code>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    assert_eq!(secrets.len(), 10);
    secrets.extend(ana.cookies.values().cloned());
    secrets.push(link.rsplit('/').next().unwrap().to_owned());
    let secret = &ana.app.as_ref().unwrap().0;
    secrets.push(secret.iter().map(|b| format!("{b:02x}")).collect());
    secrets.extend([PASSWORD.to_owned(), typed.to_owned(), "wrong wrong".to_owned()]);
    let scanner = phial_testkit::canary::Scanner::new(&secrets).unwrap();
    let mut report = scanner.scan(&[world.dir()]).unwrap();
    scanner.bytes(std::path::Path::new("printed"), &server.printed(), &mut report);
    assert!(report.is_clean(), "{report}");
}
