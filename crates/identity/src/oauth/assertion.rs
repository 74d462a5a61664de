//! How a client proves who it is: by a token signed with its key (RFC 7523; SMART
//! "asymmetric client authentication"), a secret, a certificate (RFC 8705), or, when it is
//! public, by nothing.
//!
//! An assertion is good for five minutes at most, for this server's token endpoint alone,
//! and once: its `jti` is marked before it counts.

use jiff::{SignedDuration, Timestamp};
use phial_base::TenantId;
use phial_crypto::JwsAlg;
use phial_store::tickets::Tickets;

use super::client::{Client, ClientKind};
use super::jwt::{JwkSet, Jwt, is_for, moment};
use super::refused::{Code, Refused};

/// How long an assertion may hold.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// How far another machine's clock may be ahead of this one's.
const SKEW: SignedDuration = SignedDuration::from_secs(10);
/// The algorithms of SMART's backend services.
const ALGS: [JwsAlg; 2] = [JwsAlg::RS384, JwsAlg::ES384];

/// By what a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By nothing.
    None,
    /// By its secret.
    Secret,
    /// By its key.
    Key,
    /// By its certificate.
    Certificate,
}

/// A signed token by which a client says who it is.
#[derive(Debug)]
pub struct Assertion<'t> {
    jwt: Jwt<'t>,
}

fn no(why: &'static str) -> Refused {
    Refused::new(Code::InvalidClient, why)
}

impl<'t> Assertion<'t> {
    /// Takes one apart.
    ///
    /// # Errors
    /// [`Refused`] when it has another form.
    pub fn read(token: &'t str) -> Result<Self, Refused> {
        Ok(Assertion { jwt: Jwt::read(token).map_err(no)? })
    }

    /// Which client it says it is; not to be believed yet.
    ///
    /// # Errors
    /// [`Refused`] unless `iss` and `sub` are the same.
    pub fn client(&self) -> Result<&str, Refused> {
        match (self.jwt.claimed("iss"), self.jwt.claimed("sub")) {
            (Some(iss), Some(sub)) if iss == sub => Ok(iss),
            _ => Err(no("the assertion's iss and sub are both the client's name")),
        }
    }

    /// The name of its key.
    ///
    /// # Errors
    /// [`Refused`] when it names none.
    pub fn kid(&self) -> Result<&str, Refused> {
        self.jwt.kid().ok_or(no("the assertion's header names no key (kid)"))
    }

    /// Checks it: key, algorithm, audience, times, and that it was not used before.
    ///
    /// # Errors
    /// [`Refused`], saying what is wrong.
    pub fn verify(
        &self,
        client: &Client,
        keys: &JwkSet,
        audience: &str,
        tickets: &Tickets,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Proof, Refused> {
        if client.kind == ClientKind::Public {
            return Err(no("a public app has no keys to prove itself by"));
        }
        self.kid()?;
        if let Some(jku) = self.jwt.header("jku")
            && client.jwks_uri.as_deref() != Some(jku)
        {
            return Err(no("the assertion's jku is not where the client's keys are registered"));
        }
        let claims = self.jwt.verify(keys, &ALGS).map_err(no)?;
        if !is_for(claims, audience) {
            return Err(no("the assertion's aud is not this token endpoint"));
        }
        let expires =
            moment(claims, "exp").ok_or(no("the assertion does not say when it ends (exp)"))?;
        if expires <= now {
            return Err(no("the assertion has ended"));
        }
        if expires.duration_since(now) > LONGEST + SKEW {
            return Err(no("the assertion holds for more than five minutes"));
        }
        for name in ["nbf", "iat"] {
            if moment(claims, name).is_some_and(|at| at.duration_since(now) > SKEW) {
                return Err(no("the assertion is of a time to come"));
            }
        }
        let jti = claims.get("jti").and_then(|v| v.as_str()).unwrap_or("");
        if jti.is_empty() || jti.len() > 256 {
            return Err(no("the assertion has no number of its own (jti)"));
        }
        if tickets.mark(tenant, &["jti", &client.id, jti], expires, now)? {
            Ok(Proof::Key)
        } else {
            Err(no("the assertion was used before (jti)"))
        }
    }
}
