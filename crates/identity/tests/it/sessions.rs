//! Log-ins: bound to a browser, replaced and never changed, over at once.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use phial_base::SubjectId;
use phial_identity::{Error, Limits, Person, Shown};
use phial_policy::Action;

use crate::world::World;

fn shown(mfa: u8) -> Shown {
    Shown {
        browser: "b1".to_owned(),
        how: "password totp".to_owned(),
        mfa,
        invitation: None,
        proven: None,
    }
}

fn log_in(w: &World, user: &SubjectId, mfa: u8, old: Option<&Person>) -> String {
    let old = old.map(|p| p.session.as_ref());
    let issued =
        w.tokens.log_in(&w.control, &w.policy, &w.tenant, user, &shown(mfa), old, w.now()).unwrap();
    issued.token.as_str().to_owned()
}

fn at(w: &World, cookie: &str, browser: &str) -> Option<Person> {
    w.tokens.logged_in(&w.control, &w.policy, &w.tenant, cookie, Some(browser), w.now()).unwrap()
}

#[test]
fn a_log_in_is_good_at_its_browser_and_is_no_token() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let cookie = log_in(&w, &ana, 2, None);
    assert_eq!(at(&w, &cookie, "b1").unwrap().subject.id, ana);
    assert!(at(&w, &cookie, "b2").is_none(), "another browser");
    let token = w.tokens.recognise(&w.control, &w.policy, &w.tenant, &cookie, w.now()).unwrap();
    assert!(token.is_none(), "a cookie in a header");
    let (issued, _) =
        w.tokens.issue(&w.control, &w.policy, &w.tenant, &ana, None, w.now()).unwrap();
    assert!(at(&w, &issued.token, "b1").is_none(), "a token in a cookie");
}

#[test]
fn whatever_is_proven_makes_a_new_log_in_and_ends_the_old() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let half = log_in(&w, &ana, 1, None);
    let person = at(&w, &half, "b1").unwrap();
    let whole = log_in(&w, &ana, 2, Some(&person));
    assert_ne!(half, whole);
    assert!(at(&w, &half, "b1").is_none(), "a cookie that was planted is worth nothing");
    // Proving again does not push the end out.
    let person = at(&w, &whole, "b1").unwrap();
    let end = person.session.expires;
    w.pass(SignedDuration::from_mins(10));
    let person = at(&w, &whole, "b1").unwrap();
    assert!(!person.proven_within(SignedDuration::from_mins(5), w.now()));
    let again = log_in(&w, &ana, 2, Some(&person));
    let person = at(&w, &again, "b1").unwrap();
    assert_eq!(person.session.expires, end);
    assert!(person.proven_within(SignedDuration::from_mins(5), w.now()));
}

#[test]
fn half_a_log_in_opens_nothing_and_ends_soon() {
    let w = World::new();
    let (ana, adam) = (w.add("ana", "physician"), w.add("adam", "operator"));
    for (user, action) in [(&ana, Action::Transaction), (&adam, Action::ManageUsers)] {
        let half = at(&w, &log_in(&w, user, 1, None), "b1").unwrap();
        let whole = at(&w, &log_in(&w, user, 2, None), "b1").unwrap();
        assert!(!w.policy.allows(&half.subject, action));
        assert!(w.policy.allows(&whole.subject, action));
        let ever = |p: &Person| w.policy.ever(&p.subject, Action::Read, "Condition");
        assert!(ever(&half).is_empty());
    }
    let half = log_in(&w, &ana, 1, None);
    w.pass(SignedDuration::from_mins(10));
    assert!(at(&w, &half, "b1").is_none());
}

#[test]
fn a_suspended_account_is_logged_in_nowhere_and_a_changed_role_holds_at_once() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let cookies = [log_in(&w, &ana, 2, None), log_in(&w, &ana, 2, None)];
    let mut account = w.accounts().find(&ana).unwrap().unwrap();
    account.roles = vec!["billing".to_owned()];
    w.accounts().change(&account).unwrap();
    for cookie in &cookies {
        assert_eq!(at(&w, cookie, "b1").unwrap().subject.roles, ["billing"]);
    }
    account.active = false;
    w.accounts().change(&account).unwrap();
    for cookie in &cookies {
        assert!(at(&w, cookie, "b1").is_none());
    }
    account.ended = true;
    w.accounts().change(&account).unwrap();
    account.active = true;
    account.ended = false;
    assert!(matches!(w.accounts().change(&account), Err(Error::Ended)), "ended for good");
    assert!(matches!(w.accounts().add(&account), Err(Error::Exists)), "its name is taken");
}

#[test]
fn idle_and_absolute_ends_come_by_role() {
    let w = World::new();
    w.tokens.set_limits(Limits {
        idle_by_role: BTreeMap::from([
            ("nurse".to_owned(), SignedDuration::from_mins(5)),
            ("physician".to_owned(), SignedDuration::from_mins(20)),
        ]),
        ..Limits::default()
    });
    let mut both = phial_identity::Account::new(
        SubjectId::new("both").unwrap(),
        vec!["physician".to_owned(), "nurse".to_owned()],
    );
    both.unit = Some("icu".to_owned());
    w.accounts().add(&both).unwrap();
    let nina = w.add("nina", "nurse");
    let phil = w.add("phil", "physician");
    let bill = w.add("bill", "billing");
    for (user, minutes) in [(&nina, 5), (&both.id, 5), (&bill, 15), (&phil, 20)] {
        let cookie = log_in(&w, user, 2, None);
        w.pass(SignedDuration::from_secs(minutes * 60 - 1));
        assert!(at(&w, &cookie, "b1").is_some(), "{user}");
        w.pass(SignedDuration::from_secs(minutes * 60));
        assert!(at(&w, &cookie, "b1").is_none(), "{user}");
    }
    let cookie = log_in(&w, &bill, 2, None);
    for _ in 0..71 {
        w.pass(SignedDuration::from_mins(10));
        assert!(at(&w, &cookie, "b1").is_some());
    }
    w.pass(SignedDuration::from_mins(10));
    assert!(at(&w, &cookie, "b1").is_none(), "twelve hours are over, used or not");
}

#[test]
fn looking_whether_somebody_is_logged_in_is_no_use() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let cookie = log_in(&w, &ana, 2, None);
    w.pass(SignedDuration::from_mins(14));
    assert!(w.tokens.sessions().peek(&cookie, w.now()).unwrap().is_some());
    w.pass(SignedDuration::from_mins(1));
    assert!(w.tokens.sessions().peek(&cookie, w.now()).unwrap().is_none());
    assert!(at(&w, &cookie, "b1").is_none());
}
