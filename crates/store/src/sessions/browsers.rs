//! Browsers that accounts logged in from. Whoever comes from one of them has a budget of
//! his own for attempts, which no attacker elsewhere can use up.
//!
//! A browser's name is random and comes in a signed cookie; a row says that this account
//! logged in there. It refuses to say which browser or which account: both are MACs.

use jiff::{SignedDuration, Timestamp};
use phial_base::step::Step;
use phial_base::{SubjectId, TenantId};
use rusqlite::params;

use super::{Sessions, holder, short};
use crate::durable;
use crate::error::Error;

/// `browser`: one row an account and browser.
///
/// | column | is |
/// |---|---|
/// | tenant | the tenant's name |
/// | browser | HMAC of the browser's name under the sessions key, 16 bytes |
/// | holder | HMAC of the account's name, as in `session` |
/// | since, last_used | microseconds since the epoch |
pub(super) const TABLE: &str = "CREATE TABLE browser(
        tenant TEXT NOT NULL,
        browser BLOB NOT NULL CHECK(length(browser) = 16),
        holder BLOB NOT NULL CHECK(length(holder) = 16),
        since INTEGER NOT NULL,
        last_used INTEGER NOT NULL,
        PRIMARY KEY(tenant, browser, holder)
    ) WITHOUT ROWID;";

/// A browser is forgotten after so long without a log-in.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24 * 180);

impl Sessions {
    /// Whether the account logged in from this browser before.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn knows_browser(
        &self,
        tenant: &TenantId,
        browser: &str,
        user: &SubjectId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (browser, holder) = self.names(tenant, browser, user)?;
        let oldest = now.as_microsecond().saturating_sub(super::micros(KEPT));
        self.state().slot.with(|db| {
            Ok(db
                .prepare_cached(
                    "SELECT 1 FROM browser WHERE tenant = ?1 AND browser = ?2 AND holder = ?3 \
                     AND last_used > ?4",
                )?
                .exists(params![tenant.as_str(), browser, holder, oldest])?)
        })
    }

    /// Whether anybody logged in from this browser before.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn is_browser_of_somebody(
        &self,
        tenant: &TenantId,
        browser: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let browser = phial_crypto::hmac_sha256(&keys.sessions, &[b"browser", browser.as_bytes()]);
        let oldest = now.as_microsecond().saturating_sub(super::micros(KEPT));
        self.state().slot.with(|db| {
            Ok(db
                .prepare_cached(
                    "SELECT 1 FROM browser WHERE tenant = ?1 AND browser = ?2 AND last_used > ?3",
                )?
                .exists(params![tenant.as_str(), short(browser), oldest])?)
        })
    }

    /// Remembers that the account logged in from this browser.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn keep_browser(
        &self,
        tenant: &TenantId,
        browser: &str,
        user: &SubjectId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (browser, holder) = self.names(tenant, browser, user)?;
        let now = now.as_microsecond();
        self.state().slot.with(|db| {
            durable::execute(Step::BrowserKeep, db, || {
                Ok(db.execute(
                    "INSERT INTO browser VALUES(?1, ?2, ?3, ?4, ?4) ON CONFLICT DO UPDATE \
                     SET last_used = max(last_used, ?4)",
                    params![tenant.as_str(), browser, holder, now],
                )?)
            })
        })?;
        Ok(())
    }

    /// Forgets every browser of an account, and says how many there were.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn forget_browsers(&self, tenant: &TenantId, user: &SubjectId) -> Result<usize, Error> {
        let (_, holder) = self.names(tenant, "", user)?;
        self.state().slot.with(|db| {
            durable::execute(Step::BrowserForget, db, || {
                Ok(db.execute(
                    "DELETE FROM browser WHERE tenant = ?1 AND holder = ?2",
                    params![tenant.as_str(), holder],
                )?)
            })
        })
    }

    fn names(
        &self,
        tenant: &TenantId,
        browser: &str,
        user: &SubjectId,
    ) -> Result<([u8; 16], [u8; 16]), Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let browser = phial_crypto::hmac_sha256(&keys.sessions, &[b"browser", browser.as_bytes()]);
        Ok((short(browser), holder(&keys.sessions, user)))
    }
}

pub(super) fn purge(db: &rusqlite::Connection, now: Timestamp) -> rusqlite::Result<usize> {
    let oldest = now.as_microsecond().saturating_sub(super::micros(KEPT));
    db.execute("DELETE FROM browser WHERE last_used <= ?1", [oldest])
}
