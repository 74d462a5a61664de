//! How the stores of a tenant stand, for an operator's check-up: sizes, ages, states.
//!
//! It opens files for reading only and writes nothing, so it may look beside a running
//! server and at a home that is broken. It gives no name, no id and no value of a
//! record. Whether the content is what was written is for [`crate::verify`].

use std::path::Path;

use jiff::Timestamp;
use phial_base::TenantId;
use phial_crypto::KeyKind;
use rusqlite::OptionalExtension;

use crate::auditlog::{KeysOf, audit_error, beside_keys, each, open_intents, open_stored, tail};
use crate::error::Error;
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Options, open_read_only};

/// An audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHealth {
    /// Entries.
    pub entries: u64,
    /// When the last entry was made.
    pub last: Option<Timestamp>,
    /// Writes whose end is not written down yet.
    pub open_intents: u64,
    /// Entries under the latest checkpoint, and when it was signed.
    pub checkpoint: Option<(u64, Timestamp)>,
    /// The copy of a checkpoint beside the keys.
    pub copy: Copy,
    /// Copies that were put aside, because the log did not know them.
    pub aside: u64,
}

/// How the copy beside the keys stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// It is the latest checkpoint, or one before it.
    Known,
    /// There is none.
    Missing,
    /// The log does not know it: the log was cut or exchanged.
    Unknown,
}

/// A tenant's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantKeyHealth {
    /// Its version.
    pub version: u32,
    /// When it was made.
    pub made: Timestamp,
}

/// Sessions of all tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsHealth {
    /// Those that still hold at this moment.
    pub living: u64,
    /// Those that have ended and are still kept.
    pub ended: u64,
}

/// A tenant's local index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHealth {
    /// The generation that is in use.
    pub generation: u64,
    /// Bytes on disk; `None` when there is no file: it is built at the next start.
    pub bytes: Option<u64>,
    /// Index files of other generations: their keys are destroyed, they should be gone.
    pub strange: u64,
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn moment(us: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(us).map_err(|_| Error::Corrupt("a time is none"))
}

/// Looks at a tenant's audit log.
///
/// # Errors
/// [`Error`] when it can't be opened or read, or its last entry does not open.
pub fn audit(
    home: &Home,
    tenant: &TenantId,
    keystore: &Keystore,
    options: &Options,
) -> Result<AuditHealth, Error> {
    let db = open_read_only(&home.audit(tenant), options)?;
    let entries = tail(&db)?.frontier.size();
    let mut last = None;
    let keys = KeysOf { tenant, keystore };
    each(&db, entries.saturating_sub(1), &mut |_, stored| {
        let entry = open_stored(tenant, &keys, stored).map_err(|e| audit_error(&e))?;
        last = Some(entry.at);
        Ok(true)
    })?;
    let checkpoint: Option<(i64, i64)> = db
        .query_row("SELECT size, at FROM checkpoint ORDER BY size DESC LIMIT 1", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .optional()?;
    let checkpoint = match checkpoint {
        Some((size, at)) => Some((unsigned(size), moment(at)?)),
        None => None,
    };
    let path = home.checkpoint(tenant);
    let notes = beside_keys(&path)?;
    let mut copy = Copy::Missing;
    let mut aside = 0;
    for (file, note) in &notes {
        if *file != path {
            aside += 1;
            continue;
        }
        let known: bool =
            db.query_row("SELECT EXISTS(SELECT 1 FROM checkpoint WHERE note = ?1)", [note], |r| {
                r.get(0)
            })?;
        copy = if known { Copy::Known } else { Copy::Unknown };
    }
    let open_intents = u64::try_from(open_intents(&db)?.len()).unwrap_or(u64::MAX);
    Ok(AuditHealth { entries, last, open_intents, checkpoint, copy, aside })
}

/// Looks at a tenant's key.
///
/// # Errors
/// [`Error`] when the keystore can't be opened or read, or has no such tenant.
pub fn tenant_key(
    home: &Home,
    tenant: &TenantId,
    options: &Options,
) -> Result<TenantKeyHealth, Error> {
    let db = open_read_only(&home.keystore(), options)?;
    let found: Option<(u32, i64)> = db
        .query_row(
            "SELECT key.version, key.created FROM key JOIN tenant ON tenant.id = key.tenant \
             WHERE tenant.name = ?1 AND key.kind = ?2 AND key.live = 1",
            rusqlite::params![tenant.as_str(), KeyKind::Tenant as u8],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .optional()?;
    let (version, made) = found.ok_or(Error::NoTenant)?;
    Ok(TenantKeyHealth { version, made: moment(made)? })
}

/// Looks at the sessions.
///
/// # Errors
/// [`Error`] when the store can't be opened or read.
pub fn sessions(home: &Home, now: Timestamp, options: &Options) -> Result<SessionsHealth, Error> {
    let db = open_read_only(&home.sessions(), options)?;
    let now = now.as_microsecond();
    let (all, living): (i64, i64) = db.query_row(
        "SELECT count(*), count(*) FILTER (WHERE revoked IS NULL AND expires > ?1 \
         AND last_used + idle > ?1) FROM session",
        [now],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    Ok(SessionsHealth { living: unsigned(living), ended: unsigned(all - living) })
}

/// Looks at a tenant's index, from outside.
///
/// # Errors
/// [`Error`] when the keystore or the directory can't be read.
pub fn index(home: &Home, tenant: &TenantId, keystore: &Keystore) -> Result<IndexHealth, Error> {
    let generation = keystore.index_generation(tenant)?;
    let mut found = IndexHealth { generation, bytes: None, strange: 0 };
    let dir = home.index(tenant);
    let Ok(files) = std::fs::read_dir(&dir) else { return Ok(found) };
    let own = format!("gen-{generation}.db");
    for file in files {
        let file = file?;
        let name = file.file_name();
        let name = Path::new(&name).to_string_lossy();
        if name.starts_with(&own) {
            *found.bytes.get_or_insert(0) += file.metadata()?.len();
        } else if name.starts_with("gen-") && name.ends_with(".db") {
            found.strange += 1;
        }
    }
    Ok(found)
}
