//! Tickets: what apps and services are given, and what of a log-in is under way. Codes,
//! access and refresh tokens, launches, requests that wait for a person's word, and marks
//! of assertions that were used (164.312(d); RFC 6749, RFC 9700).
//!
//! It owns `sessions/tickets.db`. A ticket is 32 random bytes and is never stored: rows
//! are found by its SHA-256, and what it stands for lies sealed under the tenant's
//! sessions key. The file shows tenant, kind, times and opaque handles. A ticket that may
//! be used once is used up in the transaction that gives what it is exchanged for. It
//! refuses what is unknown, withdrawn or past its end, and does not say which.
//!
//! The file may be lost: whoever held a ticket then holds none.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use phial_base::step::Step;
use phial_base::{Rng, SubjectId, TenantId};
use phial_crypto::SecretKey;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

use crate::control::change_counter;
use crate::durable;
use crate::error::Error;
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Glance, Options, Schema, Slot, create_store};
use crate::sessions::{Issued, base64url};

/// `ticket`: one row a ticket.
///
/// | column | is |
/// |---|---|
/// | hash | SHA-256 of the ticket |
/// | handle | 8 random bytes, the public name in audit entries |
/// | tenant | the tenant's name |
/// | kind | a [`TicketKind`] |
/// | family | 16 random bytes that all tickets of one authorization share |
/// | holder, client | HMAC of the account's and the app's name under the sessions key |
/// | created, expires | microseconds since the epoch |
/// | kept | until when the row stays, so that a second use is known as one |
/// | used | when it was used up |
/// | revoked | when it was withdrawn |
/// | sealed | what it stands for |
///
/// `mark`: SHA-256 of something that counts once, and until when that matters.
const SCHEMA: Schema = Schema {
    store: "tickets",
    page_size: 4096,
    migrations: &["CREATE TABLE ticket(
        hash BLOB PRIMARY KEY CHECK(length(hash) = 32),
        handle BLOB NOT NULL UNIQUE CHECK(length(handle) = 8),
        tenant TEXT NOT NULL,
        kind INTEGER NOT NULL,
        family BLOB NOT NULL CHECK(length(family) = 16),
        holder BLOB NOT NULL CHECK(length(holder) = 16),
        client BLOB NOT NULL CHECK(length(client) = 16),
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        kept INTEGER NOT NULL,
        used INTEGER,
        revoked INTEGER,
        sealed BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX ticket_family ON ticket(family);
    CREATE INDEX ticket_holder ON ticket(tenant, holder);
    CREATE INDEX ticket_client ON ticket(tenant, client);
    CREATE INDEX ticket_kept ON ticket(kept);
    CREATE TABLE mark(
        hash BLOB PRIMARY KEY CHECK(length(hash) = 32),
        until INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX mark_until ON mark(until);"],
};

/// Tickets remembered between looks.
const REMEMBERED: usize = 10_000;
/// Sealed contents are padded to a multiple of this.
const PAD: usize = 256;
/// How long a used or ended ticket that counts once is still known.
const KNOWN_LONGER: SignedDuration = SignedDuration::from_mins(60);

const COLUMNS: &str = "hash, handle, tenant, kind, family, created, expires, used, revoked, sealed";

/// What a ticket is for. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TicketKind {
    /// An authorization code.
    Code = 1,
    /// An access token of an app or service.
    Access = 2,
    /// A refresh token.
    Refresh = 3,
    /// A launch from within an EHR.
    Launch = 4,
    /// A request of an app that waits for a person's word.
    Asked = 5,
    /// A log-in that is under way at an identity provider.
    Abroad = 6,
}

impl TicketKind {
    const ALL: [TicketKind; 6] = [
        TicketKind::Code,
        TicketKind::Access,
        TicketKind::Refresh,
        TicketKind::Launch,
        TicketKind::Asked,
        TicketKind::Abroad,
    ];

    /// How tickets of this kind begin, so that scanners for leaked secrets can know them.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            TicketKind::Code => "phial_ac_",
            TicketKind::Access => "phial_at_",
            TicketKind::Refresh => "phial_rt_",
            TicketKind::Launch => "phial_lt_",
            TicketKind::Asked => "phial_ar_",
            TicketKind::Abroad => "phial_so_",
        }
    }

    /// Whether it counts once.
    const fn once(self) -> bool {
        !matches!(self, TicketKind::Access)
    }

    fn from_number(n: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|k| i64::from(*k as u8) == n)
    }
}

