//! Verification: are the stores what was written? (invariant 6; 164.312(c)(1) and (2))
//!
//! It reads everything and changes nothing. Three questions, each with findings of
//! its own: is the audit log the one that was signed; does the record log hold
//! exactly what the audit log announced; does every record still unlock. It refuses
//! to print anything of a patient: findings name row ids, versions, sequence numbers
//! and positions.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phial_audit::verify::{Finding as AuditFinding, Report as AuditReport, Source, Verifier};
use phial_audit::{
    AuditKeys, DetailKey, Expected, IntentId, LedgerFinding, NoteVerifier, RecordLedger,
};
use phial_base::{KeyHandle, Rng, RowId, Seq, TenantId, Version};
use phial_crypto::{RecordName, SecretKey, content_hash};
use rusqlite::Connection;

use crate::auditlog::{self, Tail, checkpoints, each, open_stored, public_key_beside, tail};
use crate::blobs::{BLOB, Blobs};
use crate::control::ControlLog;
use crate::error::{Error, Fault};
use crate::home::Home;
use crate::keystore::{HeldKey, Keystore};
use crate::open::{Options, open_store};
use crate::outbox::Outbox;
use crate::records::RecordLog;

/// Findings that a report lists; more are counted only.
pub const MAX_FINDINGS: usize = 10_000;

/// A store that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// The record log.
    Records,
    /// The audit log.
    Audit,
    /// The control log.
    Control,
    /// The outbox.
    Outbox,
    /// The attachments.
    Blobs,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Store::Records => "record log",
            Store::Audit => "audit log",
            Store::Control => "control log",
            Store::Outbox => "outbox",
            Store::Blobs => "store of attachments",
        })
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A store's file is not there.
    StoreMissing {
        /// Which.
        store: Store,
    },
    /// SQLite finds the file damaged, or a row has not the form it was written in.
    Damaged {
        /// Which.
        store: Store,
        /// What is said about it: tables, pages and row numbers, no values.
        what: String,
    },
    /// The audit log is not the one that was signed.
    Audit(AuditFinding),
    /// An audit entry does not open with the keys that there are.
    EntryClosed {
        /// Its position.
        index: u64,
    },
    /// What the appender remembers does not follow from the entries.
    AuditState {
        /// Which of its tables.
        table: &'static str,
    },
    /// The copy of the latest checkpoint beside the keys is missing.
    NoCheckpointBesideKeys,
    /// A published public key is not the one that signs.
    OtherPublicKey {
        /// Beside what.
        beside: Store,
    },
    /// Records and audit log disagree.
    Records(LedgerFinding),
    /// The control log is not the one that the audit log last told of: accounts or
    /// their standing were rolled back or replaced.
    ControlRolledBack {
        /// The version that the audit log told of.
        told: u64,
        /// The version found.
        found: u64,
    },
    /// A record version does not unlock: its locator, head or manifest was altered, or
    /// it belongs to another row, version or tenant.
    Locked {
        /// Its place in the record log.
        seq: Seq,
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// A record's key is in the keystore no more, and no tombstone says why.
    KeyMissing {
        /// The record's place in the record log.
        seq: Seq,
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
        /// The key's handle.
        handle: KeyHandle,
    },
    /// An attachment does not say which key it is sealed under: its head was altered, or
    /// it is another's under its name.
    BlobLocked {
        /// Its name.
        name: RowId,
    },
    /// An attachment's key is in the keystore no more, and no tombstone says why.
    BlobKeyMissing {
        /// Its name.
        name: RowId,
        /// The key's handle.
        handle: KeyHandle,
    },
}

