//! The durable steps: every place where the program changes what a crash leaves
//! behind. One table, [`STEPS`], names them all and says what must hold after each of
//! the two ways in which a step fails: not done, and done but reported as failed.
//!
//! Code that writes durable state goes through [`durable`], which takes the step; the
//! lints and `cargo xtask tidy` refuse the raw calls elsewhere. Tests watch the steps
//! and make them fail. It refuses to be set by anything but code: no setting, no
//! variable and no file reaches it, and unwatched it costs one load.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// One durable step. Each is done in one place of the code; [`STEPS`] says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table below describes each")]
pub enum Step {
    Directory,
    HomeMarker,
    HomeConfig,
    RootKey,
    TlsFile,
    StoreFile,
    StoreMode,
    StoreFormat,
    KeysClaim,
    KeysTenant,
    KeysTenantReady,
    KeysNew,
    KeysIndex,
    KeysDestroy,
    KeysRetire,
    KeysReplay,
    KeysRotate,
    KeysRotateRoot,
    KeysRebuild,
    KeysScrub,
    RecordsAppend,
    RecordsDelete,
    RecordsReplace,
    RecordsFence,
    RecordsScrub,
    AuditAppend,
    AuditLater,
    AuditCheckpoint,
    PublicKey,
    CheckpointCopy,
    CheckpointAside,
    ControlAppend,
    OutboxKeep,
    OutboxForget,
    SessionIssue,
    SessionTouch,
    SessionRevoke,
    SessionPurge,
    TicketIssue,
    TicketExchange,
    TicketRevoke,
    TicketMark,
    BrowserKeep,
    BrowserForget,
    CounterKeep,
    CounterRaise,
    TallyKeep,
    BlobPut,
    BlobRemove,
    IndexOpen,
    IndexApply,
    IndexExpire,
    IndexForget,
    IndexClose,
    IndexRemove,
    SpoolAppend,
    SpoolRemove,
}

/// What of a step is done at a point. A commit is one; a file put in place whole takes
/// three, each of which can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A transaction's COMMIT, or one call of the file system.
    Whole,
    /// The bytes, written beside the name and synced.
    Write,
    /// The name.
    Name,
    /// The directory's sync, which makes the name durable.
    Sync,
}

const WHOLE: &[Part] = &[Part::Whole];
const FILE: &[Part] = &[Part::Write, Part::Name, Part::Sync];

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The step.
    pub step: Step,
    /// The store it belongs to.
    pub store: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The points in it.
    pub parts: &'static [Part],
    /// What holds when it was not done: the caller was told of a failure.
    pub not_saved: &'static str,
    /// What holds when it was done but reported as failed.
    pub saved: &'static str,
}

const fn row(
    step: Step,
    store: &'static str,
    does: &'static str,
    parts: &'static [Part],
    not_saved: &'static str,
    saved: &'static str,
) -> Row {
    Row { step, store, does, parts, not_saved, saved }
}

const AGAIN: &str = "the same command again finishes the work";
const DERIVED: &str = "derived: the next use or the next start makes it anew";

