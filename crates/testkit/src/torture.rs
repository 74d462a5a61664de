//! kill -9, a thousand times: the real program on a real home, mixed load over TLS,
//! and a ledger of what was promised.
//!
//! It owns the run: start, look, load, kill at a random time, again; imports while the
//! server is down; commands beside it. After each start what was written since the last
//! look is compared with the ledger and every doubt is settled; every so often all of
//! it is, `phial verify` and `phial index check` included. It refuses to go on once
//! something is wrong: the home stays as it is then.
#![expect(clippy::indexing_slicing, reason = "JSON without a member reads as null")]

pub mod deep;
pub mod dice;
pub mod ledger;
pub mod load;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fixture;
use crate::world::{Ran, Server, World, kill};
use dice::Dice;
use ledger::{Attempt, Ledger, Part, State, Target};
use load::{Access, Shared, Worker, held};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// Where the home is made; the system's place for temporary files if not given.
    pub place: Option<PathBuf>,
    /// The same seed rolls the same dice. What the clock decides is not repeated.
    pub seed: u64,
    /// End after so many kills...
    pub kills: u64,
    /// ... or after this time, whichever is first.
    pub limit: Duration,
    /// Look at everything after so many kills.
    pub deep_every: u64,
    /// Clients.
    pub clients: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Kills of a server under load, of one that started, and of imports.
    pub kills: [u64; 3],
    /// What is wrong; empty when nothing is.
    pub wrong: Vec<String>,
    /// The counts as a table.
    pub table: String,
    /// The home, when something is wrong.
    pub home: Option<PathBuf>,
}

/// Arguments that start a server.
const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

struct Run<'a> {
    plan: &'a Plan,
    world: World,
    token: String,
    dice: Dice,
    ledger: Mutex<Ledger>,
    next: AtomicU64,
    workers: Vec<Worker>,
    cycle: u64,
    kills: [u64; 3],
    starts: Vec<Duration>,
    users: Vec<String>,
    tally: Tally,
    // Nobody sends on it: waiting on it is waiting for time to pass.
    clock: (Sender<()>, std::sync::mpsc::Receiver<()>),
}

#[derive(Default)]
struct Tally {
    settled: u64,
    deep: u64,
    records: u64,
    looked: u64,
    verified: u64,
    found_open: u64,
    index_checks: u64,
    imports: u64,
    imports_acknowledged: u64,
    beside: u64,
    receipts: u64,
    entries: u64,
}