impl Finding {
    /// The finding's kind, for reports in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Finding::StoreMissing { .. } => "store-missing",
            Finding::Damaged { .. } => "store-damaged",
            Finding::Audit(a) => match a {
                AuditFinding::IndexGap { .. } | AuditFinding::EntriesMissing { .. } => {
                    "audit-entries-missing"
                }
                AuditFinding::Truncated { .. } => "audit-truncated",
                AuditFinding::RootMismatch { .. } => "audit-root-mismatch",
                AuditFinding::Fork { .. } => "audit-forked",
                AuditFinding::ChainBreak { .. } => "audit-chain-broken",
                AuditFinding::Checkpoint { .. } => "audit-checkpoint-bad",
                AuditFinding::Undecodable { .. } => "audit-entry-malformed",
                _ => "audit-out-of-order",
            },
            Finding::EntryClosed { .. } => "audit-entry-closed",
            Finding::AuditState { .. } => "audit-state-differs",
            Finding::NoCheckpointBesideKeys => "checkpoint-missing",
            Finding::OtherPublicKey { .. } => "public-key-differs",
            Finding::Records(l) if l.is_of_blob() => match l {
                LedgerFinding::Missing { .. } => "attachment-missing",
                LedgerFinding::NotAnnounced { .. } => "attachment-not-announced",
                LedgerFinding::Purged { .. } => "attachment-purged-but-there",
                _ => "attachment-altered",
            },
            Finding::Records(l) => match l {
                LedgerFinding::Missing { .. } | LedgerFinding::VersionMissing { .. } => {
                    "record-missing"
                }
                LedgerFinding::RolledBack { .. } => "record-rolled-back",
                LedgerFinding::Altered { .. } => "record-altered",
                LedgerFinding::Moved { .. } => "record-moved",
                LedgerFinding::NotAnnounced { .. } => "record-not-announced",
                LedgerFinding::Purged { .. } => "record-purged-but-there",
                LedgerFinding::Repeated { .. } => "record-repeated",
                _ => "intent-without-end",
            },
            Finding::ControlRolledBack { .. } => "control-rolled-back",
            Finding::Locked { .. } => "record-locked",
            Finding::KeyMissing { .. } => "record-key-missing",
            Finding::BlobLocked { .. } => "attachment-locked",
            Finding::BlobKeyMissing { .. } => "attachment-key-missing",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::StoreMissing { store } => write!(f, "the {store}'s file is missing"),
            Finding::Damaged { store, what } => write!(f, "the {store} is damaged: {what}"),
            Finding::Audit(a) => write!(f, "audit log: {a}"),
            Finding::EntryClosed { index } => {
                write!(f, "audit log: the entry at position {index} does not open")
            }
            Finding::AuditState { table } => {
                write!(f, "audit log: table {table} does not follow from the entries")
            }
            Finding::NoCheckpointBesideKeys => {
                f.write_str("the checkpoint beside the keys is missing")
            }
            Finding::OtherPublicKey { beside } => {
                write!(f, "the public key beside the {beside} is not the one that signs")
            }
            Finding::Records(l) => write!(f, "records: {l}"),
            Finding::ControlRolledBack { told, found } => write!(
                f,
                "the control log is at version {found} and not the one that the audit log told \
                 of at version {told}: accounts were rolled back or replaced"
            ),
            Finding::Locked { seq, row, version } => {
                write!(f, "version {version} of record {row} (sequence {seq}) does not unlock")
            }
            Finding::KeyMissing { seq, row, version, handle } => write!(
                f,
                "key {handle} of version {version} of record {row} (sequence {seq}) is missing, \
                 and no tombstone says why"
            ),
            Finding::BlobLocked { name } => write!(f, "attachment {name} does not unlock"),
            Finding::BlobKeyMissing { name, handle } => {
                write!(f, "key {handle} of attachment {name} is missing, and no tombstone says why")
            }
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that have at least one version.
    pub records: u64,
    /// Versions of records.
    pub versions: u64,
    /// Versions whose key was destroyed, as a tombstone says.
    pub forgotten: u64,
    /// Attachments beside the record log.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Audit entries.
    pub entries: u64,
    /// Signed checkpoints that agreed.
    pub checkpoints: u64,
    /// Audit entries under an agreeing checkpoint.
    pub covered: u64,
    /// Intents without an outcome. Ordinary after a crash: the next start closes them.
    pub open_intents: u64,
    /// Versions of the control log.
    pub control: u64,
    /// What is wrong, in the order of finding, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// A store that can't be read is a finding, unless it may be readable later.
    fn unreadable(&mut self, store: Store, e: Error) -> Result<(), Error> {
        match e {
            Error::Unavailable(Fault::Missing) => self.find(Finding::StoreMissing { store }),
            Error::Corrupt(_) | Error::Format { .. } | Error::Crypto(_) => {
                self.find(Finding::Damaged { store, what: e.to_string() });
            }
            other => return Err(other),
        }
        Ok(())
    }
}