/// Every durable step. A test drives each through both failures.
pub const STEPS: &[Row] = &[
    row(Step::Directory, "home", "makes a directory", WHOLE, AGAIN, AGAIN),
    row(Step::HomeMarker, "home", "says that the home is whole", FILE, AGAIN, "the home is whole"),
    row(Step::HomeConfig, "home", "the first configuration", FILE, AGAIN, AGAIN),
    row(Step::RootKey, "keys", "the root key's file", FILE, AGAIN, "the key there is taken up"),
    row(Step::TlsFile, "tls", "a development certificate or key", FILE, AGAIN, AGAIN),
    row(Step::StoreFile, "every store", "makes an empty file", WHOLE, AGAIN, AGAIN),
    row(Step::StoreMode, "every store", "page size and write-ahead log", WHOLE, AGAIN, AGAIN),
    row(Step::StoreFormat, "every store", "tables and migrations", WHOLE, AGAIN, AGAIN),
    row(Step::KeysClaim, "keystore", "names the root key", WHOLE, AGAIN, AGAIN),
    row(
        Step::KeysTenant,
        "keystore",
        "a tenant and its own keys",
        WHOLE,
        "there is no such tenant",
        "the tenant is not served until its stores are whole; the command again makes them so",
    ),
    row(
        Step::KeysTenantReady,
        "keystore",
        "says that a tenant's stores are whole",
        WHOLE,
        "the tenant is not served; the command again finishes it",
        "the tenant is served",
    ),
    row(
        Step::KeysNew,
        "keystore",
        "keys of patients, sets of patients and audit periods",
        WHOLE,
        "nothing was sealed under the keys; they are made at the next use",
        "the keys are found at the next use, not made twice",
    ),
    row(Step::KeysIndex, "keystore", "an index's page key", WHOLE, DERIVED, DERIVED),
    row(
        Step::KeysDestroy,
        "keystore",
        "destroys a key and leaves a tombstone",
        WHOLE,
        "the key lives; the command again destroys it",
        "the key is gone at once, also for keys held; the command again certifies it",
    ),
    row(Step::KeysRetire, "keystore", "destroys index page keys", WHOLE, DERIVED, DERIVED),
    row(Step::KeysReplay, "keystore", "destroys again what was destroyed", WHOLE, AGAIN, AGAIN),
    row(
        Step::KeysRotate,
        "keystore",
        "a new tenant key, all keys below wrapped anew",
        WHOLE,
        "the old tenant key stays in use",
        "the new tenant key is in use",
    ),
    row(
        Step::KeysRotateRoot,
        "keystore",
        "all tenant keys wrapped under another root key",
        WHOLE,
        "the old root key stays in use",
        "the new root key opens the keystore",
    ),
    row(Step::KeysRebuild, "keystore", "builds the file anew", WHOLE, AGAIN, AGAIN),
    row(
        Step::KeysScrub,
        "keystore",
        "empties the write-ahead log of destroyed keys",
        WHOLE,
        "told as not scrubbed; opening the keystore scrubs it",
        "nothing is left in it",
    ),
    row(
        Step::RecordsAppend,
        "records",
        "new versions",
        WHOLE,
        "none of them is there; the intent is closed as not committed",
        "all of them are there; the intent is closed as committed",
    ),
    row(
        Step::RecordsDelete,
        "records",
        "deletes versions whose key is destroyed",
        WHOLE,
        "the next start deletes them",
        "they are gone, and the log said so before",
    ),
    row(
        Step::RecordsReplace,
        "records",
        "puts versions that were sealed again, with other labels, in the place of the old ones",
        WHOLE,
        "the old ones are there; the next start goes on with them",
        "the new ones are there, and the log said so before; the next start goes on after them",
    ),
    row(
        Step::RecordsFence,
        "records",
        "takes the place of a half-written transaction",
        WHOLE,
        "nothing is served until a fence is committed",
        "a fence is committed; another does no harm",
    ),
    row(
        Step::RecordsScrub,
        "records",
        "empties the write-ahead log",
        WHOLE,
        "told as not scrubbed; settling scrubs it",
        "nothing is left in it",
    ),
    row(
        Step::AuditAppend,
        "audit",
        "entries that someone waits for: intents, reads, refusals",
        WHOLE,
        "no receipt: nothing is released or stored",
        "no receipt; the entries say more than was done, never less",
    ),
    row(
        Step::AuditLater,
        "audit",
        "outcomes that nobody waits for",
        WHOLE,
        "tried again, and closed by recovery after a crash",
        "seen to be there, and not written twice",
    ),
    row(
        Step::AuditCheckpoint,
        "audit",
        "a signed checkpoint",
        WHOLE,
        "the next one covers the same entries",
        "it is there and is copied beside the keys with the next one",
    ),
    row(Step::PublicKey, "audit", "the log's public key", FILE, AGAIN, AGAIN),
    row(
        Step::CheckpointCopy,
        "audit",
        "the checkpoint beside the keys",
        FILE,
        "the copy before stays; tried again",
        "the copy is there; writing it again changes nothing",
    ),
    row(
        Step::CheckpointAside,
        "audit",
        "keeps a checkpoint that the log does not know",
        FILE,
        "it still lies at its place; nothing is written over it",
        "it lies aside too",
    ),
    row(
        Step::ControlAppend,
        "control",
        "a version of an account, role or grant",
        WHOLE,
        "the version before holds",
        "the new version holds at the next look",
    ),
    row(
        Step::OutboxKeep,
        "outbox",
        "how far a subscription has come, and the events numbered for it",
        WHOLE,
        "nothing is sent; events are found and numbered again",
        "events that were numbered are sent under their numbers",
    ),
    row(
        Step::OutboxForget,
        "outbox",
        "forgets a subscription that is no more",
        WHOLE,
        "it is forgotten at the next look, and told nothing meanwhile",
        "it is forgotten",
    ),
    row(Step::SessionIssue, "sessions", "a token", WHOLE, "no token", "no token was shown"),
    row(
        Step::SessionTouch,
        "sessions",
        "a token's last use",
        WHOLE,
        "the session can't be judged and is not good",
        "the session can't be judged now and is good at the next use",
    ),
    row(
        Step::SessionRevoke,
        "sessions",
        "withdraws tokens",
        WHOLE,
        "the token is good until it is withdrawn again",
        "the token is not good",
    ),
    row(Step::SessionPurge, "sessions", "removes what ended", WHOLE, AGAIN, AGAIN),
    row(Step::TicketIssue, "tickets", "a ticket", WHOLE, "no ticket", "no ticket was shown"),
    row(
        Step::TicketExchange,
        "tickets",
        "uses up a code or a refresh token and makes what is given for it",
        WHOLE,
        "it is as good as before, and nothing was given",
        "it is used up, and what was made for it was shown to nobody",
    ),
    row(
        Step::TicketRevoke,
        "tickets",
        "withdraws tickets",
        WHOLE,
        "they are good until they are withdrawn again",
        "they are not good",
    ),
    row(
        Step::TicketMark,
        "tickets",
        "marks an assertion as used",
        WHOLE,
        "it was not taken",
        "it was not taken, and is not good any more",
    ),
    row(
        Step::BrowserKeep,
        "sessions",
        "remembers that an account logged in from a browser",
        WHOLE,
        "the browser is a new one at the next log-in",
        "the browser is known at the next log-in",
    ),
    row(
        Step::BrowserForget,
        "sessions",
        "forgets an account's browsers",
        WHOLE,
        "they are known until they are forgotten again",
        "they are new ones",
    ),
    row(
        Step::CounterKeep,
        "sessions",
        "how often someone failed",
        WHOLE,
        "the attempt is refused, and counted until the next start",
        "the attempt is refused, and counted",
    ),
    row(
        Step::CounterRaise,
        "sessions",
        "uses up a one-time code",
        WHOLE,
        "the code is refused now and good at the next try",
        "the code is used up, and nobody got in by it",
    ),
    row(
        Step::TallyKeep,
        "sessions",
        "which patients accounts read within their window",
        WHOLE,
        "kept the next time; until then a start reads more of the audit log",
        "kept; counting it again changes nothing",
    ),
    row(
        Step::BlobPut,
        "blobs",
        "an attachment: its bytes, its name",
        FILE,
        "the intent is closed as not committed, and the blob goes before it",
        "the same: its record was not committed",
    ),
    row(
        Step::BlobRemove,
        "blobs",
        "deletes an attachment that no record names, or whose key is destroyed",
        WHOLE,
        "the next start deletes it",
        "it is gone, and the log said so before",
    ),
    row(Step::IndexOpen, "index", "tables, and that it is open", WHOLE, DERIVED, DERIVED),
    row(Step::IndexApply, "index", "takes in versions", WHOLE, DERIVED, DERIVED),
    row(Step::IndexExpire, "index", "drops superseded versions", WHOLE, DERIVED, DERIVED),
    row(Step::IndexForget, "index", "drops a patient", WHOLE, DERIVED, DERIVED),
    row(Step::IndexClose, "index", "says that it is whole", WHOLE, DERIVED, DERIVED),
    row(Step::IndexRemove, "index", "deletes a file", WHOLE, DERIVED, DERIVED),
    row(
        Step::SpoolAppend,
        "jobs",
        "adds to a file of a job",
        WHOLE,
        "the step is done once more",
        "the step is done once more, and writes over what it added",
    ),
    row(
        Step::SpoolRemove,
        "jobs",
        "deletes the files of a job, whose key is destroyed",
        WHOLE,
        "the next look at the job deletes them",
        "they are gone",
    ),
];

