//! Do people prove who they are, and does somebody look at what they may do and did?
//!
//! It names accounts, and of emergency access when it was due: no patient, no reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::{Rng, SubjectId, TenantId};
use phial_engine::access::glass;
use phial_engine::alert;
use phial_identity::{Account, Accounts, Credentials, Due, Reviews};
use phial_policy::{Action, PolicySet};
use phial_store::Options;
use phial_store::control::ControlLog;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::sessions::{SessionRow, Sessions};

use super::{Asked, Check};
use crate::config::Config;

const FACTOR: Asked = Asked("people.second-factor", "312(d)");
const REVIEWS: Asked = Asked("people.access-reviews", "308(a)(4)(ii)(C)");
const GLASS: Asked = Asked("people.emergency-reviews", "312(a)(2)(ii)");
const ALERTS: Asked = Asked("people.alerts", "308(a)(6)(ii)");

/// An alert that nobody has seen for so long is one that nobody looks for.
const UNSEEN: SignedDuration = SignedDuration::from_hours(24);
/// Accounts named in one line.
const NAMED: usize = 8;

/// What was found out about a tenant.
#[derive(Default)]
struct Looked {
    accounts: Vec<Account>,
    /// Accounts with a passkey or an authenticator app.
    second: BTreeSet<SubjectId>,
    /// Living tokens that were given without one, by account.
    bare: BTreeMap<SubjectId, usize>,
    due: Vec<(SubjectId, Due)>,
    /// Who broke the glass, and since when its review is overdue.
    overdue: Vec<(SubjectId, Timestamp)>,
    /// Reviews that wait and are in time.
    open: usize,
    /// Alerts that nobody has seen for a day.
    unseen: usize,
}

pub(super) fn checks(
    home: &Home,
    keystore: Result<&Arc<Keystore>, &anyhow::Error>,
    config: &Config,
    rng: &Arc<dyn Rng>,
    now: Timestamp,
    options: &Options,
) -> Vec<Check> {
    let all = [FACTOR, REVIEWS, GLASS, ALERTS];
    let unknown = |seen: String, todo: &str| -> Vec<Check> {
        all.into_iter().map(|asked| asked.unknown(seen.clone(), todo)).collect()
    };
    let Ok(keystore) = keystore else {
        return unknown("the keystore can't be opened".to_owned(), "see the checks of keys");
    };
    let policy = match PolicySet::shipped() {
        Ok(policy) => policy,
        Err(e) => return unknown(e.to_string(), "phial policy check"),
    };
    match look(home, keystore, &policy, config, rng, now, options) {
        Ok(looked) => vec![
            second_factor(&looked, &policy),
            access_reviews(&looked),
            emergency_reviews(&looked),
            alerts(&looked),
        ],
        Err(e) => unknown(
            format!("accounts can't be read: {e:#}"),
            "see that data/ and sessions/ can be read: `phial verify` names what is damaged",
        ),
    }
}

fn look(
    home: &Home,
    keystore: &Arc<Keystore>,
    policy: &PolicySet,
    config: &Config,
    rng: &Arc<dyn Rng>,
    now: Timestamp,
    options: &Options,
) -> anyhow::Result<Looked> {
    let mut looked = Looked::default();
    let sessions = Sessions::look(home, Arc::clone(keystore), Arc::clone(rng), options)?;
    let period = SignedDuration::from_hours(24 * config.review.period_days);
    for tenant in keystore.tenants()? {
        let (keystore, rng) = (Arc::clone(keystore), Arc::clone(rng));
        let control = ControlLog::look(home, &tenant, keystore, rng, options)?;
        of_tenant(&mut looked, &tenant, &control, policy, &sessions.list(&tenant)?, period, now)?;
    }
    Ok(looked)
}