/// Period keys, each fetched once; patients' parts stay closed: nothing in them is
/// needed here.
struct PeriodKeys<'a> {
    tenant: &'a TenantId,
    keystore: &'a Keystore,
    held: std::cell::RefCell<HashMap<KeyHandle, Option<Arc<HeldKey>>>>,
}

impl AuditKeys for PeriodKeys<'_> {
    fn period(
        &self,
        handle: KeyHandle,
        open: &mut dyn FnMut(&SecretKey),
    ) -> Result<(), phial_audit::Error> {
        let mut held = self.held.borrow_mut();
        let key = match held.entry(handle) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => e.insert(
                self.keystore
                    .audit_key_by_handle(self.tenant, handle)
                    .map_err(|e| phial_audit::Error::KeysUnavailable(Box::new(e)))?,
            ),
        };
        if let Some(key) = key {
            open(&key.key);
        }
        Ok(())
    }

    fn patient(
        &self,
        _: KeyHandle,
        _: &mut dyn FnMut(&SecretKey),
    ) -> Result<(), phial_audit::Error> {
        Ok(())
    }
}

/// Verifies the stores of one tenant. `external` is a checkpoint that was kept
/// elsewhere; those beside the keys are used in any case.
///
/// # Errors
/// [`Error`] when keys can't be had or a store can't be read for a reason that is no
/// finding: a lock, an I/O error.
pub fn verify(
    home: &Home,
    tenant: &TenantId,
    keystore: &Arc<Keystore>,
    rng: &Arc<dyn Rng>,
    external: Option<&str>,
    options: &Options,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let signing = keystore.tenant_keys(tenant)?.signing_key()?;
    let origin = auditlog::origin_of(tenant, &signing.public());
    let key = NoteVerifier::new(&origin, signing.public())
        .map_err(|_| Error::Invalid("not a name of a log"))?;
    let records = match RecordLog::open(&home.records(tenant), options) {
        Ok(records) => Some(records),
        Err(e) => {
            report.unreadable(Store::Records, e)?;
            None
        }
    };
    // Rows that come after this may be announced after the audit log was read.
    let head = match &records {
        Some(r) => r.head().or_else(|e| report.unreadable(Store::Records, e).map(|()| Seq(0)))?,
        None => Seq(0),
    };
    // The same of attachments: what comes after this is not judged.
    let blobs = Blobs::of(tenant, home.blobs(tenant), options.bucket.as_ref());
    let before: HashSet<RowId> = blobs
        .names()
        .or_else(|e| report.unreadable(Store::Blobs, e).map(|()| vec![]))?
        .into_iter()
        .collect();
    let mut outside = auditlog::beside_keys(&home.checkpoint(tenant))?;
    let has_copy = outside.iter().any(|(path, _)| *path == home.checkpoint(tenant));
    outside.extend(external.map(|note| (PathBuf::new(), note.to_owned())));
    let notes: Vec<&str> = outside.iter().map(|(_, note)| note.as_str()).collect();
    let audit_path = home.audit(tenant);
    for (beside, path) in
        [(Store::Audit, public_key_beside(&audit_path)), (Store::Records, home.public_key(tenant))]
    {
        let published = std::fs::read(&path).unwrap_or_default();
        if String::from_utf8_lossy(&published).trim_end() != key.vkey() {
            // The second copy lies beside the keys.
            report.find(Finding::OtherPublicKey { beside });
        }
    }
    let keys = PeriodKeys { tenant, keystore, held: std::cell::RefCell::default() };
    let mut ledger = RecordLedger::new();
    let mut control_told: Option<String> = None;
    let mut fed =
        |index, stored: phial_audit::chain::StoredRef<'_>| match open_stored(tenant, &keys, stored)
        {
            Ok(entry) => {
                ledger.feed(&entry);
                if let Some(head) = entry.detail.get(&DetailKey::ControlHead) {
                    control_told = Some(head.clone());
                }
                Ok(None)
            }
            Err(phial_audit::Error::KeysUnavailable(_)) => Err(Error::Unavailable(Fault::RootKey)),
            Err(_) => Ok(Some(Finding::EntryClosed { index })),
        };
    let read = audit(&audit_path, &key, &notes, options, &mut report, &mut fed)?;
    if let Some(read) = &read {
        if !has_copy && read.checkpoints > 1 {
            report.find(Finding::NoCheckpointBesideKeys);
        }
        let open: BTreeSet<IntentId> = ledger.open().map(|(id, _)| *id).collect();
        if read.complete && open != read.open_intents {
            report.find(Finding::AuditState { table: "open_intent" });
        }
    }
    report.open_intents = u64::try_from(ledger.open_intents()).unwrap_or(u64::MAX);
    if let Some(records) = records {
        let complete = read.is_some_and(|r| r.complete);
        let ledger = complete.then_some(ledger);
        let at = (head, &before);
        self::records(&records, &blobs, tenant, keystore, at, ledger, &mut report)?;
    }
    match ControlLog::open(home, tenant, Arc::clone(keystore), Arc::clone(rng), options)
        .and_then(|c| Ok((c.version()?, c.head()?, c.integrity()?)))
    {
        Ok((versions, head, damage)) => {
            report.control = versions;
            let told = control_told.as_deref().and_then(|t| t.split(' ').next()?.parse().ok());
            if let Some(told) = told
                && (versions < told
                    || (versions == told && control_told.as_deref() != Some(head.as_str())))
            {
                report.find(Finding::ControlRolledBack { told, found: versions });
            }
            for what in damage {
                report.find(Finding::Damaged { store: Store::Control, what });
            }
        }
        Err(e) => report.unreadable(Store::Control, e)?,
    }
    match Outbox::open(home, tenant, Arc::clone(keystore), Arc::clone(rng), options)
        .and_then(|o| Ok((o.places()?, o.integrity()?)))
    {
        Ok((_, damage)) => {
            for what in damage {
                report.find(Finding::Damaged { store: Store::Outbox, what });
            }
        }
        Err(e) => report.unreadable(Store::Outbox, e)?,
    }
    Ok(report)
}

