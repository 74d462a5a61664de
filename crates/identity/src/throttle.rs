//! Throttling of guesses (SP 800-63B-4 §3.2.2), so that no attacker can make a lock-out
//! of it (decision 0064).
//!
//! Every attempt takes from budgets before it is judged, and gets back what it took when
//! it was right. Someone at a browser that the account logged in from has a budget of
//! that browser and account alone: whatever goes on elsewhere does not touch it. Everybody
//! else shares budgets of the account and his network, of the account, and of his network.
//! Budgets fill again with time. After so many wrong guesses in a row from unknown
//! browsers, none is taken from there until the person was seen: a passkey, which nobody
//! guesses, is never throttled here.
//!
//! Budgets are in memory, and each failure is written to the sessions store, so that a
//! restart forgets none. Names of accounts that do not exist have budgets as others have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use phial_base::TenantId;
use phial_store::sessions::Sessions;
use phial_store::sessions::counters::Counter;

use crate::error::Error;

/// A budget: so many at once, and one more each time the interval passes.
#[derive(Clone, Copy, Debug)]
struct Budget {
    burst: i64,
    each: SignedDuration,
    /// Failures in a row after which it is closed; 0: never.
    streak: i64,
}

const KNOWN: Budget = Budget { burst: 10, each: SignedDuration::from_mins(3), streak: 25 };
const HERE: Budget = Budget { burst: 5, each: SignedDuration::from_mins(10), streak: 0 };
const ACCOUNT: Budget = Budget { burst: 30, each: SignedDuration::from_mins(4), streak: 50 };
/// Log-ins at an identity provider that came back from one network, of browsers that nobody
/// logged in from. They are apart from the others: nothing is guessed there, and whoever
/// fails there takes no password's budget.
const ABROAD: Budget = Budget { burst: 50, each: SignedDuration::from_secs(10), streak: 0 };
/// Apps that register themselves, from one network.
const REGISTER: Budget = Budget { burst: 10, each: SignedDuration::from_mins(10), streak: 0 };
const NETWORK: Budget = Budget { burst: 50, each: SignedDuration::from_secs(10), streak: 0 };

/// Budgets held in memory. Those that are full again are dropped first; the store has the
/// rest.
const HELD: usize = 100_000;
/// Failures are kept for so long after the last one.
const KEEP: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Refusals of one network are written down so often.
const TOLD: SignedDuration = SignedDuration::from_mins(1);

/// What is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// A password.
    Password,
    /// A one-time or recovery code.
    Code,
    /// Nothing: somebody comes back from an identity provider, who is known only then.
    Abroad,
    /// Nothing: an app registers itself. What it takes is not given back.
    Registration,
}

/// Who tries.
#[derive(Clone, Copy, Debug)]
pub struct Trier<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The name that was typed, whether it is an account's or not; empty where none is.
    pub name: &'a str,
    /// Where from.
    pub ip: IpAddr,
    /// The browser, when the account logged in from it before.
    pub known: Option<&'a str>,
    /// What is guessed at.
    pub guess: Guess,
}

/// Too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// One more is taken after so long. `None`: not before the person was seen.
    pub after: Option<SignedDuration>,
    /// How many refusals of this network are to be written down now.
    pub tell: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When the budget is full again, microseconds since the epoch (the theoretical arrival
    /// time of the generic cell rate algorithm, ITU-T I.371).
    full: i64,
    /// Failures in a row.
    streak: i64,
}

type Key = [u8; 32];

/// An attempt that was let through. Its end has to be told; dropped, it counts as wrong.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    tenant: TenantId,
    took: Vec<(Key, Budget)>,
}

/// The budgets of all tenants.
#[derive(Default)]
pub struct Throttle {
    states: Mutex<HashMap<Key, State>>,
    told: Mutex<HashMap<Key, (Timestamp, u64)>>,
}

