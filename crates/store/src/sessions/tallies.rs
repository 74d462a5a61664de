//! Tallies: which patients each account read within a window, so that a cap holds across a
//! restart. Derived: the audit log says it, too. What lies here saves a start from reading a
//! whole window of it.
//!
//! A patient is named by the random handle of their audit key, and all of it is sealed.

use jiff::{SignedDuration, Timestamp};
use phial_base::step::Step;
use phial_base::{KeyHandle, SubjectId, TenantId};
use rusqlite::params;
use zeroize::Zeroizing;

use super::counters::Counter;
use super::{Sessions, short};
use crate::durable;
use crate::error::Error;

/// `tally`: one row an account.
///
/// | column | is |
/// |---|---|
/// | tenant | the tenant's name |
/// | name | HMAC of the account's name under the sessions key, 16 bytes |
/// | kept | removed once this time has passed, microseconds since the epoch |
/// | sealed | the tally |
///
/// A tally is, numbers big-endian: format (1), the length of the account's name (u8), the
/// name, when others were told of the cap (i64 microseconds, the least number for never),
/// how many patients (u32), and for each the handle (16 bytes) and when it was read first
/// (i64 microseconds); zeros up to a multiple of 1,024 bytes.
pub(super) const TABLE: &str = "CREATE TABLE tally(
        tenant TEXT NOT NULL,
        name BLOB NOT NULL CHECK(length(name) = 16),
        kept INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY(tenant, name)
    ) WITHOUT ROWID;";

const FORMAT: u8 = 1;
/// Lengths tell little of how much somebody read.
const STEP: usize = 1_024;
/// The counter that says up to which entry of the audit log the tallies go.
const UP_TO: &[u8] = b"tallies up to";

/// What one account read within its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The account.
    pub user: SubjectId,
    /// When others were told that it reached its cap, microseconds since the epoch.
    pub told: Option<i64>,
    /// Patients, and when each was read first, microseconds since the epoch.
    pub seen: Vec<(KeyHandle, i64)>,
}

impl Tally {
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let unfit = |_| Error::Invalid("a tally that can't be encoded");
        let name = self.user.as_str().as_bytes();
        let mut out = Zeroizing::new(Vec::with_capacity(STEP + self.seen.len() * 24));
        out.push(FORMAT);
        out.push(u8::try_from(name.len()).map_err(unfit)?);
        out.extend_from_slice(name);
        out.extend_from_slice(&self.told.unwrap_or(i64::MIN).to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.seen.len()).map_err(unfit)?.to_be_bytes());
        for (patient, at) in &self.seen {
            out.extend_from_slice(&patient.0);
            out.extend_from_slice(&at.to_be_bytes());
        }
        let whole = out.len().next_multiple_of(STEP);
        out.resize(whole, 0);
        Ok(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let [FORMAT, length] = *head else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let user = SubjectId::new(std::str::from_utf8(name).ok()?).ok()?;
        let (told, rest) = rest.split_first_chunk::<8>()?;
        let told = Some(i64::from_be_bytes(*told)).filter(|at| *at != i64::MIN);
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut seen = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (patient, after) = rest.split_first_chunk::<16>()?;
            let (at, after) = after.split_first_chunk::<8>()?;
            seen.push((KeyHandle(*patient), i64::from_be_bytes(*at)));
            rest = after;
        }
        rest.iter().all(|b| *b == 0).then_some(Tally { user, told, seen })
    }
}

/// What was kept: tallies, and the index of the audit log's entry behind the last one that
/// they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Entries with a lower index are counted.
    pub up_to: u64,
    /// One an account.
    pub all: Vec<Tally>,
}

