//! The audit log, the index and the sessions, as they lie on disk.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::TenantId;
use phial_store::health::{self, AuditHealth, Copy};
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::open::Options;

use super::{Asked, Check, age};

const OPENS: Asked = Asked("audit.opens", "312(b)");
const LAST: Asked = Asked("audit.last-entry", "312(b)");
const CHECKPOINT: Asked = Asked("audit.checkpoint", "312(c)(1)");
const COPY: Asked = Asked("audit.checkpoint-copy", "312(c)(1)");
const INDEX: Asked = Asked("index.state", "308(a)(7)(i)");
const SESSIONS: Asked = Asked("sessions.store", "312(a)(2)(iii)");

/// A running server signs a checkpoint within a second of an entry.
const LATE: SignedDuration = SignedDuration::from_mins(1);

pub(super) fn checks(
    home: &Home,
    keystore: Result<&Arc<Keystore>, &anyhow::Error>,
    now: Timestamp,
    options: &Options,
) -> Vec<Check> {
    let mut checks = Vec::new();
    match keystore.ok().and_then(|k| Some((k, k.tenants().ok()?))) {
        Some((keystore, tenants)) => {
            let looked: Vec<_> = tenants
                .iter()
                .map(|t| (t, health::audit(home, t, keystore, options).map_err(|e| e.to_string())))
                .collect();
            checks.extend(logs(&looked, now));
            checks.push(index(home, &tenants, keystore));
        }
        None => {
            for asked in [OPENS, LAST, CHECKPOINT, COPY, INDEX] {
                checks.push(
                    asked.unknown("without the keystore it can't be read", "see keys.keystore"),
                );
            }
        }
    }
    checks.push(sessions(home, now, options));
    checks
}

type Looked<'a> = (&'a TenantId, Result<AuditHealth, String>);

/// The worst of what is said of each tenant.
fn worst(asked: Asked, each: Vec<Check>, none: &str) -> Check {
    let Some(worst) = each.iter().map(|c| c.finding).max() else {
        return asked.unknown(none, "see audit.opens");
    };
    let of_it: Vec<&Check> = each.iter().filter(|c| c.finding == worst).collect();
    let seen: Vec<&str> = of_it.iter().map(|c| c.seen.as_str()).collect();
    let todo = of_it.first().map_or("", |c| c.todo.as_str());
    asked.with(worst, seen.join("; "), todo)
}