/// What a new ticket is to stand for.
pub struct NewTicket {
    /// What for.
    pub kind: TicketKind,
    /// What all tickets of one authorization share.
    pub family: [u8; 16],
    /// The account.
    pub holder: SubjectId,
    /// The app or service.
    pub client: String,
    /// What it stands for, in the form of whoever asks.
    pub content: Zeroizing<Vec<u8>>,
    /// It ends so long after now.
    pub life: SignedDuration,
}

/// A ticket that is there.
#[derive(PartialEq, Eq)]
pub struct Ticket {
    /// What for.
    pub kind: TicketKind,
    /// Its public handle, 16 hexadecimal digits.
    pub handle: String,
    /// What all tickets of one authorization share.
    pub family: [u8; 16],
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was used up.
    pub used: Option<Timestamp>,
    /// When it was withdrawn.
    pub revoked: Option<Timestamp>,
    /// What it stands for.
    pub content: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({:?} {})", self.kind, self.handle)
    }
}

impl Ticket {
    /// Whether it is neither withdrawn nor past its end.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// What came of using a ticket that counts once.
#[derive(Debug)]
pub enum Taken {
    /// There is none that is alive.
    No,
    /// It was used before: someone has what was meant for another.
    Again(Ticket),
    /// It is used up now, and these were given for it.
    Given(Ticket, Vec<Issued>),
}

/// Which tickets are meant; those that fit all that is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// Of this authorization.
    pub family: Option<[u8; 16]>,
    /// Of this account.
    pub holder: Option<&'a SubjectId>,
    /// Of this app or service.
    pub client: Option<&'a str>,
    /// With this handle, 16 hexadecimal digits.
    pub handle: Option<&'a str>,
}

struct State {
    slot: Slot,
    remembered: HashMap<[u8; 32], Arc<Ticket>>,
    data_version: Option<(i64, i64)>,
    /// As long as a glance equals this one, what is remembered is true.
    seen: Option<Glance>,
}

/// The store of tickets.
pub struct Tickets {
    state: Mutex<State>,
    keystore: Arc<Keystore>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

impl Tickets {
    /// Opens the store, or makes it when there is none: a home of an earlier version has
    /// none, and whoever takes it away takes tickets away and gives none.
    ///
    /// # Errors
    /// [`Error`] when the file can't be made, is damaged or of an unknown format.
    pub fn open(
        home: &Home,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let path = home.tickets();
        let db = create_store(&path, options, &SCHEMA)?;
        let slot = Slot::new(&path, options, SCHEMA, db);
        let state = State { slot, remembered: HashMap::new(), data_version: None, seen: None };
        Ok(Tickets { state: Mutex::new(state), keystore, rng })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A family for a new authorization.
    #[must_use]
    pub fn family(&self) -> [u8; 16] {
        let mut family = [0; 16];
        self.rng.fill(&mut family);
        family
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn issue(
        &self,
        tenant: &TenantId,
        new: &NewTicket,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let made = self.make(&keys.sessions, tenant, new, now)?;
        let mut state = self.state();
        state.remembered.clear();
        state.slot.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            purge(&tx, now)?;
            made.insert(&tx, tenant)?;
            durable::commit(Step::TicketIssue, tx)
        })?;
        Ok(made.issued)
    }

