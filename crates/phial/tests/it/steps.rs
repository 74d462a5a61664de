//! Every durable step of the table, each failing both ways: not saved, and saved but
//! reported failed. Each time the world is looked at twice: in the process that goes
//! on, and in a copy of the files as a crash at that very moment leaves them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use phial_base::step::{Part, STEPS, Step};
use phial_testkit::points::How;

use crate::steps_stage::{Op, Stage};

/// A run of work in which steps are met.
struct Scenario {
    name: &'static str,
    /// Done before, undisturbed.
    before: &'static [Op],
    /// In here a step fails.
    body: &'static [Op],
}

use Op::*;

const MAKING: Scenario = Scenario {
    name: "making a home and a tenant",
    before: &[],
    body: &[Make, AddTenant, Open, Close],
};
const WRITING: Scenario = Scenario {
    name: "writing, reading, searching",
    before: &[Make, Open],
    body: &[
        Put("a", 1),
        CreateOnce("k"),
        Put("a", 2),
        Put("b", 3),
        Search,
        Flush,
        Put("b", 4),
        Read("a"),
        Flush,
        Settle,
        Close,
        Open,
        Search,
        Close,
    ],
};
const ACCOUNTS: Scenario = Scenario {
    name: "accounts and tokens",
    before: &[Make, Open],
    body: &[
        AddAccount("ana"),
        Suspend("ana"),
        Issue,
        Use,
        Revoke,
        PurgeSessions,
        Issue,
        Use,
        KnowBrowser,
        Count,
        UseCode,
        Tally,
        ForgetBrowsers,
    ],
};
const TICKETS: Scenario = Scenario {
    name: "tickets of apps",
    before: &[Make, Open],
    body: &[Mark, Ticket, Exchange, Exchange, Withdraw],
};
const KEYS: Scenario = Scenario {
    name: "rotating keys",
    before: &[Make, Open, Put("a", 1)],
    body: &[RotateTenant, Read("a"), RotateRoot, Put("b", 2), Read("a"), Close, Open, Read("b")],
};
const FORGETTING: Scenario = Scenario {
    name: "forgetting a patient",
    before: &[Make, Open, Put("a", 1), Put("b", 2), PutJoint("a", "b"), Search],
    body: &[Destroy("a"), Read("b"), Search],
};
const ATTACHING: Scenario = Scenario {
    name: "attachments",
    before: &[Make, Open, Put("a", 1), Put("b", 2)],
    body: &[
        Attach("a", 1),
        Attach("b", 2),
        Attach("a", 3),
        Flush,
        Settle,
        Close,
        Open,
        Destroy("a"),
        Read("b"),
        Attach("b", 4),
    ],
};
const RESTORING: Scenario = Scenario {
    name: "replaying tombstones",
    before: &[Make, Open, Put("a", 1), Put("b", 2), Search],
    body: &[Replay("a"), Read("b"), Search],
};
const INDEXING: Scenario = Scenario {
    name: "an index that ages, is lost and stands alone",
    before: &[Make, Open, Put("a", 1), Put("a", 2), Search],
    body: &[Expire, Rebuild, Search, Close, DamageIndex, Open, Search, IndexAlone],
};
const EXPORTING: Scenario = Scenario {
    name: "an export, and its end",
    before: &[Make, Open, Put("a", 1), Put("b", 2), Search],
    body: &[Export, CancelExport],
};
const RELABELLING: Scenario = Scenario {
    name: "lists of codes that change",
    before: &[Make, Open, Put("a", 1), Put("a", 2), Put("b", 3), Search],
    body: &[Relabel(1), Put("c", 4), Flush, Search],
};
const ROLLED_BACK: Scenario = Scenario {
    name: "a checkpoint that the log does not know",
    before: &[
        Make,
        Open,
        Put("a", 1),
        Flush,
        Close,
        KeepAudit,
        Open,
        Put("b", 1),
        Flush,
        Close,
        RollBackAudit,
        Open,
    ],
    body: &[Put("c", 1), Flush],
};