/// A place in a run where durable state is about to change.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The step.
    pub step: Step,
    /// What of it.
    pub part: Part,
    /// The file or directory that changes.
    pub path: &'a Path,
}

/// What a watcher wants of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Do,
    /// Don't, and report a failure.
    Fail,
    /// Do it, and report a failure.
    DoThenFail,
}

/// Someone who sees every point: a test.
pub trait Watch: Sync {
    /// Before it is done.
    fn before(&self, point: &Point<'_>) -> Verdict;
    /// After it was done or made to fail.
    fn after(&self, point: &Point<'_>);
}

static WATCHER: OnceLock<&'static dyn Watch> = OnceLock::new();

/// Shows every durable step from now on to `watcher`. For tests alone: tidy refuses a
/// call of it in the program. False when there is a watcher already.
pub fn watch(watcher: &'static dyn Watch) -> bool {
    WATCHER.set(watcher).is_ok()
}

/// Does one durable step: `act` changes `path` durably when it succeeds.
///
/// # Errors
/// Those of `act`; under a watcher an input/output error (`EIO`) as well.
pub fn durable<T, E: From<io::Error>>(
    step: Step,
    part: Part,
    path: &Path,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match WATCHER.get() {
        None => act(),
        Some(watcher) => watched(*watcher, &Point { step, part, path }, act),
    }
}

#[cold]
fn watched<T, E: From<io::Error>>(
    watcher: &dyn Watch,
    point: &Point<'_>,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    /// `EIO`: what a broken device answers.
    const EIO: i32 = 5;
    let failed = || E::from(io::Error::from_raw_os_error(EIO));
    let done = match watcher.before(point) {
        Verdict::Do => act(),
        Verdict::Fail => Err(failed()),
        Verdict::DoThenFail => act().and_then(|_| Err(failed())),
    };
    watcher.after(point);
    done
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_one_row_that_says_what_holds() {
        let steps: BTreeSet<Step> = STEPS.iter().map(|r| r.step).collect();
        assert_eq!(steps.len(), STEPS.len());
        // The last variant's number tells how many there are.
        assert_eq!(STEPS.len(), Step::SpoolRemove as usize + 1);
        for r in STEPS {
            assert!(!r.parts.is_empty());
            assert!([r.does, r.not_saved, r.saved, r.store].iter().all(|t| !t.is_empty()));
        }
    }

    #[test]
    fn unwatched_steps_are_done() {
        let done: Result<u8, io::Error> =
            durable(Step::Directory, Part::Whole, Path::new("/"), || Ok(7));
        assert_eq!(done.unwrap(), 7);
    }
}