    fn make(
        &self,
        key: &SecretKey,
        tenant: &TenantId,
        new: &NewTicket,
        now: Timestamp,
    ) -> Result<Made, Error> {
        let out_of_range = |_| Error::Invalid("a ticket's end is out of range");
        if new.life <= SignedDuration::ZERO {
            return Err(Error::Invalid("a ticket's life must be positive"));
        }
        let expires = now.checked_add(new.life).map_err(out_of_range)?;
        let kept = if new.kind.once() {
            expires.checked_add(KNOWN_LONGER).map_err(out_of_range)?
        } else {
            expires
        };
        let mut secret = Zeroizing::new([0u8; 32]);
        self.rng.fill(secret.as_mut());
        let token =
            Zeroizing::new(format!("{}{}", new.kind.prefix(), base64url(secret.as_ref()).as_str()));
        let mut handle = [0u8; 8];
        self.rng.fill(&mut handle);
        let hash = phial_crypto::sha256(token.as_bytes());
        // The length in front, so that padding is told from content.
        let mut content = Zeroizing::new(Vec::with_capacity(new.content.len() + 4 + PAD));
        let length = u32::try_from(new.content.len())
            .map_err(|_| Error::Invalid("a ticket's content is too long"))?;
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(&new.content);
        let padded = content.len().next_multiple_of(PAD);
        content.resize(padded, 0);
        let sealed = phial_crypto::seal_small(
            key,
            &aad(tenant, &hash, &handle, new.kind),
            &content,
            self.rng.as_ref(),
        );
        Ok(Made {
            hash,
            handle,
            kind: new.kind,
            family: new.family,
            holder: holder_name(key, &new.holder),
            client: client_name(key, &new.client),
            created: now.as_microsecond(),
            expires: expires.as_microsecond(),
            kept: kept.as_microsecond(),
            sealed,
            issued: Issued { token, handle: hex::encode(handle), expires },
        })
    }

    /// The living ticket of this kind.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store or the keys can't be had: no ticket can be
    /// judged then, and none is good.
    pub fn look(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<Ticket>>, Error> {
        let Some(hash) = hash_of(kind, token) else { return Ok(None) };
        let mut state = self.state();
        let State { slot, remembered, data_version, seen } = &mut *state;
        let glance = slot.glance();
        if glance.is_some()
            && glance == *seen
            && let Some(found) = remembered.get(&hash)
        {
            return Ok(found.is_alive(now).then(|| Arc::clone(found)));
        }
        let found = slot.with(|db| {
            // Another connection's commit, a withdrawal by the command line say, shows
            // in the counter.
            let version = change_counter(db)?;
            if *data_version != Some(version) {
                remembered.clear();
                *data_version = Some(version);
            }
            match remembered.get(&hash) {
                Some(found) => Ok(Some(Arc::clone(found))),
                None => self.read(db, tenant, kind, &hash).map(|t| t.map(Arc::new)),
            }
        });
        // Taken before the look, so that a commit during it shows at the next one.
        *seen = glance;
        let found = match found {
            Ok(found) => found.filter(|t| t.is_alive(now) && !(t.kind.once() && t.used.is_some())),
            Err(e) => {
                remembered.clear();
                *data_version = None;
                *seen = None;
                return Err(e);
            }
        };
        if let Some(ticket) = &found {
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(hash, Arc::clone(ticket));
        }
        Ok(found)
    }

    /// The ticket of this kind, used up, withdrawn, ended or not: whose it was.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn known(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        token: &str,
    ) -> Result<Option<Ticket>, Error> {
        let Some(hash) = hash_of(kind, token) else { return Ok(None) };
        let mut state = self.state();
        state.slot.with(|db| self.read(db, tenant, kind, &hash))
    }

