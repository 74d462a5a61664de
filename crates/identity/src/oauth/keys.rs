//! The keys that sign id_tokens: in the control log, sealed under the tenant's control
//! key, with their public halves for everyone.
//!
//! A key signs for 90 days and stays published for another 30, so that whoever cached the
//! set knows it. It refuses to sign with a key that is not published.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use phial_base::{Rng, TenantId};
use phial_crypto::{JwsAlg, JwsSigner};
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::jwt::{Jwk, signed};
use crate::error::Error;

const KIND: &str = "token-key";
/// How long a key signs.
const SIGNS: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long after that it is still published.
const PUBLISHED_LONGER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The algorithms that id_tokens are signed by.
const ALGS: [JwsAlg; 2] = [JwsAlg::RS256, JwsAlg::ES384];

/// A key as it lies in the control log. Field names are part of its content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    kid: String,
    alg: String,
    created: i64,
    /// PKCS #8, base64url.
    private: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}

/// A key's public half, and since when it signs.
#[derive(Clone, Debug)]
pub struct Published {
    /// The public half, with its name.
    pub jwk: Jwk,
    /// Since when.
    pub created: Timestamp,
}

type Known = HashMap<(TenantId, String), Arc<JwsSigner>>;

/// The keys of all tenants; opened ones are remembered.
#[derive(Default)]
pub struct Keys {
    known: Mutex<Known>,
}

impl Keys {
    /// The public halves that tokens may have been signed with, newest first. Makes what
    /// is missing or due.
    ///
    /// # Errors
    /// A store's, or [`Error::Signing`].
    pub fn published(
        &self,
        control: &ControlLog,
        rng: &dyn Rng,
        now: Timestamp,
    ) -> Result<Vec<Published>, Error> {
        for alg in ALGS {
            self.current(control, alg, rng, now)?;
        }
        let mut all: Vec<Published> = Vec::new();
        for kept in kept(control)? {
            let created = created(&kept)?;
            if now.duration_since(created) > SIGNS + PUBLISHED_LONGER {
                continue;
            }
            let (alg, signer) = open(&kept)?;
            let key = signer.public().map_err(|_| Error::Signing)?;
            let jwk = Jwk { kid: Some(kept.kid.clone()), alg: Some(alg), key };
            all.push(Published { jwk, created });
        }
        all.sort_by(|a, b| b.created.cmp(&a.created).then(b.jwk.kid.cmp(&a.jwk.kid)));
        Ok(all)
    }

    /// An id_token with these claims.
    ///
    /// # Errors
    /// A store's, or [`Error::Signing`].
    pub fn sign(
        &self,
        control: &ControlLog,
        tenant: &TenantId,
        alg: JwsAlg,
        claims: &Value,
        rng: &dyn Rng,
        now: Timestamp,
    ) -> Result<String, Error> {
        let kept = self.current(control, alg, rng, now)?;
        let name = (tenant.clone(), kept.kid.clone());
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&name).cloned();
        let signer = match known {
            Some(signer) => signer,
            None => {
                let signer = Arc::new(open(&kept)?.1);
                lock().insert(name, Arc::clone(&signer));
                signer
            }
        };
        signed(&signer, &kept.kid, claims).map_err(|_| Error::Signing)
    }

    /// Makes new keys now, whatever the age of those there are: the ones before stay
    /// published. Says their names.
    ///
    /// # Errors
    /// A store's, or [`Error::Signing`].
    pub fn rotate(
        &self,
        control: &ControlLog,
        rng: &dyn Rng,
        now: Timestamp,
    ) -> Result<Vec<String>, Error> {
        ALGS.into_iter().map(|alg| make(control, alg, rng, now).map(|k| k.kid.clone())).collect()
    }

    fn current(
        &self,
        control: &ControlLog,
        alg: JwsAlg,
        rng: &dyn Rng,
        now: Timestamp,
    ) -> Result<Kept, Error> {
        let newest = kept(control)?
            .into_iter()
            .filter(|k| k.alg == alg.name())
            .max_by_key(|k| (k.created, k.kid.clone()));
        match newest {
            Some(k) if now.duration_since(created(&k)?) < SIGNS => Ok(k),
            _ => make(control, alg, rng, now),
        }
    }
}

fn make(control: &ControlLog, alg: JwsAlg, rng: &dyn Rng, now: Timestamp) -> Result<Kept, Error> {
    let private = JwsSigner::generate(alg).map_err(|_| Error::Signing)?;
    let mut kid = [0u8; 8];
    rng.fill(&mut kid);
    let kept = Kept {
        kid: hex::encode(kid),
        alg: alg.name().to_owned(),
        created: now.as_second(),
        private: URL_SAFE_NO_PAD.encode(&*private),
    };
    let value = json!({
        "kid": kept.kid, "alg": kept.alg, "created": kept.created, "private": kept.private,
    });
    control.put(KIND, &kept.kid, &value, None)?;
    Ok(kept)
}

fn kept(control: &ControlLog) -> Result<Vec<Kept>, Error> {
    control
        .list(KIND)?
        .into_iter()
        .map(|r| serde_json::from_value(r.value).map_err(|_| Error::Signing))
        .collect()
}

fn created(kept: &Kept) -> Result<Timestamp, Error> {
    Timestamp::from_second(kept.created).map_err(|_| Error::Signing)
}

fn open(kept: &Kept) -> Result<(JwsAlg, JwsSigner), Error> {
    let alg = JwsAlg::from_name(&kept.alg).ok_or(Error::Signing)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(&kept.private).map_err(|_| Error::Signing)?);
    Ok((alg, JwsSigner::from_pkcs8(alg, &bytes).map_err(|_| Error::Signing)?))
}
