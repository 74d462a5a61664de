//! What an account proves itself by: used once, kept sealed, never the last taken away.

use jiff::SignedDuration;
use phial_identity::passkey::Passkey;
use phial_identity::{Account, Due, Error, Invitation, Invitations, Reviews, VALID, totp};

use crate::world::{World, user};

/// What an authenticator app shows.
fn shown(secret: &[u8], w: &World) -> String {
    (0..1_000_000)
        .map(|n| format!("{n:06}"))
        .find(|code| totp::accepts(secret, code, w.now()) == Some(w.now().as_second() / 30))
        .unwrap()
}

#[test]
fn a_code_is_good_once_whoever_has_seen_it() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let secret = [5u8; totp::SECRET];
    w.factors().add_totp(&ana, "app", &secret, w.now()).unwrap();
    let code = shown(&secret, &w);
    assert!(w.factors().use_totp(&ana, &code, w.now()).unwrap());
    assert!(!w.factors().use_totp(&ana, &code, w.now()).unwrap(), "a replayed code");
    w.pass(SignedDuration::from_secs(30));
    assert!(!w.factors().use_totp(&ana, &code, w.now()).unwrap(), "within the window, used");
    let next = shown(&secret, &w);
    assert!(w.factors().use_totp(&ana, &next, w.now()).unwrap());
    // It is another's code for nobody else.
    let bob = w.add("bob", "nurse");
    assert!(!w.factors().use_totp(&bob, &next, w.now()).unwrap());
    // What is kept of the secret is not the secret.
    let kept = format!("{:?}", w.factors().of(&ana).unwrap());
    assert!(!kept.contains(totp::base32(&secret).as_str()));
    assert!(!kept.contains(&phial_identity::passkey::encoded(&secret)));
}

#[test]
fn a_recovery_code_is_good_once_and_new_ones_end_the_old() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let codes = w.factors().new_codes(&ana).unwrap();
    assert_eq!(codes.len(), 10);
    let typed = codes[3].to_lowercase().replace('-', " ");
    assert!(w.factors().use_code(&ana, &typed).unwrap());
    assert!(!w.factors().use_code(&ana, &codes[3]).unwrap());
    assert_eq!(w.factors().of(&ana).unwrap().recovery.len(), 9);
    assert!(!w.factors().use_code(&user("bob"), &codes[4]).unwrap());
    assert!(!w.factors().use_code(&ana, "").unwrap());
    let _new = w.factors().new_codes(&ana).unwrap();
    assert!(!w.factors().use_code(&ana, &codes[4]).unwrap());
}

#[test]
fn the_last_second_factor_stays() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    w.factors().add_totp(&ana, "a", &[1; 20], w.now()).unwrap();
    let only = w.factors().of(&ana).unwrap().totp[0].id.clone();
    assert!(matches!(w.factors().remove(&ana, &only), Err(Error::LastFactor)));
    w.factors().add_totp(&ana, "b", &[2; 20], w.now()).unwrap();
    assert_eq!(w.factors().remove(&ana, &only).unwrap(), "totp");
    assert!(matches!(w.factors().remove(&ana, &only), Err(Error::NoFactor)));
    assert!(w.factors().of(&ana).unwrap().has_second());
}

#[test]
fn a_passkey_whose_counter_does_not_rise_is_a_copy() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let count = |n| w.factors().count_passkey(&ana, "id", n, w.now()).unwrap();
    assert!(count(0), "an authenticator without a counter");
    assert!(count(0));
    assert!(count(5));
    assert!(!count(5));
    assert!(!count(4));
    assert!(!count(0), "it had one before");
    assert!(count(6));
    let key = serde_json::json!({"alg": -8, "a": "x"});
    let passkey = Passkey {
        id: "id".to_owned(),
        key: serde_json::from_value(key).unwrap(),
        site: "s".to_owned(),
        name: "n".to_owned(),
        added: String::new(),
    };
    w.factors().add_passkey(&ana, &passkey).unwrap();
    assert!(matches!(w.factors().add_passkey(&ana, &passkey), Err(Error::Exists)));
    assert_eq!(w.factors().owner("id").unwrap().unwrap().0, ana);
    assert!(w.factors().owner("other").unwrap().is_none());
}

#[test]
fn an_invitation_is_good_once_for_a_while_and_the_newest_counts() {
    let w = World::new();
    let ana = w.add("ana", "physician");
    let all = Invitations::new(&w.control);
    let make = || {
        let until = w.now().checked_add(VALID).unwrap();
        let new = Invitation { user: ana.clone(), by: "adam".to_owned(), until, anew: false };
        all.make(w.tokens.sessions(), &new).unwrap()
    };
    let (first, second) = (make(), make());
    assert!(all.find(&first, w.now()).unwrap().is_none(), "a newer one was made");
    let (name, found) = all.find(&second, w.now()).unwrap().unwrap();
    assert_eq!(found.user, ana);
    assert!(all.pending(&ana, w.now()).unwrap().is_some());
    assert!(!name.contains(second.as_str()), "its name is not the token");
    assert!(all.use_up(&name, w.now()).unwrap());
    assert!(!all.use_up(&name, w.now()).unwrap());
    assert!(all.find(&second, w.now()).unwrap().is_none());
    let third = make();
    w.pass(VALID);
    assert!(all.find(&third, w.now()).unwrap().is_none(), "too old");
    for other in ["", "short", &"x".repeat(43)] {
        assert!(all.find(other, w.now()).unwrap().is_none());
    }
}

#[test]
fn a_review_counts_for_what_was_looked_at_and_for_its_time() {
    let w = World::new();
    let (ana, adam) = (w.add("ana", "physician"), w.add("adam", "operator"));
    let reviews = Reviews::new(&w.control);
    let period = SignedDuration::from_hours(24 * 90);
    let account =
        |roles: &[&str]| Account::new(ana.clone(), roles.iter().map(|r| (*r).to_owned()).collect());
    let due = |a: &Account| reviews.due(a, period, w.now()).unwrap();
    assert_eq!(due(&account(&["physician"])), Due::Never);
    let own = reviews.sign(&account(&["physician"]), &ana, None, w.now());
    assert!(matches!(own, Err(Error::OwnAccount)));
    reviews.sign(&account(&["physician"]), &adam, None, w.now()).unwrap();
    let until = w.now().checked_add(period).unwrap();
    assert_eq!(due(&account(&["physician"])), Due::Until(until));
    assert_eq!(due(&account(&["physician", "operator"])), Due::Changed);
    w.pass(period);
    assert_eq!(due(&account(&["physician"])), Due::Since(until));
    assert!(due(&account(&["physician"])).is_due());
}