impl Sessions {
    /// The tallies that are kept of a tenant's accounts. One that can't be opened counts as
    /// none, and so do all: then the audit log is read from the window's beginning.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn tallies(&self, tenant: &TenantId) -> Result<Tallies, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let up_to = self.counter(tenant, &[UP_TO])?.value;
        let rows: Vec<([u8; 16], Vec<u8>)> = self.state().slot.with(|db| {
            let mut statement =
                db.prepare_cached("SELECT name, sealed FROM tally WHERE tenant = ?1")?;
            let rows = statement.query_map([tenant.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let mut all = Vec::with_capacity(rows.len());
        for (name, sealed) in rows {
            let opened = phial_crypto::open_small(&keys.sessions, &aad(tenant, &name), &sealed);
            match opened.ok().and_then(|bytes| Tally::decode(&bytes)) {
                Some(tally) => all.push(tally),
                None => return Ok(Tallies::default()),
            }
        }
        let up_to = u64::try_from(up_to).unwrap_or(0);
        Ok(Tallies { up_to, all })
    }

    /// Keeps tallies that changed, and how far they go: all of it or nothing.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn keep_tallies(
        &self,
        tenant: &TenantId,
        changed: &Tallies,
        now: Timestamp,
        keep: SignedDuration,
    ) -> Result<(), Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut rows = Vec::with_capacity(changed.all.len());
        for tally in &changed.all {
            let user = tally.user.as_str().as_bytes();
            let name = short(phial_crypto::hmac_sha256(&keys.sessions, &[b"tally", user]));
            let content = tally.encode()?;
            let rng = self.rng.as_ref();
            let sealed =
                phial_crypto::seal_small(&keys.sessions, &aad(tenant, &name), &content, rng);
            rows.push((name, sealed));
        }
        let up_to = self.counter_name(tenant, &[UP_TO])?;
        let counter = Counter {
            value: i64::try_from(changed.up_to).unwrap_or(i64::MAX),
            at: now.as_microsecond(),
        };
        let kept = now.as_microsecond().saturating_add(super::micros(keep));
        self.state().slot.with(|db| {
            let tx = db.unchecked_transaction()?;
            for (name, sealed) in &rows {
                tx.prepare_cached("INSERT OR REPLACE INTO tally VALUES(?1, ?2, ?3, ?4)")?
                    .execute(params![tenant.as_str(), name, kept, sealed])?;
            }
            tx.prepare_cached("DELETE FROM tally WHERE kept <= ?1")?
                .execute([now.as_microsecond()])?;
            tx.prepare_cached("INSERT OR REPLACE INTO counter VALUES(?1, ?2, ?3, ?4, ?5)")?
                .execute(params![tenant.as_str(), up_to, counter.value, counter.at, i64::MAX])?;
            durable::commit(Step::TallyKeep, tx)
        })
    }
}

fn aad<'a>(tenant: &'a TenantId, name: &'a [u8; 16]) -> [&'a [u8]; 3] {
    [b"tally", tenant.as_str().as_bytes(), name]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally {
            user: SubjectId::new("ann").unwrap(),
            told: Some(7),
            seen: vec![(KeyHandle([1; 16]), 2), (KeyHandle([3; 16]), -4)],
        }
    }

    #[test]
    fn a_tallys_form_is_frozen() {
        let bytes = tally().encode().unwrap();
        assert_eq!(bytes.len(), 1_024);
        let text = hex::encode(&bytes[..65]);
        assert_eq!(
            text,
            concat!(
                "0103616e6e",
                "0000000000000007",
                "00000002",
                "01010101010101010101010101010101",
                "0000000000000002",
                "03030303030303030303030303030303",
                "fffffffffffffffc"
            )
        );
        assert_eq!(Tally::decode(&bytes), Some(tally()));
        let never = Tally { told: None, seen: Vec::new(), ..tally() };
        assert_eq!(Tally::decode(&never.encode().unwrap()), Some(never));
    }

    #[test]
    fn what_is_no_tally_is_none() {
        let good = tally().encode().unwrap();
        for n in 0..64 {
            assert_eq!(Tally::decode(&good[..n]), None, "{n}");
        }
        let mut other = good.to_vec();
        other[0] = 2;
        assert_eq!(Tally::decode(&other), None);
        let mut more = good.to_vec();
        *more.last_mut().unwrap() = 1;
        assert_eq!(Tally::decode(&more), None);
    }
}
