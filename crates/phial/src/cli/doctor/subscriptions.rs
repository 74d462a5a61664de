//! Is somebody waiting to be told who can't be?

use std::sync::Arc;

use phial_base::Seq;
use phial_engine::operation::subscription::Shown;
use phial_store::Options;
use phial_store::home::Home;
use phial_store::keystore::Keystore;

use super::{Asked, Check};

const STUCK: Asked = Asked("subscriptions.stuck", "308(a)(1)(ii)(D)");

/// So many failures in a row are no passing thing.
const MANY: u32 = 3;

pub(super) fn checks(
    home: &Home,
    keystore: Result<&Arc<Keystore>, &anyhow::Error>,
    options: &Options,
) -> Vec<Check> {
    vec![match keystore.map(|k| look(home, k, options)) {
        Ok(Ok(all)) => stuck(&all),
        Ok(Err(e)) => STUCK.unknown(
            format!("the outbox can't be read: {e}"),
            "see that data/ can be read: `phial verify` names what is damaged",
        ),
        Err(_) => STUCK.unknown("the keystore can't be opened", "see the checks of keys"),
    }]
}

fn look(
    home: &Home,
    keystore: &Keystore,
    options: &Options,
) -> Result<Vec<Shown>, phial_store::Error> {
    let mut all = Vec::new();
    for tenant in keystore.tenants()? {
        let places = phial_store::outbox::look(home, &tenant, keystore, options)?;
        all.extend(Shown::read(&places, Seq(0))?);
    }
    Ok(all)
}

fn stuck(all: &[Shown]) -> Check {
    let is_stuck = |s: &&Shown| s.status == "error" || (s.attempts >= MANY && s.status != "off");
    let stuck: Vec<&Shown> = all.iter().filter(is_stuck).collect();
    if stuck.is_empty() {
        return STUCK.ok(format!("{} subscriptions, none of them stuck", all.len()));
    }
    let mut hosts: Vec<&str> = stuck.iter().filter_map(|s| s.endpoint.as_deref()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.truncate(4);
    let at = if hosts.is_empty() { String::new() } else { format!(" ({})", hosts.join(", ")) };
    STUCK.warning(
        format!("{} of {} subscriptions can't be told{at}", stuck.len(), all.len()),
        "`phial subscription list` and `show ID` say why; its owner writes it again with status \
         requested, and it goes on where it stood",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;

    fn shown(status: &'static str, attempts: u32) -> Shown {
        Shown {
            id: "s1".to_owned(),
            owner: None,
            endpoint: Some("hooks.example.org".to_owned()),
            status,
            reason: None,
            events: 0,
            under_way: 0,
            behind: 0,
            attempts,
            again: None,
            told: None,
        }
    }

    #[test]
    fn who_can_t_be_told_is_named_by_host() {
        for (all, finding) in [
            (vec![], Finding::Ok),
            (vec![shown("active", 2), shown("off", 9)], Finding::Ok),
            (vec![shown("active", 3)], Finding::Warning),
            (vec![shown("active", 0), shown("error", 12)], Finding::Warning),
        ] {
            let check = stuck(&all);
            assert_eq!(check.finding, finding, "{check:?}");
            assert_eq!(check.seen.contains("hooks.example.org"), finding == Finding::Warning);
        }
    }
}