/// Verifies an audit log from its directory, its public key and perhaps a checkpoint
/// kept elsewhere, with no key and nothing of the home.
///
/// # Errors
/// [`Error::Invalid`] when the public key can't be read as one, [`Error`] when the
/// file can't be read for a reason that is no finding.
pub fn verify_audit_offline(
    dir: &Path,
    public_key: &Path,
    checkpoint: Option<&Path>,
    options: &Options,
) -> Result<Report, Error> {
    let text = std::fs::read_to_string(public_key)?;
    let key = NoteVerifier::from_vkey(text.trim_end())
        .map_err(|_| Error::Invalid("not a public key of a log"))?;
    let note = checkpoint.map(std::fs::read_to_string).transpose()?;
    let mut report = Report::default();
    let notes: Vec<&str> = note.as_deref().into_iter().collect();
    audit(&dir.join("audit.db"), &key, &notes, options, &mut report, &mut |_, _| Ok(None))?;
    Ok(report)
}

/// What is said of an entry beyond its chain.
type Fed<'a> =
    &'a mut dyn FnMut(u64, phial_audit::chain::StoredRef<'_>) -> Result<Option<Finding>, Error>;

/// What else was read of an audit log.
struct Read {
    checkpoints: usize,
    open_intents: BTreeSet<IntentId>,
    /// Whether all entries were read and opened.
    complete: bool,
}