const TELLING: Scenario = Scenario {
    name: "telling a subscriber",
    before: &[Make, Open, Subscribe, Tell],
    body: &[Put("a", 1), Tell, Put("a", 2), Put("b", 3), Tell, Close, Open, Put("b", 4), Tell],
};
const SUBSCRIBING: Scenario = Scenario {
    name: "subscribing and ending it",
    before: &[Make, Open],
    body: &[Subscribe, Tell, Put("a", 1), Tell, Unsubscribe, Tell],
};

const ALL: &[&Scenario] = &[
    &MAKING,
    &WRITING,
    &ACCOUNTS,
    &TICKETS,
    &KEYS,
    &FORGETTING,
    &ATTACHING,
    &RESTORING,
    &INDEXING,
    &EXPORTING,
    &RELABELLING,
    &ROLLED_BACK,
    &TELLING,
    &SUBSCRIBING,
];

/// Steps that nobody waits for, or whose failure is told otherwise than by an error.
const QUIET: &[Step] = &[
    Step::AuditLater,
    Step::AuditCheckpoint,
    Step::CheckpointCopy,
    Step::CheckpointAside,
    Step::RecordsScrub,
    Step::IndexClose,
];

type Point = (Step, Part);

fn at() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// Runs a scenario undisturbed. Says which points its body met, and how often.
fn met(s: &Scenario) -> BTreeMap<Point, usize> {
    let mut stage = Stage::new(None, at());
    for op in s.before {
        stage.begin(*op);
        stage.run(*op).unwrap();
    }
    let _ = stage.points.trace();
    for op in s.body {
        stage.begin(*op);
        stage.run(*op).unwrap_or_else(|e| panic!("{}: {op:?}: {e}", s.name));
    }
    let mut counts = BTreeMap::new();
    for point in stage.points.trace() {
        *counts.entry(point).or_default() += 1;
    }
    stage.check(s.name);
    counts
}

/// Asks again until it is done, as whoever was told of a failure would.
fn insist(stage: &mut Stage, op: Op, why: &str) {
    for attempt in 0.. {
        stage.begin(op);
        match stage.run(op) {
            Ok(()) => return,
            Err(e) if attempt == 3 => panic!("{why}: {op:?} does not come back: {e}"),
            Err(_) => {}
        }
    }
}

/// Runs a scenario in which one point fails; false when it was not met.
fn fails(s: &Scenario, (step, part): Point, pass: usize, how: How) -> bool {
    let why = format!("{}: {step:?} {part:?} +{pass} {how:?}", s.name);
    let mut stage = Stage::new(None, at());
    for op in s.before {
        stage.begin(*op);
        stage.run(*op).unwrap();
    }
    let copy = stage.dir.path().join("crashed");
    stage.points.arm(step, part, pass, how, &copy);
    let mut crashed = None;
    for (i, op) in s.body.iter().enumerate() {
        stage.begin(*op);
        let asked = stage.model.clone();
        let done = stage.run(*op);
        if crashed.is_none() && stage.points.hit() {
            // What clients knew when it crashed: not the answer to this. Whoever was sent
            // something has it.
            let heard = stage.model.heard.clone();
            crashed = Some((i, asked.having(heard), stage.now()));
            let quiet = QUIET.contains(&step);
            assert!(quiet || done.is_err(), "{why}: {op:?} was acknowledged");
        } else if let Err(e) = &done {
            // A failure is told once; only what was made to fail may.
            assert!(crashed.is_some(), "{why}: {op:?} failed by itself: {e}");
        }
        if done.is_err() {
            insist(&mut stage, *op, &why);
        }
    }
    let Some((at_op, model, now)) = crashed else { return false };
    stage.points.disarm();
    stage.check(&format!("{why}: going on"));
    // The crash. A home that was not whole yet is made by the same command again.
    let mut after = Stage::new(Some(&copy), now);
    after.model = model;
    if s.before.is_empty() {
        insist(&mut after, Make, &why);
    }
    after.check(&format!("{why}: after a crash"));
    let rest = s.body.iter().skip(at_op).copied();
    insist(&mut after, Open, &why);
    for op in rest.filter(|op| !matches!(op, Use | Revoke)) {
        insist(&mut after, op, &format!("{why}: taken up"));
    }
    after.check(&format!("{why}: taken up"));
    true
}

