//! The keystore's SQL: every statement on its tables, and nothing of keys' meaning.

use std::fmt;

use phial_base::step::Step;
use phial_base::{KeyHandle, TenantId};
use phial_crypto::{KeyKind, KeyLabel, RootProvider, SecretKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::durable;
use crate::error::{Error, Fault};

/// What a key is for within its kind: a keyed name, a period, a generation.
pub(super) type Subject = [u8; 16];
/// The subject of kinds that a tenant has one of.
pub(super) const SINGLE: Subject = [0; 16];

/// Format 1. `key.wrapped` starts with the tenant key's version as four bytes rather
/// than in a column, because SQLite's integers change size with their value and rows
/// must not.
pub(super) const FORMAT_1: &str = "
CREATE TABLE tenant(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL);
CREATE TABLE key(
  id INTEGER PRIMARY KEY, handle BLOB NOT NULL, tenant INTEGER NOT NULL REFERENCES tenant(id),
  kind INTEGER NOT NULL, subject BLOB NOT NULL, version INTEGER NOT NULL,
  created INTEGER NOT NULL, live INTEGER NOT NULL, wrapped BLOB NOT NULL);
CREATE UNIQUE INDEX key_by_handle ON key(handle);
CREATE UNIQUE INDEX key_by_subject ON key(tenant, kind, subject) WHERE live = 1;
CREATE INDEX key_history ON key(tenant, kind, subject) WHERE live = 0;
CREATE TABLE member(
  patient BLOB NOT NULL, joint INTEGER NOT NULL REFERENCES key(id),
  PRIMARY KEY(patient, joint)) WITHOUT ROWID;
CREATE TABLE tombstone(
  handle BLOB PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant(id),
  kind INTEGER NOT NULL, subject BLOB NOT NULL,
  destroyed_at INTEGER NOT NULL, copies_until INTEGER NOT NULL) WITHOUT ROWID;
";

/// A live key as stored.
pub(super) struct KeyRow {
    pub(super) id: i64,
    pub(super) handle: KeyHandle,
    pub(super) subject: Subject,
    pub(super) version: u32,
    pub(super) tenant_version: u32,
    pub(super) wrapped: Vec<u8>,
}

impl fmt::Debug for KeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRow({})", self.handle)
    }
}

const COLUMNS: &str = "id, handle, subject, version, wrapped";

/// The tenant key's version before the wrapped bytes.
pub(super) fn stored_wrap(tenant_version: u32, wrapped: &[u8]) -> Vec<u8> {
    let mut out = tenant_version.to_be_bytes().to_vec();
    out.extend_from_slice(wrapped);
    out
}

fn key_row(r: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let damaged = || rusqlite::Error::InvalidQuery;
    let stored = r.get_ref(4)?.as_blob().map_err(|_| damaged())?;
    let (version, wrapped) = stored.split_first_chunk::<4>().ok_or_else(damaged)?;
    Ok(KeyRow {
        id: r.get(0)?,
        handle: KeyHandle(r.get(1)?),
        subject: r.get(2)?,
        version: r.get(3)?,
        tenant_version: u32::from_be_bytes(*version),
        wrapped: wrapped.to_vec(),
    })
}

/// Records the root key's name in a new file, or checks it in an old one.
pub(super) fn claim_root(conn: &Connection, key_id: &str) -> Result<(), Error> {
    if root_of(conn)?.is_none() {
        durable::execute(Step::KeysClaim, conn, || {
            Ok(conn.execute("INSERT OR IGNORE INTO meta VALUES('root_key', ?1)", [key_id])?)
        })?;
    }
    if root_of(conn)?.as_deref() == Some(key_id) { Ok(()) } else { Err(Error::OtherRootKey) }
}

/// The name of the root key that the tenant keys are wrapped under.
pub(super) fn root_of(conn: &Connection) -> Result<Option<String>, Error> {
    Ok(conn
        .query_row("SELECT value FROM meta WHERE name='root_key'", [], |r| r.get(0))
        .optional()?)
}