/// Runs the plan. `say` hears of its progress.
///
/// # Panics
/// When the home can't be made, or the server stops answering while nothing ends it.
#[must_use]
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Report {
    let began = Instant::now();
    let mut run = Run::new(plan);
    say(&format!("seed {}, home {}", plan.seed, run.world.home().display()));
    while run.killed() < plan.kills && began.elapsed() < plan.limit && !run.is_wrong() {
        let before = run.killed();
        run.cycle();
        let done = run.killed();
        if !run.is_wrong() && done / plan.deep_every.max(1) > before / plan.deep_every.max(1) {
            run.deep(false);
            say(&format!("{:>5} s  {}", began.elapsed().as_secs(), run.line()));
        }
    }
    if !run.is_wrong() {
        run.deep(true);
    }
    run.report(began.elapsed())
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let world = match &plan.place {
            Some(place) => World::empty_in(&plan.program.to_string_lossy(), place),
            None => World::empty(&plan.program.to_string_lossy()),
        };
        let files = world.dir().join("fixture");
        #[expect(clippy::expect_used, reason = "without the fixture there is nothing to run")]
        fixture::write(&files).expect("the fixture is written");
        let _ = world.ok(&["import", &files.to_string_lossy()]);
        let _ =
            world.ok(&["user", "add", "torture", "--role", "physician", "--role", "import-client"]);
        let mut run = Run {
            token: String::new(),
            dice: Dice::new(plan.seed, [0, 0]),
            ledger: Mutex::default(),
            next: AtomicU64::new(0),
            workers: (0..plan.clients).map(|id| Worker::new(plan.seed, id)).collect(),
            cycle: 0,
            kills: [0; 3],
            starts: Vec::new(),
            users: Vec::new(),
            tally: Tally::default(),
            clock: channel(),
            plan,
            world,
        };
        run.token = new_token(&run.world).unwrap_or_default();
        run
    }

    fn killed(&self) -> u64 {
        self.kills.iter().sum()
    }

    fn is_wrong(&self) -> bool {
        !held(&self.ledger).wrong.is_empty()
    }

    fn wrong(&self, what: String) {
        held(&self.ledger).find(what);
    }

    /// Lets so many milliseconds pass, at random below `most`.
    fn pause(&mut self, least: u64, most: u64) {
        let ms = least + self.dice.below(most - least);
        let _ = self.clock.1.recv_timeout(Duration::from_millis(ms));
    }

    /// One round: perhaps an import, perhaps a start that is cut short, then a server
    /// under load until it is killed.
    fn cycle(&mut self) {
        self.cycle += 1;
        if self.dice.chance(6) {
            self.import();
        }
        if self.dice.chance(22) {
            self.kill_a_start();
        }
        if self.is_wrong() || self.killed() >= self.plan.kills {
            return;
        }
        let Some((server, access)) = self.serve() else { return };
        self.settle(&access);
        if self.is_wrong() {
            let _ = server.kill();
            return;
        }
        self.load_and_kill(server, access);
    }

    fn serve(&mut self) -> Option<(Server, Access)> {
        let began = Instant::now();
        match self.world.try_serve() {
            Ok(server) => {
                self.starts.push(began.elapsed());
                let access = Access {
                    base: server.base().to_owned(),
                    client: server.client().clone(),
                    token: self.token.clone(),
                };
                Some((server, access))
            }
            Err(ran) => {
                self.wrong(format!("the server did not start: {ran:?}"));
                None
            }
        }
    }

    fn settle(&mut self, access: &Access) {
        let mut ledger = held(&self.ledger);
        self.tally.settled += ledger.touched.len() as u64;
        ledger.settle(access);
    }

    /// A start that is killed before it ends: recovery is interrupted, too.
    fn kill_a_start(&mut self) {
        let usual = self.starts.last().map_or(100, |d| d.as_millis() as u64);
        let mut starting = self.world.start(&SERVE);
        self.pause(0, usual.max(20));
        if starting.ended() {
            self.wrong(format!("the server did not start: {:?}", starting.wait()));
            return;
        }
        let _ = starting.kill();
        self.kills[1] += 1;
    }

    fn load_and_kill(&mut self, server: Server, access: Access) {
        let until = Instant::now() + Duration::from_secs(60);
        // Short ones are more frequent: what is under way at the kill is what counts.
        let ms = 100 + self.dice.below(1400) * self.dice.below(1000) / 1000;
        let beside = self.dice.chance(10).then(|| self.dice.below(3));
        let mut workers = std::mem::take(&mut self.workers);
        let cycle = self.cycle;
        let (world, ledger, next) = (&self.world, &self.ledger, &self.next);
        let answered = Mutex::default();
        let shared = Shared { access, ledger, next, cycle, until, answered: &answered };
        let ran: Option<Ran> = std::thread::scope(|s| {
            let shared = &shared;
            for worker in &mut workers {
                s.spawn(move || worker.run(shared));
            }
            let command = beside.map(|which| s.spawn(move || beside_a_server(world, which, cycle)));
            let _ = self.clock.1.recv_timeout(Duration::from_millis(ms));
            kill(server.pid());
            command.and_then(|c| c.join().ok())
        });
        self.workers = workers;
        let ended = server.kill();
        self.kills[0] += 1;
        if ended.err.contains("panicked") || ended.err.contains("ERROR") {
            self.wrong(format!("the server said: {}", ended.err));
        }
        if self.dice.chance(15) {
            let answered = answered.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.receipts(&answered);
        }
        if let (Some(which), Some(ran)) = (beside, ran) {
            self.tally.beside += 1;
            if ran.code != Some(0) {
                self.wrong(format!("command {which} beside the server: {ran:?}"));
            } else if which == 0 {
                self.users.push(format!("user-{cycle}"));
            } else if which == 1 {
                self.token = ran.json()["token"].as_str().unwrap_or_default().to_owned();
            }
        }
    }

    /// Every answer of the load has its entry in the audit log: it was durable before the
    /// answer left.
    fn receipts(&mut self, answered: &[(&'static str, String)]) {
        // Each request has a few entries; those of the start and of looks come before.
        let most = (answered.len() * 8 + 400).to_string();
        let ran = self.world.run(&["audit", "tail", "-n", &most]);
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
        let all = json.as_array().cloned().unwrap_or_default();
        let entered: BTreeSet<&str> = all.iter().filter_map(|e| e["request"].as_str()).collect();
        self.tally.receipts += answered.len() as u64;
        for (kind, number) in answered {
            if !entered.contains(number.as_str()) {
                self.wrong(format!("the audit log has no entry of request {number} ({kind})"));
            }
        }
    }

    /// An import while the server is down: killed on its way, or run to its end, or
    /// killed and run again.
    fn import(&mut self) {
        let dir = self.world.dir().join(format!("import-{}", self.cycle));
        let parts = match self.imported(&dir) {
            Ok(parts) => parts,
            Err(e) => return self.wrong(format!("an import can't be prepared: {e}")),
        };
        let attempt = |acknowledged| Attempt {
            kind: "import",
            parts: parts.clone(),
            atomic: false,
            acknowledged,
        };
        if self.dice.chance(65) {
            let mut importing = self.world.start(&["import", &dir.to_string_lossy()]);
            self.pause(0, 500);
            let ended = importing.ended();
            let ran = importing.kill();
            self.kills[2] += u64::from(!ended);
            self.imports_done(&ran, attempt(ran.code == Some(0)));
        }
        if self.dice.chance(50) {
            let ran = self.world.run(&["import", &dir.to_string_lossy()]);
            if ran.code != Some(0) {
                self.wrong(format!("an import failed: {ran:?}"));
            }
            self.imports_done(&ran, attempt(ran.code == Some(0)));
        }
        let _ = std::fs::remove_dir_all(&dir);
    }

    fn imports_done(&mut self, ran: &Ran, attempt: Attempt) {
        if ran.code.is_some_and(|c| c != 0) {
            self.wrong(format!("an import failed: {ran:?}"));
        }
        self.tally.imports += 1;
        self.tally.imports_acknowledged += u64::from(attempt.acknowledged);
        held(&self.ledger).count("import").sent += 1;
        held(&self.ledger).doubt(attempt);
    }

    /// Files to import, and what they write.
    fn imported(&mut self, dir: &Path) -> std::io::Result<Vec<Part>> {
        std::fs::create_dir_all(dir)?;
        let mut parts = Vec::new();
        for file in 0..self.dice.below(4) + 1 {
            let mut text = String::new();
            for line in 0..self.dice.below(60) + 1 {
                let marker = format!("imp-c{}-{file}-{line}", self.cycle);
                let n = self.next.fetch_add(1, Ordering::Relaxed);
                let mut body = dice::observation(&mut self.dice, &marker, n);
                body["id"] = marker.clone().into();
                let _ = writeln!(text, "{body}");
                parts.push(Part {
                    target: Target::Known(format!("Observation/{marker}")),
                    state: State::Body(dice::fingerprint(&body)),
                    if_match: None,
                });
            }
            std::fs::write(dir.join(format!("{file}.ndjson")), text)?;
        }
        Ok(parts)
    }

    /// The thorough look: verify what the crash left, then a server's answers against
    /// the whole ledger, then a stop in order, verify again, and the index against its
    /// rebuild.
    fn deep(&mut self, last: bool) {
        self.verify(false);
        let Some((server, access)) = self.serve() else { return };
        self.settle(&access);
        if last {
            // `verify` has every version's hash; some are read once more all the same.
            for record in held(&self.ledger).records.values_mut() {
                if self.dice.chance(10) {
                    record.checked = 0;
                }
            }
        }
        let (records, looked) = deep::compare(&access, &self.ledger);
        self.tally.records = records;
        self.tally.looked += looked;
        self.tally.deep += 1;
        let stopped = server.stop();
        if stopped.code != Some(0) {
            self.wrong(format!("the server did not stop in order: {stopped:?}"));
        }
        self.verify(true);
        self.tally.index_checks += 1;
        let ran = self.world.run(&["index", "check"]);
        if ran.code != Some(0) {
            self.wrong(format!("the index is not what its rebuild is: {ran:?}"));
        }
        let listed = self.world.run(&["user", "list"]);
        for user in &self.users {
            if !listed.out.contains(&format!("\"{user}\"")) {
                self.wrong(format!("the account {user} was added and is lost"));
            }
        }
    }

    fn verify(&mut self, stopped: bool) {
        let ran = self.world.run(&["verify"]);
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
        self.tally.verified += 1;
        if ran.code != Some(0) {
            self.wrong(format!("verify: {ran:?}"));
            return;
        }
        let open = json["open_intents"].as_u64();
        self.tally.entries = json["entries"].as_u64().unwrap_or(0);
        match open {
            Some(0) => {}
            Some(n) if !stopped => self.tally.found_open += n,
            other => self.wrong(format!("{other:?} intents are open after a stop in order")),
        }
    }

    fn line(&self) -> String {
        let ledger = held(&self.ledger);
        let versions: usize = ledger.records.values().map(|r| r.versions.len()).sum();
        format!(
            "{} kills, {} records, {versions} versions, {} audit entries, {} wrong",
            self.killed(),
            ledger.records.len(),
            self.tally.entries,
            ledger.wrong.len()
        )
    }

    fn report(self, took: Duration) -> Report {
        let table = self.table(took);
        let Run { world, ledger, kills, .. } = self;
        let mut ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        let wrong = std::mem::take(&mut ledger.wrong);
        let home = (!wrong.is_empty()).then(|| world.keep());
        if let Some(home) = &home {
            let _ = std::fs::write(home.with_file_name("ledger.txt"), format!("{ledger:#?}"));
        }
        Report { kills, wrong, table, home }
    }

    fn table(&self, took: Duration) -> String {
        let ledger = held(&self.ledger);
        let mut t = format!(
            "{:<22}{:>9}{:>14}{:>9}{:>22}{:>18}\n",
            "operation", "sent", "acknowledged", "refused", "no answer: there", "not there"
        );
        for (kind, c) in &ledger.counts {
            let _ = writeln!(
                t,
                "{kind:<22}{:>9}{:>14}{:>9}{:>22}{:>18}",
                c.sent, c.acknowledged, c.refused, c.there, c.absent
            );
        }
        let versions: usize = ledger.records.values().map(|r| r.versions.len()).sum();
        let mut starts = self.starts.clone();
        starts.sort();
        let start = |at: usize| starts.get(at).map_or(0, Duration::as_millis);
        let [load, start_kills, import] = self.kills;
        let rows = [
            ("kills", format!("{load} under load, {start_kills} at start, {import} of imports")),
            (
                "starts",
                format!(
                    "{}, median {} ms, longest {} ms",
                    starts.len(),
                    start(starts.len() / 2),
                    start(starts.len().saturating_sub(1))
                ),
            ),
            ("records and versions", format!("{} and {versions}", ledger.records.len())),
            ("contested identifiers", ledger.contested.len().to_string()),
            ("looks after a start", format!("{} records", self.tally.settled)),
            (
                "thorough looks",
                format!(
                    "{}: {} records at the end, {} versions read back",
                    self.tally.deep, self.tally.records, self.tally.looked
                ),
            ),
            (
                "verify",
                format!(
                    "{} times, {} audit entries at the end, {} open intents seen after kills",
                    self.tally.verified, self.tally.entries, self.tally.found_open
                ),
            ),
            ("index against rebuild", format!("{} times", self.tally.index_checks)),
            (
                "imports",
                format!(
                    "{}, {} of them to their end",
                    self.tally.imports, self.tally.imports_acknowledged
                ),
            ),
            ("answers with entries", format!("{} looked for", self.tally.receipts)),
            ("commands beside", self.tally.beside.to_string()),
            ("time", format!("{} s", took.as_secs())),
            ("wrong", ledger.wrong.len().to_string()),
        ];
        t.push('\n');
        for (name, value) in rows {
            let _ = writeln!(t, "{name:<22}{value}");
        }
        t
    }
}

fn new_token(world: &World) -> Option<String> {
    let ran = world.run(&["token", "--user", "torture", "--purpose", "TREAT"]);
    serde_json::from_str::<serde_json::Value>(&ran.out).ok()?["token"].as_str().map(str::to_owned)
}

/// A command beside a running server, which may be killed meanwhile.
fn beside_a_server(world: &World, which: u64, cycle: u64) -> Ran {
    match which {
        0 => world.run(&["user", "add", &format!("user-{cycle}"), "--role", "nurse"]),
        1 => world.run(&["token", "--user", "torture", "--purpose", "TREAT"]),
        _ => world.run(&["audit", "tail", "-n", "3"]),
    }
}
