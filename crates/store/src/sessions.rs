//! The sessions store: bearer tokens and log-ins, and what they stand for
//! (164.312(a)(2)(iii), 164.312(d)).
//!
//! It owns `sessions/sessions.db`. A token is 32 random bytes and is never stored:
//! rows are found by its SHA-256. Who holds it and why lies sealed under the
//! tenant's sessions key; the file shows tenant, times and opaque handles. It
//! refuses a token that is unknown, withdrawn, idle for too long or past its end,
//! and does not say which. Roles are not kept here: they are looked up at each
//! use, so that a change holds at once. Beside the sessions lie what else changes at
//! every log-in (design §4): the browsers that accounts logged in from ([`browsers`]),
//! counters ([`counters`]) and what accounts read within a window ([`tallies`]).

pub mod browsers;
pub mod counters;
pub mod tallies;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use phial_base::step::Step;
use phial_base::{Purpose, Rng, SubjectId, TenantId};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::control::change_counter;
use crate::durable;
use crate::error::Error;
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Db, Glance, Options, Schema, Slot, create_store, open_read_only, open_store};

/// `session`: one row a token.
///
/// | column | is |
/// |---|---|
/// | hash | SHA-256 of the token |
/// | handle | 8 random bytes, the public name in audit entries and lists |
/// | tenant | the tenant's name |
/// | holder | HMAC of the account's name under the sessions key, 16 bytes |
/// | created, last_used, expires | microseconds since the epoch |
/// | idle | microseconds without use after which it ends |
/// | revoked | when it was withdrawn |
/// | sealed | account, purpose and strength of authentication, sealed |
const SCHEMA: Schema = Schema {
    store: "sessions",
    page_size: 4096,
    migrations: &[
        "CREATE TABLE session(
        hash BLOB PRIMARY KEY CHECK(length(hash) = 32),
        handle BLOB NOT NULL UNIQUE CHECK(length(handle) = 8),
        tenant TEXT NOT NULL,
        holder BLOB NOT NULL CHECK(length(holder) = 16),
        created INTEGER NOT NULL,
        last_used INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        idle INTEGER NOT NULL,
        revoked INTEGER,
        sealed BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX session_holder ON session(tenant, holder);
    CREATE INDEX session_expires ON session(expires);",
        browsers::TABLE,
        counters::TABLE,
        tallies::TABLE,
    ],
};

/// How tokens begin, so that scanners for leaked secrets can know them.
pub const TOKEN_PREFIX: &str = "phial_";
/// Use is written down at most so often.
const TOUCH: SignedDuration = SignedDuration::from_secs(30);
/// Sessions remembered between lookups.
const REMEMBERED: usize = 10_000;

/// The counter whose time says when an account last began a session.
const LAST: &[u8] = b"last session";

/// What a new session is to stand for.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The tenant whose data it opens.
    pub tenant: TenantId,
    /// The account.
    pub user: SubjectId,
    /// Why, for as long as the session lasts.
    pub purpose: Purpose,
    /// Strength of the authentication, as in `Subject::mfa`.
    pub mfa: u8,
    /// The log-in that it is, when it is to live in a browser's cookie.
    pub login: Option<Login>,
    /// It ends after so long without use.
    pub idle: SignedDuration,
    /// It ends so long after its beginning in any case.
    pub absolute: SignedDuration,
}

/// A log-in: a session that lives in a browser's cookie and never in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The browser that it is bound to: its public name, 32 hexadecimal digits.
    pub browser: String,
    /// Which factors were shown: `password totp`.
    pub how: String,
    /// When somebody last proved to be the account's person.
    pub proven: Timestamp,
    /// The invitation that it came by, while the first factors are being set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<String>,
    /// The handle of the session that it began as, when it took another's place: what hangs
    /// on the log-in goes on (decision 0065).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

/// A token just made. It can't be shown again.
pub struct Issued {
    /// The bearer token: `phial_` and 43 characters of base64url.
    pub token: Zeroizing<String>,
    /// The session's public handle.
    pub handle: String,
    /// When it ends at the latest.
    pub expires: Timestamp,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({})", self.handle)
    }
}