/// The row of a new tenant; `None` when the name is taken.
pub(super) fn insert_tenant(conn: &Connection, tenant: &TenantId) -> Result<Option<i64>, Error> {
    let n = conn.execute(
        "INSERT INTO tenant(name, version) VALUES(?1, 1) ON CONFLICT DO NOTHING",
        [tenant.as_str()],
    )?;
    Ok((n == 1).then(|| conn.last_insert_rowid()))
}

/// The tenant's row and the current version of its key.
pub(super) fn tenant(conn: &Connection, tenant: &TenantId) -> Result<Option<(i64, u32)>, Error> {
    Ok(conn
        .prepare_cached("SELECT id, version FROM tenant WHERE name=?1")?
        .query_row([tenant.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?)
}

fn unfinished(tenant: &TenantId) -> String {
    format!("unfinished.{tenant}")
}

/// Notes that the tenant's stores are being made.
pub(super) fn mark_unfinished(conn: &Connection, tenant: &TenantId) -> Result<(), Error> {
    conn.execute("INSERT INTO meta VALUES(?1, 1)", [unfinished(tenant)])?;
    Ok(())
}

/// Whether the tenant's stores are still being made.
pub(super) fn is_unfinished(conn: &Connection, tenant: &TenantId) -> Result<bool, Error> {
    Ok(conn
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM meta WHERE name=?1)")?
        .query_row([unfinished(tenant)], |r| r.get(0))?)
}

/// Notes that they are whole.
pub(super) fn mark_ready(conn: &Connection, tenant: &TenantId) -> Result<(), Error> {
    durable::execute(Step::KeysTenantReady, conn, || {
        conn.execute("DELETE FROM meta WHERE name=?1", [unfinished(tenant)])?;
        Ok(())
    })
}

/// All tenants, those that are still being made included.
pub(super) fn tenants(conn: &Connection) -> Result<Vec<TenantId>, Error> {
    let mut statement = conn.prepare("SELECT name FROM tenant ORDER BY name")?;
    let names = statement.query_map([], |r| r.get::<_, String>(0))?;
    names
        .map(|n| TenantId::new(&n?).map_err(|_| Error::Corrupt("a tenant's name is not one")))
        .collect()
}

pub(super) fn insert(
    conn: &Connection,
    tenant_row: i64,
    label: &KeyLabel,
    subject: &Subject,
    tenant_version: u32,
    wrapped: &[u8],
    created: i64,
) -> Result<i64, Error> {
    conn.prepare_cached(
        "INSERT INTO key(handle, tenant, kind, subject, version, created, live, wrapped)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, 1, ?7)",
    )?
    .execute(params![
        label.handle.0,
        tenant_row,
        label.kind as u8,
        subject,
        label.version,
        created,
        stored_wrap(tenant_version, wrapped)
    ])?;
    Ok(conn.last_insert_rowid())
}

pub(super) fn insert_members(
    conn: &Connection,
    joint: i64,
    members: &[Subject],
) -> Result<(), Error> {
    let mut statement =
        conn.prepare_cached("INSERT OR IGNORE INTO member(patient, joint) VALUES(?1, ?2)")?;
    for m in members {
        statement.execute(params![m, joint])?;
    }
    Ok(())
}

/// The live key of this kind and subject.
pub(super) fn by_subject(
    conn: &Connection,
    tenant_row: i64,
    kind: KeyKind,
    subject: &Subject,
) -> Result<Option<KeyRow>, Error> {
    Ok(conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM key WHERE tenant=?1 AND kind=?2 AND subject=?3 AND live=1"
        ))?
        .query_row(params![tenant_row, kind as u8, subject], key_row)
        .optional()?)
}