    /// Uses up a ticket that counts once, and makes what `given` wants for it, in one
    /// transaction: a crash leaves the ticket unused or the others made.
    ///
    /// `given` is asked once it is known that the ticket is alive and unused; what it
    /// refuses with leaves the ticket as it was.
    ///
    /// # Errors
    /// When keys or the store can't be had, and that of `given`.
    pub fn exchange<E: From<Error>>(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        token: &str,
        now: Timestamp,
        given: impl FnOnce(&Ticket) -> Result<Vec<NewTicket>, E>,
    ) -> Result<Taken, E> {
        let Some(hash) = hash_of(kind, token) else { return Ok(Taken::No) };
        let keys = self.keystore.tenant_keys(tenant).map_err(E::from)?;
        let mut state = self.state();
        state.remembered.clear();
        // What `given` refuses with passes by the store's own errors.
        let mut refused = None;
        let done = state.slot.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(ticket) = self.read(&tx, tenant, kind, &hash)? else { return Ok(Taken::No) };
            if ticket.used.is_some() {
                return Ok(Taken::Again(ticket));
            }
            if !ticket.is_alive(now) {
                return Ok(Taken::No);
            }
            let news = match given(&ticket) {
                Ok(news) => news,
                Err(e) => {
                    refused = Some(e);
                    return Ok(Taken::No);
                }
            };
            purge(&tx, now)?;
            tx.execute(
                "UPDATE ticket SET used = ?2 WHERE hash = ?1",
                params![hash, now.as_microsecond()],
            )?;
            let mut issued = Vec::new();
            for new in &news {
                let made = self.make(&keys.sessions, tenant, new, now)?;
                made.insert(&tx, tenant)?;
                issued.push(made.issued);
            }
            durable::commit(Step::TicketExchange, tx)?;
            Ok(Taken::Given(ticket, issued))
        });
        match refused {
            Some(e) => Err(e),
            None => done.map_err(E::from),
        }
    }

    /// Withdraws tickets, and says how many there were.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn revoke(
        &self,
        tenant: &TenantId,
        which: &Which<'_>,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let holder = which.holder.map(|h| holder_name(&keys.sessions, h));
        let client = which.client.map(|c| client_name(&keys.sessions, c));
        let handle = match which.handle {
            Some(text) => match hex::decode(text) {
                Ok(bytes) => Some(bytes),
                Err(_) => return Ok(0),
            },
            None => None,
        };
        if which.family.is_none() && holder.is_none() && client.is_none() && handle.is_none() {
            return Err(Error::Invalid("which tickets are to be withdrawn"));
        }
        let mut state = self.state();
        // This connection's own commits do not show in its data version.
        state.remembered.clear();
        state.slot.with(|db| {
            durable::execute(Step::TicketRevoke, db, || {
                Ok(db.execute(
                    "UPDATE ticket SET revoked = ?6 WHERE tenant = ?1 AND revoked IS NULL \
                     AND (?2 IS NULL OR family = ?2) AND (?3 IS NULL OR holder = ?3) \
                     AND (?4 IS NULL OR client = ?4) AND (?5 IS NULL OR handle = ?5)",
                    params![
                        tenant.as_str(),
                        which.family,
                        holder,
                        client,
                        handle,
                        now.as_microsecond()
                    ],
                )?)
            })
        })
    }

    /// Marks something that counts once until then: true the first time.
    ///
    /// # Errors
    /// When keys or the store can't be had: nothing may be taken for new then.
    pub fn mark(
        &self,
        tenant: &TenantId,
        what: &[&str],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut parts: Vec<&[u8]> = vec![b"ticket mark", tenant.as_str().as_bytes()];
        parts.extend(what.iter().map(|p| p.as_bytes()));
        let hash = phial_crypto::hmac_sha256(&keys.sessions, &parts);
        let mut state = self.state();
        state.remembered.clear();
        state.slot.with(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            purge(&tx, now)?;
            let new = tx.execute(
                "INSERT OR IGNORE INTO mark VALUES(?1, ?2)",
                params![hash, until.as_microsecond()],
            )?;
            durable::commit(Step::TicketMark, tx)?;
            Ok(new == 1)
        })
    }

    fn read(
        &self,
        db: &rusqlite::Connection,
        tenant: &TenantId,
        kind: TicketKind,
        hash: &[u8; 32],
    ) -> Result<Option<Ticket>, Error> {
        let raw = db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM ticket WHERE hash = ?1"))?
            .query_row([hash], raw_row)
            .optional()?;
        let Some(raw) = raw else { return Ok(None) };
        if raw.tenant != tenant.as_str() || TicketKind::from_number(raw.kind) != Some(kind) {
            return Ok(None);
        }
        let keys = self.keystore.tenant_keys(tenant)?;
        let opened = phial_crypto::open_small(
            &keys.sessions,
            &aad(tenant, &raw.hash, &raw.handle, kind),
            &raw.sealed,
        )?;
        let damaged = || Error::Corrupt("a ticket's content");
        let (length, rest) = opened.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        let content = rest.get(..length).ok_or_else(damaged)?;
        let at =
            |us| Timestamp::from_microsecond(us).map_err(|_| Error::Corrupt("a ticket's time"));
        Ok(Some(Ticket {
            kind,
            handle: hex::encode(raw.handle),
            family: raw.family,
            created: at(raw.created)?,
            expires: at(raw.expires)?,
            used: raw.used.map(at).transpose()?,
            revoked: raw.revoked.map(at).transpose()?,
            content: Zeroizing::new(content.to_vec()),
        }))
    }
}