fn logs(looked: &[Looked<'_>], now: Timestamp) -> Vec<Check> {
    let opened = looked.iter().map(|(t, found)| match found {
        Ok(h) => {
            OPENS.ok(format!("{t}: {} entries, {} writes under way", h.entries, h.open_intents))
        }
        Err(e) => OPENS.failure(
            format!("{t}: {e}"),
            "nothing is served without it: look at the disk, then `phial audit verify`",
        ),
    });
    let opened = worst(OPENS, opened.collect(), "there is no tenant");
    let good: Vec<(&TenantId, &AuditHealth)> =
        looked.iter().filter_map(|(t, h)| Some((*t, h.as_ref().ok()?))).collect();
    let each = |asked: Asked, check: &dyn Fn(&AuditHealth) -> Check| {
        let all = good.iter().map(|(t, h)| {
            let c = check(h);
            Check { seen: format!("{t}: {}", c.seen), ..c }
        });
        worst(asked, all.collect(), "no log can be read")
    };
    vec![
        opened,
        each(LAST, &|h| last(h, now)),
        each(CHECKPOINT, &|h| checkpoint(h, now)),
        each(COPY, &copy),
    ]
}

fn last(h: &AuditHealth, now: Timestamp) -> Check {
    match h.last {
        None => LAST.ok("no entry yet"),
        Some(at) if at > now + LATE => LAST.failure(
            format!("the last entry is from {at}, which is yet to come"),
            "set the clock right: the order of events is told by it",
        ),
        Some(at) => LAST.ok(format!("{} ago", age(at, now))),
    }
}

fn checkpoint(h: &AuditHealth, now: Timestamp) -> Check {
    match (h.checkpoint, h.last) {
        (None, None) => CHECKPOINT.ok("none yet, and no entry"),
        (Some((size, at)), _) if size >= h.entries => {
            CHECKPOINT.ok(format!("all {size} entries are under one, {} old", age(at, now)))
        }
        (found, Some(last)) => {
            let covered = found.map_or(0, |(size, _)| size);
            let seen = format!("{} of {} entries are under one", covered, h.entries);
            if now.duration_since(last) < LATE {
                // It follows within a second of the entry.
                return CHECKPOINT.ok(format!("{seen}; the next is due"));
            }
            CHECKPOINT.warning(seen, "start the server: it signs one within seconds")
        }
        (Some(_), None) => CHECKPOINT.unknown("the last entry can't be read", "phial audit verify"),
    }
}

fn copy(h: &AuditHealth) -> Check {
    match h.copy {
        Copy::Unknown => COPY.failure(
            "the log does not know the checkpoint beside the keys: it was cut or exchanged",
            "keep everything as it is and run `phial verify`",
        ),
        _ if h.aside > 0 => COPY.failure(
            format!("{} checkpoints were put aside that the log does not know", h.aside),
            "was the log restored? If not, it was cut: docs/operations.md, Restore",
        ),
        Copy::Missing if h.checkpoint.is_some() => COPY.warning(
            "there is no checkpoint beside the keys",
            "look for keys/*.checkpoint in a backup: it shows that the log was not cut",
        ),
        Copy::Missing => COPY.ok("none yet"),
        Copy::Known => COPY.ok("the log knows the checkpoint beside the keys"),
    }
}

fn index(home: &Home, tenants: &[TenantId], keystore: &Keystore) -> Check {
    let all = tenants.iter().map(|t| match health::index(home, t, keystore) {
        Err(e) => INDEX.failure(format!("{t}: {e}"), "see keys.keystore"),
        Ok(h) if h.strange > 0 => INDEX.warning(
            format!("{t}: {} files of other generations", h.strange),
            "start the server: it deletes what it does not use",
        ),
        Ok(health::IndexHealth { generation, bytes: Some(bytes), .. }) => {
            INDEX.ok(format!("{t}: generation {generation}, {} KiB", bytes / 1024))
        }
        Ok(h) => INDEX.warning(
            format!("{t}: generation {} has no file", h.generation),
            "nothing is lost: the next start builds it, which may take a while",
        ),
    });
    worst(INDEX, all.collect(), "there is no tenant")
}

fn sessions(home: &Home, now: Timestamp, options: &Options) -> Check {
    match health::sessions(home, now, options) {
        Ok(s) => SESSIONS.ok(format!("{} living, {} ended", s.living, s.ended)),
        Err(e) => SESSIONS.failure(
            e.to_string(),
            "nobody can be recognised without it: restore sessions/ (any copy will do)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::super::tests::{home, of};
    use super::*;
    use crate::config::Config;
    use phial_base::{Clock, SystemClock, SystemRng};

    fn check(home: &Home, now: Timestamp) -> Vec<Check> {
        let rng: Arc<dyn phial_base::Rng> = Arc::new(SystemRng::new());
        let options = Options::default();
        let keystore = crate::app::open_keystore(home, &Config::default(), &rng, &options);
        checks(home, keystore.as_ref(), now, &options)
    }

    fn now() -> Timestamp {
        SystemClock.now()
    }

    /// A log with entries, all under a checkpoint.
    fn used() -> (tempfile::TempDir, Home) {
        let (dir, home) = home();
        let app = crate::app::App::open(home.root(), crate::app::Use::Alone).unwrap();
        let runtime = crate::cli::runtime().unwrap();
        runtime.block_on(app.start()).unwrap();
        runtime.block_on(app.stop()).unwrap();
        (dir, home)
    }

    #[test]
    fn a_log_that_is_gone_or_was_exchanged_fails() {
        let (_dir, home) = used();
        let all = check(&home, now());
        for id in ["audit.opens", "audit.last-entry", "audit.checkpoint", "audit.checkpoint-copy"] {
            assert_eq!(of(&all, id).0, Finding::Ok, "{all:#?}");
        }
        let tenant = TenantId::default_tenant();
        let note = home.checkpoint(&tenant);
        std::fs::write(&note, "another\n1\nx\n").unwrap();
        assert_eq!(of(&check(&home, now()), "audit.checkpoint-copy").0, Finding::Failure);
        std::fs::remove_file(&note).unwrap();
        assert_eq!(of(&check(&home, now()), "audit.checkpoint-copy").0, Finding::Warning);
        std::fs::write(note.with_extension("checkpoint.5-abc"), "x").unwrap();
        assert_eq!(of(&check(&home, now()), "audit.checkpoint-copy").0, Finding::Failure);
        std::fs::remove_file(home.audit(&tenant)).unwrap();
        let gone = check(&home, now());
        assert_eq!(of(&gone, "audit.opens").0, Finding::Failure);
        assert_eq!(of(&gone, "audit.last-entry").0, Finding::Unknown);
    }

    #[test]
    fn entries_without_a_checkpoint_and_entries_from_the_future_are_named() {
        let at = now();
        let h = AuditHealth {
            entries: 10,
            last: Some(at),
            open_intents: 0,
            checkpoint: Some((4, at)),
            copy: Copy::Known,
            aside: 0,
        };
        let later = at + SignedDuration::from_hours(1);
        assert_eq!(checkpoint(&h, at).finding, Finding::Ok);
        assert_eq!(checkpoint(&h, later).finding, Finding::Warning);
        let whole = AuditHealth { checkpoint: Some((10, at)), ..h.clone() };
        assert_eq!(checkpoint(&whole, later).finding, Finding::Ok);
        assert_eq!(last(&h, later).finding, Finding::Ok);
        assert_eq!(last(&h, at - SignedDuration::from_hours(1)).finding, Finding::Failure);
    }

    #[test]
    fn an_index_without_a_file_or_with_others_is_named() {
        let (_dir, home) = used();
        assert_eq!(of(&check(&home, now()), "index.state").0, Finding::Ok);
        let dir = home.index(&TenantId::default_tenant());
        std::fs::write(dir.join("gen-77.db"), "x").unwrap();
        assert_eq!(of(&check(&home, now()), "index.state").0, Finding::Warning);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(of(&check(&home, now()), "index.state").0, Finding::Warning);
        std::fs::remove_file(home.keystore()).unwrap();
        assert_eq!(of(&check(&home, now()), "index.state").0, Finding::Unknown);
    }

    #[test]
    fn a_sessions_store_that_is_gone_fails() {
        let (_dir, home) = home();
        assert_eq!(of(&check(&home, now()), "sessions.store").0, Finding::Ok);
        std::fs::remove_file(home.sessions()).unwrap();
        assert_eq!(of(&check(&home, now()), "sessions.store").0, Finding::Failure);
    }
}