fn of_tenant(
    looked: &mut Looked,
    tenant: &TenantId,
    control: &ControlLog,
    policy: &PolicySet,
    sessions: &[SessionRow],
    period: SignedDuration,
    now: Timestamp,
) -> anyhow::Result<()> {
    let reviews = Reviews::new(control);
    // Of two tenants' accounts with one name each is meant.
    let named = |id: &SubjectId| match *tenant == TenantId::default_tenant() {
        true => id.clone(),
        false => SubjectId::new(&format!("{id}@{tenant}")).unwrap_or_else(|_| id.clone()),
    };
    for account in Accounts::new(control, policy).all()? {
        if account.ended || !account.active {
            continue;
        }
        let id = named(&account.id);
        if Credentials::of(control, &account.id)?.has_second() {
            looked.second.insert(id.clone());
        }
        let is_bare =
            |s: &&SessionRow| s.user == account.id && s.login.is_none() && s.is_alive(now);
        let bare = sessions.iter().filter(is_bare).filter(|s| s.mfa < 2).count();
        if bare > 0 {
            looked.bare.insert(id.clone(), bare);
        }
        let due = reviews.due(&account, period, now)?;
        if due.is_due() {
            looked.due.push((id.clone(), due));
        }
        looked.accounts.push(Account { id, ..account });
    }
    for grant in glass::all(control)? {
        match grant.state(now) {
            "overdue" => looked.overdue.push((named(&grant.subject), grant.ends() + glass::DUE)),
            "open" => looked.open += 1,
            _ => {}
        }
    }
    let late = |a: &alert::Alert| a.seen.is_none() && a.at + UNSEEN <= now;
    looked.unseen += alert::all(control)?.iter().filter(|a| late(a)).count();
    Ok(())
}

/// The first of them, and how many more there are.
fn some(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first: Vec<String> = names.into_iter().take(NAMED).collect();
    match more {
        0 => first.join(", "),
        n => format!("{} and {n} more", first.join(", ")),
    }
}

/// Whether a role of the account may do something with records.
fn reaches_records(account: &Account, policy: &PolicySet) -> bool {
    account
        .roles
        .iter()
        .filter_map(|role| policy.role(role))
        .any(|role| role.actions.iter().copied().any(Action::on_records))
}

fn second_factor(looked: &Looked, policy: &PolicySet) -> Check {
    let reach: Vec<&Account> =
        looked.accounts.iter().filter(|a| reaches_records(a, policy)).collect();
    let bare: Vec<String> = reach
        .iter()
        .filter_map(|a| looked.bare.get(&a.id).map(|n| (a, n)))
        .map(|(a, n)| match *n {
            1 => format!("{} (1 token)", a.id),
            n => format!("{} ({n} tokens)", a.id),
        })
        .collect();
    let without = reach.iter().filter(|a| !looked.second.contains(&a.id)).count();
    let rest = format!(
        "{} of {} accounts that may see records have a passkey or an authenticator app; the others \
         can't log in",
        reach.len() - without,
        reach.len()
    );
    if bare.is_empty() {
        return FACTOR.ok(rest);
    }
    FACTOR.warning(
        format!(
            "{} reach records by tokens of `phial token`, which show no second factor: {}; {rest}",
            bare.len(),
            some(bare)
        ),
        "let people log in (`phial user invite`) and register systems with keys of their own \
         (`phial client add`); `phial user sessions NAME --end-all` ends tokens",
    )
}

fn access_reviews(looked: &Looked) -> Check {
    if looked.due.is_empty() {
        return REVIEWS.ok(format!("{} accounts, each looked at in time", looked.accounts.len()));
    }
    let each = looked.due.iter().map(|(id, due)| match due {
        Due::Never => format!("{id} (never)"),
        Due::Changed => format!("{id} (changed since)"),
        Due::Since(at) | Due::Until(at) => format!("{id} (overdue since {})", day(*at)),
    });
    REVIEWS.warning(
        format!(
            "{} of {} accounts wait for somebody to look at what they may do: {}",
            looked.due.len(),
            looked.accounts.len(),
            some(each.collect())
        ),
        "sign on /admin/review, or `phial review list --due` and `phial review sign NAME`",
    )
}