impl Throttle {
    fn states(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a browser is still believed to be known for this account: too many failures
    /// in a row there, and it is one like any other.
    ///
    /// # Errors
    /// A store's.
    pub fn trusts(
        &self,
        sessions: &Sessions,
        tenant: &TenantId,
        name: &str,
        browser: &str,
    ) -> Result<bool, Error> {
        for guess in [Guess::Password, Guess::Code] {
            let key = known_key(tenant, name, browser, guess);
            if self.state(sessions, tenant, &key)?.streak >= KNOWN.streak {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes an attempt's share of the budgets.
    ///
    /// # Errors
    /// A store's: then nobody gets in.
    pub fn begin(
        &self,
        sessions: &Sessions,
        who: &Trier<'_>,
        now: Timestamp,
    ) -> Result<Result<Attempt, Wait>, Error> {
        let took: Vec<(Key, Budget)> = match who.known {
            Some(browser) => {
                // Where nothing is guessed nothing is closed either.
                let streak = if who.guess == Guess::Abroad { 0 } else { KNOWN.streak };
                let budget = Budget { streak, ..KNOWN };
                vec![(known_key(who.tenant, who.name, browser, who.guess), budget)]
            }
            None if matches!(who.guess, Guess::Abroad | Guess::Registration) => {
                let (network, t) = (network(who.ip), who.tenant.as_str().as_bytes());
                let budget = if who.guess == Guess::Abroad { ABROAD } else { REGISTER };
                vec![(key(&[b"apart", kind(who.guess), t, &network]), budget)]
            }
            None => {
                let network = network(who.ip);
                let kind = kind(who.guess);
                let (t, n) = (who.tenant.as_str().as_bytes(), who.name.as_bytes());
                vec![
                    (key(&[b"here", kind, t, n, &network]), HERE),
                    (key(&[b"account", kind, t, n]), ACCOUNT),
                    (key(&[b"network", t, &network]), NETWORK),
                ]
            }
        };
        for (key, _) in &took {
            self.state(sessions, who.tenant, key)?;
        }
        let now_us = now.as_microsecond();
        let mut states = self.states();
        let mut wait: Option<i64> = None;
        let mut closed = false;
        for (key, budget) in &took {
            let state = states.get(key).copied().unwrap_or_default();
            closed |= budget.streak > 0 && state.streak >= budget.streak;
            let each = micros(budget.each);
            let next = state.full.max(now_us) + each - budget.burst * each;
            if next > now_us {
                wait = wait.max(Some(next - now_us));
            }
        }
        if closed || wait.is_some() {
            drop(states);
            let after = if closed { None } else { wait.map(SignedDuration::from_micros) };
            return Ok(Err(Wait { after, tell: self.tell(who, now) }));
        }
        for (key, budget) in &took {
            let state = states.entry(*key).or_default();
            state.full = state.full.max(now_us) + micros(budget.each);
        }
        Ok(Ok(Attempt { tenant: who.tenant.clone(), took }))
    }

    /// A budget's state, from the store when it is not in memory.
    fn state(&self, sessions: &Sessions, tenant: &TenantId, key: &Key) -> Result<State, Error> {
        if let Some(state) = self.states().get(key) {
            return Ok(*state);
        }
        let kept = sessions.counter(tenant, &[b"budget", key])?;
        let mut states = self.states();
        if states.len() >= HELD {
            // What is dropped lies in the store as it was at its last failure.
            states.clear();
        }
        Ok(*states.entry(*key).or_insert(State { full: kept.at, streak: kept.value }))
    }

    /// Whether refusals of this network are to be told now, and how many since the last
    /// time: a flood makes one audit entry a minute, not one a request.
    fn tell(&self, who: &Trier<'_>, now: Timestamp) -> Option<u64> {
        let key = key(&[b"told", who.tenant.as_str().as_bytes(), &network(who.ip)]);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= HELD {
            told.clear();
        }
        let (last, count) = told.entry(key).or_insert((Timestamp::MIN, 0));
        *count += 1;
        if now.duration_since(*last) < TOLD {
            return None;
        }
        *last = now;
        Some(std::mem::take(count))
    }
}

impl Attempt {
    /// It was wrong: written down durably before anyone is told.
    ///
    /// # Errors
    /// A store's. In memory it counts in any case.
    pub fn failed(
        self,
        throttle: &Throttle,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut kept = Vec::new();
        {
            let mut states = throttle.states();
            for (key, _) in &self.took {
                let state = states.entry(*key).or_default();
                state.streak += 1;
                kept.push((*key, Counter { value: state.streak, at: state.full }));
            }
        }
        self.keep(sessions, &kept, now)
    }

    /// It was right: what it took is given back, and the row of failures ends.
    ///
    /// # Errors
    /// A store's.
    pub fn passed(
        self,
        throttle: &Throttle,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut kept = Vec::new();
        {
            let mut states = throttle.states();
            for (key, budget) in &self.took {
                let state = states.entry(*key).or_default();
                state.full -= micros(budget.each);
                if budget.streak > 0 && state.streak > 0 {
                    state.streak = 0;
                    kept.push((*key, Counter { value: 0, at: state.full }));
                }
            }
        }
        self.keep(sessions, &kept, now)
    }

    fn keep(
        &self,
        sessions: &Sessions,
        kept: &[(Key, Counter)],
        now: Timestamp,
    ) -> Result<(), Error> {
        if kept.is_empty() {
            return Ok(());
        }
        let names: Vec<[&[u8]; 2]> = kept.iter().map(|(key, _)| [&b"budget"[..], key]).collect();
        let all: Vec<(&[&[u8]], Counter)> =
            names.iter().zip(kept).map(|(name, (_, c))| (&name[..], *c)).collect();
        Ok(sessions.set_counters(&self.tenant, &all, now, KEEP)?)
    }
}

impl Throttle {
    /// The person was seen by other means than a guess: unknown browsers may try again.
    ///
    /// # Errors
    /// A store's.
    pub fn seen(
        &self,
        sessions: &Sessions,
        tenant: &TenantId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (t, n) = (tenant.as_str().as_bytes(), name.as_bytes());
        let mut kept = Vec::new();
        for guess in [Guess::Password, Guess::Code] {
            let key = key(&[b"account", kind(guess), t, n]);
            self.state(sessions, tenant, &key)?;
            if let Some(state) = self.states().get_mut(&key)
                && state.streak > 0
            {
                state.streak = 0;
                kept.push((key, Counter { value: 0, at: state.full }));
            }
        }
        Attempt { tenant: tenant.clone(), took: Vec::new() }.keep(sessions, &kept, now)
    }
}

fn kind(guess: Guess) -> &'static [u8] {
    match guess {
        Guess::Password => b"password",
        Guess::Code => b"code",
        Guess::Abroad => b"abroad",
        Guess::Registration => b"registration",
    }
}

fn known_key(tenant: &TenantId, name: &str, browser: &str, guess: Guess) -> Key {
    let (t, n, b) = (tenant.as_str().as_bytes(), name.as_bytes(), browser.as_bytes());
    key(&[b"known", kind(guess), t, n, b])
}

/// Parts behind their lengths, hashed: what was typed is not kept.
fn key(parts: &[&[u8]]) -> Key {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    phial_crypto::sha256(&all)
}

/// The network of an address: /24 of IPv4, /48 of IPv6.
fn network(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.octets().iter().take(3).copied().collect(),
        IpAddr::V6(v6) => v6.octets().iter().take(6).copied().collect(),
    }
}

fn micros(d: SignedDuration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX / 4)
}