/// A session that is alive, or in lists, one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its public handle, 16 hexadecimal digits.
    pub handle: String,
    /// The tenant whose data it opens.
    pub tenant: TenantId,
    /// The account.
    pub user: SubjectId,
    /// Why.
    pub purpose: Purpose,
    /// Strength of the authentication.
    pub mfa: u8,
    /// The log-in that it is, when it lives in a browser's cookie.
    pub login: Option<Login>,
    /// When it began.
    pub created: Timestamp,
    /// When its use was last written down.
    pub last_used: Timestamp,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// It ends after so long without use.
    pub idle: SignedDuration,
    /// When it was withdrawn.
    pub revoked: Option<Timestamp>,
}

impl SessionRow {
    /// Whether it is neither withdrawn nor idle nor past its end.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked.is_none()
            && now < self.expires
            && now.duration_since(self.last_used) < self.idle
    }

    fn wants_touch(&self, now: Timestamp) -> bool {
        now.duration_since(self.last_used) >= TOUCH.min(self.idle / 4)
    }
}

/// What is sealed of a session. Names are part of the format: only append.
#[derive(Serialize, Deserialize)]
struct Content {
    user: SubjectId,
    purpose: Purpose,
    mfa: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
}

struct State {
    slot: Slot,
    remembered: HashMap<[u8; 32], Arc<SessionRow>>,
    data_version: Option<(i64, i64)>,
    /// As long as a glance equals this one, what is remembered is true.
    seen: Option<Glance>,
    /// Log-ins that were asked for by the handle that they began as, each true as long as a
    /// glance equals the one beside it.
    logins: HashMap<String, (Option<Glance>, SessionRow)>,
}

