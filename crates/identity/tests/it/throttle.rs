//! Guesses, by clock.

use std::net::{IpAddr, Ipv4Addr};

use jiff::SignedDuration;
use phial_identity::throttle::{Guess, Throttle, Trier, Wait};

use crate::world::World;

fn trier<'a>(w: &'a World, name: &'a str, ip: [u8; 4], known: Option<&'a str>) -> Trier<'a> {
    Trier {
        tenant: &w.tenant,
        name,
        ip: IpAddr::V4(Ipv4Addr::from(ip)),
        known,
        guess: Guess::Password,
    }
}

/// One wrong guess. Whether it was looked at.
fn wrong(w: &World, throttle: &Throttle, who: &Trier<'_>) -> bool {
    let sessions = w.tokens.sessions();
    match throttle.begin(sessions, who, w.now()).unwrap() {
        Ok(attempt) => {
            attempt.failed(throttle, sessions, w.now()).unwrap();
            true
        }
        Err(_) => false,
    }
}

fn right(w: &World, throttle: &Throttle, who: &Trier<'_>) -> Result<(), Wait> {
    let sessions = w.tokens.sessions();
    let attempt = throttle.begin(sessions, who, w.now()).unwrap()?;
    attempt.passed(throttle, sessions, w.now()).unwrap();
    Ok(())
}

#[test]
fn ten_thousand_wrong_passwords_over_all_accounts_lock_nobody_out() {
    // Ten minutes, 500 accounts, from 200 networks; at any time everybody comes in from
    // where he came in before.
    let (w, throttle) = (World::new(), Throttle::default());
    let names: Vec<String> = (0..500).map(|i| format!("user-{i}")).collect();
    let mut looked_at = 0;
    for i in 0..10_000u32 {
        let name = &names[i as usize % names.len()];
        let [.., c, d] = (i / 500 * 7 + i).to_be_bytes();
        looked_at += u32::from(wrong(&w, &throttle, &trier(&w, name, [203, 0, c % 200, d], None)));
        w.pass(SignedDuration::from_millis(60));
        if i % 20 == 0 {
            let name = &names[(i / 20) as usize % names.len()];
            let browser = format!("browser of {name}");
            let who = trier(&w, name, [203, 0, 7, 7], Some(&browser));
            assert_eq!(right(&w, &throttle, &who), Ok(()), "{name} after {i} guesses");
        }
    }
    for name in &names {
        let browser = format!("browser of {name}");
        let who = trier(&w, name, [203, 0, 7, 7], Some(&browser));
        assert_eq!(right(&w, &throttle, &who), Ok(()), "{name} in the end");
    }
    // Of one account at most its budget was looked at, however many networks there are.
    assert!(looked_at <= 500 * 33, "{looked_at}");
    let mut of_one = 0;
    for i in 0..1_000u32 {
        let [.., c, d] = i.to_be_bytes();
        of_one += u32::from(wrong(&w, &throttle, &trier(&w, "user-1", [198, c, d, 1], None)));
    }
    assert!(of_one <= 30, "{of_one}");
}

#[test]
fn one_network_has_few_guesses_at_an_account_and_others_keep_theirs() {
    let (w, throttle) = (World::new(), Throttle::default());
    let here = trier(&w, "ana", [198, 51, 100, 7], None);
    let looked_at = (0..20).filter(|_| wrong(&w, &throttle, &here)).count();
    assert_eq!(looked_at, 5);
    // Another address of the same network is no other network.
    assert!(!wrong(&w, &throttle, &trier(&w, "ana", [198, 51, 100, 99], None)));
    assert_eq!(right(&w, &throttle, &trier(&w, "ana", [192, 0, 2, 1], None)), Ok(()));
    assert_eq!(right(&w, &throttle, &trier(&w, "bob", [198, 51, 100, 7], None)), Ok(()));
    let wait = right(&w, &throttle, &here).unwrap_err().after.unwrap();
    assert_eq!(wait, SignedDuration::from_mins(10));
    w.pass(wait);
    assert_eq!(right(&w, &throttle, &here), Ok(()));
}

#[test]
fn what_was_right_costs_nothing() {
    let (w, throttle) = (World::new(), Throttle::default());
    let here = trier(&w, "ana", [198, 51, 100, 7], None);
    for _ in 0..200 {
        assert_eq!(right(&w, &throttle, &here), Ok(()));
    }
}

#[test]
fn a_hundred_wrong_guesses_in_a_row_are_more_than_anyone_has() {
    // SP 800-63B-4 §3.2.2: at most 100 in a row. Patience does not help.
    let (w, throttle) = (World::new(), Throttle::default());
    let mut looked_at = 0;
    for i in 0..2_000u32 {
        let [.., c, d] = i.to_be_bytes();
        looked_at += u32::from(wrong(&w, &throttle, &trier(&w, "ana", [198, c, d, 1], None)));
        w.pass(SignedDuration::from_mins(30));
    }
    assert_eq!(looked_at, 50);
    let far = trier(&w, "ana", [192, 0, 2, 1], None);
    assert_eq!(right(&w, &throttle, &far).unwrap_err().after, None);
    // Her own browser is not asked about that, and neither is a passkey.
    assert_eq!(right(&w, &throttle, &trier(&w, "ana", [192, 0, 2, 1], Some("hers"))), Ok(()));
    throttle.seen(w.tokens.sessions(), &w.tenant, "ana", w.now()).unwrap();
    assert_eq!(right(&w, &throttle, &far), Ok(()));
}

#[test]
fn a_stolen_browser_is_trusted_no_more_after_a_while() {
    let (w, throttle) = (World::new(), Throttle::default());
    let stolen = trier(&w, "ana", [192, 0, 2, 1], Some("hers"));
    let trusts = || throttle.trusts(w.tokens.sessions(), &w.tenant, "ana", "hers").unwrap();
    let mut looked_at = 0;
    for _ in 0..1_000 {
        if !trusts() {
            break;
        }
        looked_at += u32::from(wrong(&w, &throttle, &stolen));
        w.pass(SignedDuration::from_mins(1));
    }
    assert_eq!(looked_at, 25);
    assert!(!trusts());
    assert!(throttle.trusts(w.tokens.sessions(), &w.tenant, "bob", "hers").unwrap());
}

#[test]
fn a_restart_forgets_no_failure() {
    let (w, throttle) = (World::new(), Throttle::default());
    let here = trier(&w, "ana", [198, 51, 100, 7], None);
    while wrong(&w, &throttle, &here) {}
    let (sessions, throttle) = (w.reopened(), Throttle::default());
    assert!(throttle.begin(&sessions, &here, w.now()).unwrap().is_err());
}

#[test]
fn a_flood_of_refusals_is_told_once_a_minute() {
    let (w, throttle) = (World::new(), Throttle::default());
    let here = trier(&w, "ana", [198, 51, 100, 7], None);
    while wrong(&w, &throttle, &here) {}
    let mut told = Vec::new();
    for _ in 0..3_000 {
        if let Err(wait) = right(&w, &throttle, &here) {
            told.extend(wait.tell);
        }
        w.pass(SignedDuration::from_millis(50));
    }
    // Two and a half minutes: the first one was told with the loop above.
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|n| *n >= 1_199), "{told:?}");
}