fn audit(
    path: &Path,
    key: &NoteVerifier,
    outside: &[&str],
    options: &Options,
    report: &mut Report,
    fed: Fed<'_>,
) -> Result<Option<Read>, Error> {
    let mut db = match open_store(path, options, &auditlog::SCHEMA) {
        Ok(db) => db,
        Err(e) => {
            report.unreadable(Store::Audit, e)?;
            return Ok(None);
        }
    };
    // One transaction: what a server appends meanwhile does not show.
    let tx = db.transaction()?;
    match integrity(&tx) {
        Ok(damage) => {
            for what in damage {
                report.find(Finding::Damaged { store: Store::Audit, what });
            }
        }
        Err(e) => report.unreadable(Store::Audit, e)?,
    }
    let mut verifier =
        Verifier::new(*key.key(), key.name()).map_err(|_| Error::Invalid("not a name of a log"))?;
    let late = |_| Error::Corrupt("a checkpoint out of place");
    for note in outside {
        verifier.checkpoint(note, Source::Elsewhere).map_err(late)?;
    }
    let own = match checkpoints(&tx) {
        Ok(own) => own,
        Err(e) => {
            report.unreadable(Store::Audit, e)?;
            Vec::new()
        }
    };
    for (size, note) in &own {
        verifier.checkpoint(note, Source::Log).map_err(late)?;
        let says = note.lines().nth(1).and_then(|n| n.parse::<u64>().ok());
        if says != Some(*size) {
            report.find(Finding::AuditState { table: "checkpoint" });
        }
    }
    let mut complete = true;
    let mut stop = None;
    let walked = each(&tx, 0, &mut |index, stored| {
        verifier.feed(index, stored);
        match fed(index, stored) {
            Ok(None) => Ok(true),
            Ok(Some(finding)) => {
                complete = false;
                report.find(finding);
                Ok(true)
            }
            Err(e) => {
                stop = Some(e);
                Ok(false)
            }
        }
    });
    if let Some(e) = stop {
        return Err(e);
    }
    if let Err(e) = walked {
        complete = false;
        report.unreadable(Store::Audit, e)?;
    }
    let state = tail(&tx);
    let claimed = state.as_ref().map(|t| t.frontier.size()).ok();
    let found = verifier.finish(claimed);
    remembered(state, &found, complete, report)?;
    let open_intents = auditlog::open_intents(&tx)
        .map(|all| all.into_iter().map(|(id, _)| id).collect())
        .or_else(|e| report.unreadable(Store::Audit, e).map(|()| BTreeSet::new()))?;
    report.entries = found.entries;
    report.checkpoints = found.checkpoints;
    report.covered = found.covered;
    for finding in found.findings {
        report.find(Finding::Audit(finding));
    }
    report.more += found.more;
    Ok(Some(Read { checkpoints: own.len(), open_intents, complete }))
}

/// Holds what the appender remembers against what follows from the entries.
fn remembered(
    state: Result<Tail, Error>,
    found: &AuditReport,
    complete: bool,
    report: &mut Report,
) -> Result<(), Error> {
    let state = match state {
        Ok(state) => state,
        Err(e) => return report.unreadable(Store::Audit, e),
    };
    if complete && found.root.is_some() && state.frontier != found.frontier {
        report.find(Finding::AuditState { table: "tree" });
    }
    let wrote = state.chains().filter(|n| n.number > 0);
    if complete && !wrote.eq(&found.nodes) {
        report.find(Finding::AuditState { table: "node" });
    }
    Ok(())
}