/// The sessions store.
pub struct Sessions {
    state: Mutex<State>,
    keystore: Arc<Keystore>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    /// Makes the store, or opens the one that is there.
    ///
    /// # Errors
    /// [`Error`] when the file can't be made or is another store's.
    pub fn create(
        home: &Home,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(|p, o| create_store(p, o, &SCHEMA), home, keystore, rng, options)
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Error`] when the file is missing, damaged or of an unknown format.
    pub fn open(
        home: &Home,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(|p, o| open_store(p, o, &SCHEMA), home, keystore, rng, options)
    }

    /// Opens the store for a look; nothing can be written.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub fn look(
        home: &Home,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(open_read_only, home, keystore, rng, options)
    }

    fn by(
        open: impl FnOnce(&Path, &Options) -> Result<Db, Error>,
        home: &Home,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let path = home.sessions();
        let slot = Slot::new(&path, options, SCHEMA, open(&path, options)?);
        let state = State {
            slot,
            remembered: HashMap::new(),
            data_version: None,
            seen: None,
            logins: HashMap::new(),
        };
        Ok(Sessions { state: Mutex::new(state), keystore, rng })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a session and its token. Rows of sessions that ended are removed in
    /// the same transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a limit is not positive; otherwise when keys or the
    /// store can't be had.
    pub fn issue(&self, new: &NewSession, now: Timestamp) -> Result<Issued, Error> {
        if new.idle <= SignedDuration::ZERO || new.absolute <= SignedDuration::ZERO {
            return Err(Error::Invalid("a session's limits must be positive"));
        }
        let expires = now
            .checked_add(new.absolute)
            .map_err(|_| Error::Invalid("a session's end is out of range"))?;
        let mut secret = Zeroizing::new([0u8; 32]);
        self.rng.fill(secret.as_mut());
        let token =
            Zeroizing::new(format!("{TOKEN_PREFIX}{}", base64url(secret.as_ref()).as_str()));
        let mut handle = [0u8; 8];
        self.rng.fill(&mut handle);
        let hash = phial_crypto::sha256(token.as_bytes());
        let keys = self.keystore.tenant_keys(&new.tenant)?;
        let content = Content {
            user: new.user.clone(),
            purpose: new.purpose,
            mfa: new.mfa,
            login: new.login.clone(),
        };
        let mut content = serde_json::to_vec(&content)
            .map_err(|_| Error::Invalid("a session that can't be encoded"))?;
        // Equal lengths, so that the file does not tell accounts apart by their names.
        content.resize(content.len().next_multiple_of(512), b' ');
        let content = Zeroizing::new(content);
        let sealed = phial_crypto::seal_small(
            &keys.sessions,
            &aad(&new.tenant, &hash, &handle),
            &content,
            self.rng.as_ref(),
        );
        let holder = holder(&keys.sessions, &new.user);
        let last = self.counter_name(&new.tenant, &[LAST, new.user.as_str().as_bytes()])?;
        self.state().slot.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            purge(&tx, now)?;
            tx.execute(
                "INSERT INTO session VALUES(?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, NULL, ?8)",
                params![
                    hash,
                    handle,
                    new.tenant.as_str(),
                    holder,
                    now.as_microsecond(),
                    expires.as_microsecond(),
                    micros(new.idle),
                    sealed
                ],
            )?;
            // In the same commit, so that a review can tell when an account was last used
            // once the session is gone.
            tx.execute(
                "INSERT OR REPLACE INTO counter VALUES(?1, ?2, 1, ?3, ?4)",
                params![new.tenant.as_str(), last, now.as_microsecond(), i64::MAX],
            )?;
            durable::commit(Step::SessionIssue, tx)
        })?;
        Ok(Issued { token, handle: hex::encode(handle), expires })
    }

    /// The living session of a token. Its use is written down at most every 30
    /// seconds, so it may be held idle up to so much too early, never too late.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store or the keys can't be had: no session
    /// can be judged then, and none is good.
    pub fn lookup(&self, token: &str, now: Timestamp) -> Result<Option<Arc<SessionRow>>, Error> {
        if token.len() != TOKEN_PREFIX.len() + 43 || !token.starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        let hash = phial_crypto::sha256(token.as_bytes());
        let mut state = self.state();
        let State { slot, remembered, data_version, seen, .. } = &mut *state;
        let glance = slot.glance();
        if glance.is_some()
            && glance == *seen
            && let Some(row) = remembered.get(&hash)
            && row.is_alive(now)
            && !row.wants_touch(now)
        {
            return Ok(Some(Arc::clone(row)));
        }
        let found = slot.with(|db| {
            // Another connection's commit, a withdrawal by the command line say, shows
            // in the counter.
            let version = change_counter(db)?;
            if *data_version != Some(version) {
                remembered.clear();
                *data_version = Some(version);
            }
            let row = match remembered.get(&hash) {
                Some(row) => Some(Arc::clone(row)),
                None => self.read(db, &hash)?.map(Arc::new),
            };
            let Some(mut row) = row else { return Ok(None) };
            if !row.is_alive(now) {
                return Ok(None);
            }
            if row.wants_touch(now) {
                let changed = durable::execute(Step::SessionTouch, db, || {
                    Ok(db.execute(
                        "UPDATE session SET last_used = max(last_used, ?2) \
                         WHERE hash = ?1 AND revoked IS NULL",
                        params![hash, now.as_microsecond()],
                    )?)
                })?;
                if changed == 0 {
                    return Ok(None);
                }
                Arc::make_mut(&mut row).last_used = now;
            }
            Ok(Some(row))
        });
        // Taken before the look, so that a commit during it shows at the next one.
        *seen = glance;
        match &found {
            Ok(Some(row)) => {
                if remembered.len() >= REMEMBERED {
                    remembered.clear();
                }
                remembered.insert(hash, Arc::clone(row));
            }
            Ok(None) => {
                remembered.remove(&hash);
            }
            Err(_) => {
                remembered.clear();
                *data_version = None;
                *seen = None;
            }
        }
        found
    }

    /// The living session of a token, without counting as its use.
    ///
    /// # Errors
    /// As [`Sessions::lookup`].
    pub fn peek(&self, token: &str, now: Timestamp) -> Result<Option<SessionRow>, Error> {
        if token.len() != TOKEN_PREFIX.len() + 43 || !token.starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        let hash = phial_crypto::sha256(token.as_bytes());
        let mut state = self.state();
        let found = state.slot.with(|db| self.read(db, &hash))?;
        Ok(found.filter(|row| row.is_alive(now)))
    }

    /// Whether a log-in of the account lives that began as the session with this handle,
    /// whatever took its place since. It counts as no use.
    ///
    /// # Errors
    /// When keys or the store can't be had: it can't be judged then, and is not good.
    pub fn login_lives(
        &self,
        tenant: &TenantId,
        user: &SubjectId,
        first: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut state = self.state();
        let glance = state.slot.glance();
        if glance.is_some()
            && let Some((seen, row)) = state.logins.get(first)
            && *seen == glance
            && row.tenant == *tenant
            && row.user == *user
            && row.is_alive(now)
        {
            return Ok(true);
        }
        let keys = self.keystore.tenant_keys(tenant)?;
        let holder = holder(&keys.sessions, user);
        let raw = state.slot.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT hash, handle, tenant, created, last_used, expires, idle, revoked, sealed \
                 FROM session WHERE tenant = ?1 AND holder = ?2 AND revoked IS NULL",
            )?;
            let rows = statement.query_map(params![tenant.as_str(), holder], raw_row)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        for raw in &raw {
            let row = self.open_row(raw)?;
            let began = row.login.as_ref().and_then(|l| l.first.as_deref());
            let is_it = row.login.is_some() && began.unwrap_or(row.handle.as_str()) == first;
            if is_it && row.user == *user && row.is_alive(now) {
                if state.logins.len() >= REMEMBERED {
                    state.logins.clear();
                }
                state.logins.insert(first.to_owned(), (glance, row));
                return Ok(true);
            }
        }
        state.logins.remove(first);
        Ok(false)
    }

    /// An HMAC under the tenant's sessions key: for values that this program gives out
    /// and knows again. The first part names the use.
    ///
    /// # Errors
    /// When the keys can't be had.
    pub fn mac(&self, tenant: &TenantId, parts: &[&[u8]]) -> Result<[u8; 32], Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut all: Vec<&[u8]> = vec![b"sessions mac"];
        all.extend_from_slice(parts);
        Ok(phial_crypto::hmac_sha256(&keys.sessions, &all))
    }

    /// Seals a secret that other stores keep, under the tenant's sessions key.
    ///
    /// # Errors
    /// When the keys can't be had.
    pub fn seal(
        &self,
        tenant: &TenantId,
        about: &[&[u8]],
        secret: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut aad: Vec<&[u8]> = vec![b"sessions secret", tenant.as_str().as_bytes()];
        aad.extend_from_slice(about);
        Ok(phial_crypto::seal_small(&keys.sessions, &aad, secret, self.rng.as_ref()))
    }

    /// Opens what [`Sessions::seal`] sealed about the same thing.
    ///
    /// # Errors
    /// When the keys can't be had, or it was altered.
    pub fn unseal(
        &self,
        tenant: &TenantId,
        about: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut aad: Vec<&[u8]> = vec![b"sessions secret", tenant.as_str().as_bytes()];
        aad.extend_from_slice(about);
        Ok(phial_crypto::open_small(&keys.sessions, &aad, sealed)?)
    }

    /// When the account last began a session or had a token issued; `None` if never.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn last_began(
        &self,
        tenant: &TenantId,
        user: &SubjectId,
    ) -> Result<Option<Timestamp>, Error> {
        let last = self.counter(tenant, &[LAST, user.as_str().as_bytes()])?;
        Ok((last.value > 0).then(|| Timestamp::from_microsecond(last.at).ok()).flatten())
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0u8; N];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn read(&self, db: &Db, hash: &[u8; 32]) -> Result<Option<SessionRow>, Error> {
        let raw = db
            .prepare_cached(
                "SELECT hash, handle, tenant, created, last_used, expires, idle, revoked, sealed \
                 FROM session WHERE hash = ?1",
            )?
            .query_row([hash], raw_row)
            .optional()?;
        raw.map(|r| self.open_row(&r)).transpose()
    }

    fn open_row(&self, raw: &RawRow) -> Result<SessionRow, Error> {
        let tenant =
            TenantId::new(&raw.tenant).map_err(|_| Error::Corrupt("a session's tenant"))?;
        let keys = self.keystore.tenant_keys(&tenant)?;
        let content = phial_crypto::open_small(
            &keys.sessions,
            &aad(&tenant, &raw.hash, &raw.handle),
            &raw.sealed,
        )?;
        let content: Content =
            serde_json::from_slice(&content).map_err(|_| Error::Corrupt("a session's content"))?;
        let at =
            |us| Timestamp::from_microsecond(us).map_err(|_| Error::Corrupt("a session's time"));
        Ok(SessionRow {
            handle: hex::encode(raw.handle),
            tenant,
            user: content.user,
            purpose: content.purpose,
            mfa: content.mfa,
            login: content.login,
            created: at(raw.created)?,
            last_used: at(raw.last_used)?,
            expires: at(raw.expires)?,
            idle: SignedDuration::from_micros(raw.idle),
            revoked: raw.revoked.map(at).transpose()?,
        })
    }

    /// Withdraws the session with this public handle. False when there is none that
    /// was not withdrawn before.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn revoke(&self, tenant: &TenantId, handle: &str, now: Timestamp) -> Result<bool, Error> {
        let Ok(handle) = hex::decode(handle) else { return Ok(false) };
        self.change(Step::SessionRevoke, |db| {
            db.execute(
                "UPDATE session SET revoked = ?3 WHERE tenant = ?1 AND handle = ?2 AND revoked IS NULL",
                params![tenant.as_str(), handle, now.as_microsecond()],
            )
        })
        .map(|n| n > 0)
    }

    /// Withdraws all sessions of an account, and says how many there were.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn revoke_user(
        &self,
        tenant: &TenantId,
        user: &SubjectId,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let holder = holder(&keys.sessions, user);
        self.change(Step::SessionRevoke, |db| {
            db.execute(
                "UPDATE session SET revoked = ?3 WHERE tenant = ?1 AND holder = ?2 AND revoked IS NULL",
                params![tenant.as_str(), holder, now.as_microsecond()],
            )
        })
    }

    /// Removes the rows of sessions that ended, and says how many there were.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn purge(&self, now: Timestamp) -> Result<usize, Error> {
        self.change(Step::SessionPurge, |db| purge(db, now))
    }

    fn change(
        &self,
        step: Step,
        work: impl FnOnce(&Db) -> rusqlite::Result<usize>,
    ) -> Result<usize, Error> {
        let mut state = self.state();
        // This connection's own commits do not show in its data version.
        state.remembered.clear();
        state.slot.with(|db| durable::execute(step, db, || Ok(work(db)?)))
    }

    /// The sessions of a tenant that are still kept, oldest first.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn list(&self, tenant: &TenantId) -> Result<Vec<SessionRow>, Error> {
        let raw = self.state().slot.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT hash, handle, tenant, created, last_used, expires, idle, revoked, sealed \
                 FROM session WHERE tenant = ?1 ORDER BY created, handle",
            )?;
            let rows = statement.query_map([tenant.as_str()], raw_row)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        raw.iter().map(|r| self.open_row(r)).collect()
    }
}

struct RawRow {
    hash: [u8; 32],
    handle: [u8; 8],
    tenant: String,
    created: i64,
    last_used: i64,
    expires: i64,
    idle: i64,
    revoked: Option<i64>,
    sealed: Vec<u8>,
}

fn raw_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<RawRow> {
    Ok(RawRow {
        hash: r.get(0)?,
        handle: r.get(1)?,
        tenant: r.get(2)?,
        created: r.get(3)?,
        last_used: r.get(4)?,
        expires: r.get(5)?,
        idle: r.get(6)?,
        revoked: r.get(7)?,
        sealed: r.get(8)?,
    })
}

fn purge(db: &rusqlite::Connection, now: Timestamp) -> rusqlite::Result<usize> {
    browsers::purge(db, now)?;
    counters::purge(db, now)?;
    db.execute(
        "DELETE FROM session WHERE expires <= ?1 OR revoked IS NOT NULL OR last_used + idle <= ?1",
        [now.as_microsecond()],
    )
}

fn aad<'a>(tenant: &'a TenantId, hash: &'a [u8; 32], handle: &'a [u8; 8]) -> [&'a [u8]; 4] {
    [b"session", tenant.as_str().as_bytes(), hash, handle]
}

fn holder(key: &phial_crypto::SecretKey, user: &SubjectId) -> [u8; 16] {
    short(phial_crypto::hmac_sha256(key, &[b"session holder", user.as_str().as_bytes()]))
}

/// The first half of a MAC: enough to find a row by.
fn short(mac: [u8; 32]) -> [u8; 16] {
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip(mac) {
        *to = from;
    }
    out
}

fn micros(d: SignedDuration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// Base64url without padding (RFC 4648 §5).
pub(crate) fn base64url(bytes: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    for chunk in bytes.chunks(3) {
        let mut word = 0u32;
        for i in 0..3 {
            word = word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        for i in 0..=chunk.len() {
            let six = word >> (18 - 6 * i) & 63;
            let c = ALPHABET.get(usize::try_from(six).unwrap_or(0)).copied().unwrap_or(b'A');
            out.push(char::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")]
        {
            assert_eq!(base64url(bytes.as_bytes()).as_str(), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]).as_str(), "-__-");
        assert_eq!(base64url(&[0; 32]).len(), 43);
    }
}
