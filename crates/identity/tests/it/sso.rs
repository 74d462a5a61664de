//! Who is whom at an identity provider, on a real control log.

use phial_identity::Error;
use phial_identity::sso::{Link, Links};

use crate::world::World;

fn link(user: &phial_base::SubjectId, issuer: &str, subject: &str) -> Link {
    Link {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        user: user.clone(),
        by: "olaf".to_owned(),
        since: String::new(),
    }
}

#[test]
fn a_person_there_is_one_account_and_an_account_one_person() {
    let w = World::new();
    let (ana, bill) = (w.add("ana", "nurse"), w.add("bill", "nurse"));
    let (links, accounts) = (Links::new(&w.control), w.accounts());
    let tie = |user, issuer, subject| links.tie(&accounts, &link(user, issuer, subject), w.now());
    let refused = |r: Result<(), Error>| matches!(r, Err(Error::Linked(_)));
    tie(&ana, "https://a", "1").unwrap();
    tie(&ana, "https://a", "1").unwrap();
    tie(&ana, "https://b", "1").unwrap();
    assert!(refused(tie(&ana, "https://a", "2")));
    assert!(refused(tie(&bill, "https://a", "1")));
    assert!(refused(tie(&bill, "https://a", "")));
    assert!(refused(tie(&bill, "https://a", "a\u{e9}")));
    // Letter by letter, both.
    let whose = |issuer, subject| links.find(issuer, subject).unwrap().map(|l| l.user);
    assert_eq!(whose("https://a", "1"), Some(ana.clone()));
    for (issuer, subject) in [("https://a/", "1"), ("https://A", "1"), ("https://a", "1 ")] {
        assert_eq!(whose(issuer, subject), None, "{issuer} {subject}");
    }
    assert_eq!(links.of(&ana).unwrap().len(), 2);
    // What an ended account had is free again; what a suspended one has is not.
    let mut account = accounts.find(&ana).unwrap().unwrap();
    account.active = false;
    accounts.change(&account).unwrap();
    assert!(refused(tie(&bill, "https://a", "1")));
    account.ended = true;
    accounts.change(&account).unwrap();
    tie(&bill, "https://a", "1").unwrap();
    assert_eq!(whose("https://a", "1"), Some(bill.clone()));
    assert_eq!(links.undo(&bill, Some("https://b")).unwrap(), 0);
    assert_eq!(links.undo(&bill, None).unwrap(), 1);
    assert_eq!(whose("https://a", "1"), None);
}