/// Every point of the scenario, its first and its last time, both ways.
fn drive(s: &Scenario) {
    let met = met(s);
    assert!(!met.is_empty());
    for (point, times) in met {
        for how in How::BOTH {
            assert!(fails(s, point, 0, how), "{}: {point:?} was not met", s.name);
            if times > 1 {
                // Work in the background may have met it once less this time.
                let _ = fails(s, point, times - 1, how);
            }
        }
    }
}

#[test]
fn every_durable_step_is_met_by_a_scenario() {
    let mut found: BTreeSet<Point> = BTreeSet::new();
    for s in ALL {
        found.extend(met(s).into_keys());
    }
    let all: BTreeSet<Point> = STEPS
        .iter()
        // Driven where its code is: src/http/tls.rs.
        .filter(|r| r.step != Step::TlsFile)
        .flat_map(|r| r.parts.iter().map(|p| (r.step, *p)))
        .collect();
    let missing: Vec<_> = all.difference(&found).collect();
    assert!(missing.is_empty(), "no scenario meets {missing:?}");
    let unknown: Vec<_> = found.difference(&all).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn making_a_home_fails_at_every_step_both_ways() {
    drive(&MAKING);
}

#[test]
fn writing_fails_at_every_step_both_ways() {
    drive(&WRITING);
}

#[test]
fn accounts_and_tokens_fail_at_every_step_both_ways() {
    drive(&ACCOUNTS);
}

#[test]
fn tickets_fail_at_every_step_both_ways() {
    drive(&TICKETS);
}

#[test]
fn rotating_keys_fails_at_every_step_both_ways() {
    drive(&KEYS);
}

#[test]
fn forgetting_a_patient_fails_at_every_step_both_ways() {
    drive(&FORGETTING);
}

#[test]
fn attaching_fails_at_every_step_both_ways() {
    drive(&ATTACHING);
}

#[test]
fn replaying_tombstones_fails_at_every_step_both_ways() {
    drive(&RESTORING);
}

#[test]
fn an_index_fails_at_every_step_both_ways() {
    drive(&INDEXING);
}

#[test]
fn telling_a_subscriber_fails_at_every_step_both_ways() {
    drive(&TELLING);
}

#[test]
fn subscribing_and_ending_it_fails_at_every_step_both_ways() {
    drive(&SUBSCRIBING);
}

#[test]
fn an_owner_who_lost_the_role_is_told_nothing_more() {
    let mut stage = Stage::new(None, at());
    for op in [Make, Open, Subscribe, Tell, Put("a", 1), Tell, Put("a", 2)] {
        stage.begin(op);
        stage.run(op).unwrap();
    }
    assert_eq!((stage.standing().as_str(), stage.model.heard.len()), ("active", 1));
    stage.tell_as("front-desk").unwrap();
    assert_eq!((stage.standing().as_str(), stage.model.heard.len()), ("off", 1));
    // Having it again does not bring it back: the owner asks anew, and begins anew.
    stage.run(Tell).unwrap();
    assert_eq!((stage.standing().as_str(), stage.model.heard.len()), ("off", 1));
    for op in [Subscribe, Tell, Put("a", 3), Tell] {
        stage.begin(op);
        stage.run(op).unwrap();
    }
    assert_eq!((stage.standing().as_str(), stage.model.heard.len()), ("active", 2));
}

#[test]
fn relabelling_fails_at_every_step_both_ways() {
    drive(&RELABELLING);
}

#[test]
fn an_export_fails_at_every_step_both_ways() {
    drive(&EXPORTING);
}

#[test]
fn an_export_expires_with_its_key_and_is_forgotten() {
    let mut stage = Stage::new(None, at());
    for op in [Make, Open, Put("a", 1), Put("b", 2), Export] {
        stage.begin(op);
        stage.run(op).unwrap();
    }
    stage.expire_export().unwrap();
    stage.check("an export that expired");
}

#[test]
fn a_rolled_back_audit_log_fails_at_every_step_both_ways() {
    drive(&ROLLED_BACK);
}