/// What SQLite finds wrong with a file.
pub(crate) fn integrity(db: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = db.prepare("PRAGMA integrity_check(20)")?;
    let lines = statement.query_map([], |r| r.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(lines.into_iter().filter(|l| l != "ok").collect())
}

/// Looks at every record version: against the ledger, when the audit log could be
/// read, and whether it unlocks.
fn records(
    log: &RecordLog,
    blobs: &Blobs,
    tenant: &TenantId,
    keystore: &Keystore,
    (head, before): (Seq, &HashSet<RowId>),
    ledger: Option<RecordLedger>,
    report: &mut Report,
) -> Result<(), Error> {
    match log.integrity() {
        Ok(damage) => {
            for what in damage {
                report.find(Finding::Damaged { store: Store::Records, what });
            }
        }
        Err(e) => report.unreadable(Store::Records, e)?,
    }
    let tombstones: HashSet<KeyHandle> =
        keystore.tombstones(tenant)?.into_iter().map(|t| t.handle).collect();
    let keys = keystore.tenant_keys(tenant)?;
    let mut expected = ledger.map(RecordLedger::settle);
    let mut rows = HashSet::new();
    // Written while the verification ran, so perhaps announced after the audit log
    // was read.
    let mut late = HashSet::new();
    let walked = log.all(&mut |seq, row, version, blob| {
        report.versions += 1;
        rows.insert(row);
        if seq > head {
            late.insert((row, version));
        }
        if let Some(expected) = &mut expected {
            expected.check(row, version, seq, &content_hash(blob));
        }
        let name = RecordName { tenant, row, version };
        let Ok(locator) = phial_crypto::locate(blob, &name, &keys.locator) else {
            report.find(Finding::Locked { seq, row, version });
            return Ok(());
        };
        match keystore.by_handle(tenant, locator.handle)? {
            Some(held) => {
                if phial_crypto::unlock_record(blob.to_vec(), &name, &locator, &held.key).is_err() {
                    report.find(Finding::Locked { seq, row, version });
                }
            }
            None if tombstones.contains(&locator.handle) => report.forgotten += 1,
            None => {
                let handle = locator.handle;
                report.find(Finding::KeyMissing { seq, row, version, handle });
            }
        }
        Ok(())
    });
    report.records = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    if let Err(e) = walked {
        // What was not read is not missing; the damage is the finding.
        return report.unreadable(Store::Records, e);
    }
    if let Err(e) =
        attachments(blobs, tenant, keystore, &tombstones, &keys.locator, &mut expected, report)
    {
        return report.unreadable(Store::Blobs, e);
    }
    let Some(expected) = expected else { return Ok(()) };
    for finding in expected.finish() {
        match finding {
            // Counted; whether its rows are there or not, recovery says so in the log.
            LedgerFinding::IntentOpen { .. } => {}
            LedgerFinding::NotAnnounced { row, version } if late.contains(&(row, version)) => {}
            LedgerFinding::NotAnnounced { row, version: BLOB } if !before.contains(&row) => {}
            finding => report.find(Finding::Records(finding)),
        }
    }
    Ok(())
}

/// Looks at every attachment: against the ledger, and whether its key is there.
fn attachments(
    blobs: &Blobs,
    tenant: &TenantId,
    keystore: &Keystore,
    tombstones: &HashSet<KeyHandle>,
    locator: &SecretKey,
    expected: &mut Option<Expected>,
    report: &mut Report,
) -> Result<(), Error> {
    for name in blobs.names()? {
        // One that was purged meanwhile is not there any more.
        let Some(found) = blobs.examine(name, locator)? else { continue };
        report.blobs += 1;
        report.blob_bytes += found.len;
        if let Some(expected) = expected {
            expected.check(name, BLOB, Seq(0), &found.hash);
        }
        let Some(handle) = found.handle else {
            report.find(Finding::BlobLocked { name });
            continue;
        };
        if keystore.by_handle(tenant, handle)?.is_none() && !tombstones.contains(&handle) {
            report.find(Finding::BlobKeyMissing { name, handle });
        }
    }
    Ok(())
}