/// The live key with this handle, and the number of its kind.
pub(super) fn by_handle(
    conn: &Connection,
    tenant_row: i64,
    handle: KeyHandle,
) -> Result<Option<(u8, KeyRow)>, Error> {
    Ok(conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, kind FROM key WHERE handle=?2 AND tenant=?1 AND live=1"
        ))?
        .query_row(params![tenant_row, handle.0], |r| Ok((r.get(5)?, key_row(r)?)))
        .optional()?)
}

/// The greatest subject of this kind, dead or alive, and whether it lives.
pub(super) fn newest(
    conn: &Connection,
    tenant_row: i64,
    kind: KeyKind,
) -> Result<Option<(Subject, bool)>, Error> {
    Ok(conn
        .prepare_cached(
            "SELECT subject, live FROM (SELECT * FROM (
               SELECT subject, live FROM key WHERE tenant=?1 AND kind=?2 AND live=1
               ORDER BY subject DESC LIMIT 1)
             UNION ALL SELECT * FROM (
               SELECT subject, live FROM key WHERE tenant=?1 AND kind=?2 AND live=0
               ORDER BY subject DESC LIMIT 1))
             ORDER BY subject DESC, live DESC LIMIT 1",
        )?
        .query_row(params![tenant_row, kind as u8], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?)
}

/// The tenant key, unwrapped by the root key's provider.
pub(super) fn open_tenant_key(
    conn: &Connection,
    tenant_row: i64,
    tenant: &TenantId,
    version: u32,
    root: &dyn RootProvider,
) -> Result<SecretKey, Error> {
    let row = by_subject(conn, tenant_row, KeyKind::Tenant, &SINGLE)?
        .ok_or(Error::Corrupt("a tenant's key is missing"))?;
    if row.version != version {
        return Err(Error::Corrupt("a tenant's key is not of the version it should be"));
    }
    let label =
        KeyLabel { tenant: tenant.clone(), kind: KeyKind::Tenant, handle: row.handle, version };
    phial_crypto::unwrap_under_root(root, &label, &row.wrapped)
        .map_err(|_| Error::Unavailable(Fault::RootKey))
}

/// Puts other bytes of the same length in the place of a wrapped key.
pub(super) fn overwrite(conn: &Connection, id: i64, stored: &[u8]) -> Result<(), Error> {
    conn.prepare_cached("UPDATE key SET wrapped=?2 WHERE id=?1")?.execute(params![id, stored])?;
    Ok(())
}

/// Overwrites a wrapped key with zeros. The row stays, dead.
pub(super) fn erase(conn: &Connection, row: &KeyRow) -> Result<(), Error> {
    let zeros = vec![0u8; row.wrapped.len() + 4];
    conn.prepare_cached("UPDATE key SET wrapped=?2, live=0 WHERE id=?1")?
        .execute(params![row.id, zeros])?;
    Ok(())
}

/// A page of the tenant's live keys other than the tenant key itself, by row number.
pub(super) fn page(
    conn: &Connection,
    tenant_row: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<(u8, KeyRow)>, Error> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, kind FROM key
         WHERE id > ?1 AND tenant=?2 AND live=1 AND kind<>?3 ORDER BY id LIMIT ?4"
    ))?;
    let rows = statement
        .query_map(params![after, tenant_row, KeyKind::Tenant as u8, limit], |r| {
            Ok((r.get(5)?, key_row(r)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows)
}

/// The live joint keys that this patient is a member of.
pub(super) fn joints_of(
    conn: &Connection,
    tenant_row: i64,
    patient: &Subject,
) -> Result<Vec<KeyHandle>, Error> {
    let mut statement = conn.prepare_cached(
        "SELECT k.handle FROM member m JOIN key k ON k.id = m.joint
         WHERE m.patient=?2 AND k.tenant=?1 AND k.live=1 ORDER BY k.id",
    )?;
    let handles = statement
        .query_map(params![tenant_row, patient], |r| r.get(0).map(KeyHandle))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(handles)
}