/// A ticket that is made and not yet stored.
struct Made {
    hash: [u8; 32],
    handle: [u8; 8],
    kind: TicketKind,
    family: [u8; 16],
    holder: [u8; 16],
    client: [u8; 16],
    created: i64,
    expires: i64,
    kept: i64,
    sealed: Vec<u8>,
    issued: Issued,
}

impl Made {
    fn insert(&self, tx: &Transaction<'_>, tenant: &TenantId) -> Result<(), Error> {
        tx.prepare_cached(
            "INSERT INTO ticket VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, NULL, ?11)",
        )?
        .execute(params![
            self.hash,
            self.handle,
            tenant.as_str(),
            self.kind as u8,
            self.family,
            self.holder,
            self.client,
            self.created,
            self.expires,
            self.kept,
            self.sealed
        ])?;
        Ok(())
    }
}

struct RawRow {
    hash: [u8; 32],
    handle: [u8; 8],
    tenant: String,
    kind: i64,
    family: [u8; 16],
    created: i64,
    expires: i64,
    used: Option<i64>,
    revoked: Option<i64>,
    sealed: Vec<u8>,
}

fn raw_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<RawRow> {
    Ok(RawRow {
        hash: r.get(0)?,
        handle: r.get(1)?,
        tenant: r.get(2)?,
        kind: r.get(3)?,
        family: r.get(4)?,
        created: r.get(5)?,
        expires: r.get(6)?,
        used: r.get(7)?,
        revoked: r.get(8)?,
        sealed: r.get(9)?,
    })
}

/// Removes what nothing depends on any more. It commits with what it is part of.
fn purge(db: &Transaction<'_>, now: Timestamp) -> Result<(), Error> {
    db.execute("DELETE FROM ticket WHERE kept <= ?1", [now.as_microsecond()])?;
    db.execute("DELETE FROM mark WHERE until <= ?1", [now.as_microsecond()])?;
    Ok(())
}

/// The SHA-256 of a ticket that has the form of its kind.
fn hash_of(kind: TicketKind, token: &str) -> Option<[u8; 32]> {
    let rest = token.strip_prefix(kind.prefix())?;
    (rest.len() == 43).then(|| phial_crypto::sha256(token.as_bytes()))
}

fn aad<'a>(
    tenant: &'a TenantId,
    hash: &'a [u8; 32],
    handle: &'a [u8; 8],
    kind: TicketKind,
) -> [&'a [u8]; 5] {
    [b"ticket", tenant.as_str().as_bytes(), hash, handle, kind.prefix().as_bytes()]
}

fn holder_name(key: &SecretKey, user: &SubjectId) -> [u8; 16] {
    name(key, b"ticket holder", user.as_str())
}

fn client_name(key: &SecretKey, client: &str) -> [u8; 16] {
    name(key, b"ticket client", client)
}

fn name(key: &SecretKey, what: &[u8], of: &str) -> [u8; 16] {
    let mac = phial_crypto::hmac_sha256(key, &[what, of.as_bytes()]);
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip(mac) {
        *to = from;
    }
    out
}