fn emergency_reviews(looked: &Looked) -> Check {
    if looked.overdue.is_empty() {
        return GLASS.ok(format!("{} reviews of emergency access wait, none overdue", looked.open));
    }
    let mut overdue = looked.overdue.clone();
    overdue.sort_by_key(|(_, since)| *since);
    let each = overdue.iter().map(|(who, since)| format!("{who} (since {})", day(*since)));
    GLASS.warning(
        format!(
            "{} reviews of emergency access are overdue: {}",
            overdue.len(),
            some(each.collect())
        ),
        "a privacy officer signs on /break-glass/reviews, or `phial break-glass review ID`",
    )
}

fn alerts(looked: &Looked) -> Check {
    match looked.unseen {
        0 => ALERTS.ok("no alert has waited for a day"),
        n => ALERTS.warning(
            format!("{n} alerts have been seen by nobody for more than a day"),
            "see /break-glass/reviews or `phial alert list`; with mail.server they go out by mail",
        ),
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;

    fn account(name: &str, role: &str) -> Account {
        Account::new(SubjectId::new(name).unwrap(), vec![role.to_owned()])
    }

    fn id(name: &str) -> SubjectId {
        SubjectId::new(name).unwrap()
    }

    #[test]
    fn who_reaches_records_without_a_second_factor_is_named() {
        let policy = PolicySet::shipped().unwrap();
        let mut looked = Looked {
            accounts: vec![
                account("ana", "physician"),
                account("aude", "auditor"),
                account("bill", "billing"),
            ],
            ..Looked::default()
        };
        looked.second.insert(id("ana"));
        let fine = second_factor(&looked, &policy);
        assert_eq!(fine.finding, Finding::Ok);
        assert!(fine.seen.starts_with("1 of 2 accounts"), "{}", fine.seen);
        // A token of somebody who sees no record is none of records.
        looked.bare.insert(id("aude"), 3);
        assert_eq!(second_factor(&looked, &policy).finding, Finding::Ok);
        looked.bare.insert(id("ana"), 2);
        looked.bare.insert(id("bill"), 1);
        let found = second_factor(&looked, &policy);
        assert_eq!(found.finding, Finding::Warning);
        assert!(found.seen.contains("ana (2 tokens), bill (1 token)"), "{}", found.seen);
        assert!(!found.seen.contains("aude"));
    }

    #[test]
    fn what_waits_for_too_long_is_named_the_oldest_first() {
        let at = |t: &str| -> Timestamp { format!("2026-{t}T00:00:00Z").parse().unwrap() };
        let mut looked = Looked { accounts: vec![account("ana", "nurse")], ..Looked::default() };
        for check in [access_reviews(&looked), emergency_reviews(&looked), alerts(&looked)] {
            assert_eq!((check.finding, check.todo.as_str()), (Finding::Ok, ""), "{check:?}");
        }
        looked.due = vec![
            (id("ana"), Due::Never),
            (id("bill"), Due::Changed),
            (id("cora"), Due::Since(at("02-03"))),
        ];
        let found = access_reviews(&looked);
        assert_eq!(found.finding, Finding::Warning);
        let all = "ana (never), bill (changed since), cora (overdue since 2026-02-03)";
        assert!(found.seen.contains(all), "{}", found.seen);
        looked.overdue = vec![(id("bill"), at("05-02")), (id("ana"), at("05-01"))];
        let found = emergency_reviews(&looked);
        assert_eq!(found.finding, Finding::Warning);
        let all = "ana (since 2026-05-01), bill (since 2026-05-02)";
        assert!(found.seen.contains(all), "{}", found.seen);
        looked.unseen = 2;
        assert_eq!(alerts(&looked).finding, Finding::Warning);
        let many = (0..10).map(|n| format!("u{n}")).collect();
        assert!(some(many).ends_with("u7 and 2 more"));
    }
}
