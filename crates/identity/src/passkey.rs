//! Passkeys: registration and log-in after Web Authentication Level 3
//! (<https://www.w3.org/TR/webauthn-3/#sctn-registering-a-new-credential>,
//! <https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion>).
//!
//! It owns what a browser sends and what of it must hold. It asks for no attestation and
//! believes none: which make an authenticator is decides nothing here (decision 0063). It
//! refuses another origin, another site, a page inside another page, a challenge that is
//! not ours, algorithms other than ES256, EdDSA and RS256, and a counter that went back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use phial_crypto::{ForeignKey, constant_time_eq, sha256};
use serde::{Deserialize, Serialize};

/// The site as browsers know it: host name, and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The relying party's id: the host name, without port.
    pub id: String,
    /// `https://host[:port]`
    pub origin: String,
}

/// A passkey as it is kept. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// The credential's id, base64url.
    pub id: String,
    /// Its public key.
    pub key: StoredKey,
    /// The site that it was made for.
    pub site: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was added, RFC 3339.
    pub added: String,
}

/// A public key as it is kept: COSE algorithm and base64url parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    alg: i64,
    a: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    b: String,
}

/// Why what a browser sent is not good. Never says a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not of the form that the specification gives it.
    #[error("what the browser sent has not the right form")]
    Form,
    /// It answers something else than what was asked.
    #[error("it is no answer to what was asked")]
    Challenge,
    /// It was made for another site, or inside another one's page.
    #[error("it was made for another site")]
    Site,
    /// Nobody touched the authenticator.
    #[error("nobody was present")]
    Presence,
    /// The authenticator did not check who it was.
    #[error("the authenticator did not check who was there")]
    Verification,
    /// An algorithm that is not taken.
    #[error("the key is of a kind that is not taken")]
    Algorithm,
    /// The signature is not that of the key.
    #[error("the signature is not that of the key")]
    Signature,
}

/// What a browser made at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The credential's id, base64url.
    pub id: String,
    /// Its key.
    pub key: StoredKey,
    /// The authenticator's counter.
    pub counter: u32,
}

/// What a log-in with a passkey showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The authenticator's counter; 0 from those that have none.
    pub counter: u32,
    /// Whether the authenticator checked who was there: then it is two factors in one
    /// (SP 800-63B-4 §3.1.7).
    pub verified: bool,
}

/// The largest thing that is taken from a browser, bytes.
const LARGEST: usize = 16 * 1024;

/// Takes base64url as browsers give it.
///
/// # Errors
/// [`Problem::Form`]
pub fn decoded(text: &str) -> Result<Vec<u8>, Problem> {
    if text.len() > LARGEST * 2 {
        return Err(Problem::Form);
    }
    B64.decode(text.trim_end_matches('=')).map_err(|_| Problem::Form)
}

/// base64url without padding.
#[must_use]
pub fn encoded(bytes: &[u8]) -> String {
    B64.encode(bytes)
}

/// Registration (§7.1). User verification is demanded, so that a passkey alone is two
/// factors.
///
/// # Errors
/// What of it does not hold.
pub fn register(
    site: &Site,
    challenge: &[u8],
    client_data: &[u8],
    attestation: &[u8],
) -> Result<Made, Problem> {
    client(site, "webauthn.create", challenge, client_data)?;
    let data = authenticator_data(attestation)?;
    let head = Head::read(site, &data)?;
    if !head.verified {
        return Err(Problem::Verification);
    }
    if head.flags & 0x40 == 0 {
        return Err(Problem::Form);
    }
    // AAGUID (16), length of the id (2), the id, the key.
    let rest = data.get(37 + 16..).ok_or(Problem::Form)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Problem::Form)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(16..=1023).contains(&length) {
        return Err(Problem::Form);
    }
    let id = rest.get(..length).ok_or(Problem::Form)?;
    let key = cose(rest.get(length..).ok_or(Problem::Form)?)?;
    Ok(Made { id: encoded(id), key, counter: head.counter })
}

/// An assertion (§7.2) by a passkey that is kept.
///
/// # Errors
/// What of it does not hold.
pub fn assert(
    site: &Site,
    challenge: &[u8],
    passkey: &Passkey,
    client_data: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<Shown, Problem> {
    client(site, "webauthn.get", challenge, client_data)?;
    if passkey.site != site.id {
        return Err(Problem::Site);
    }
    let head = Head::read(site, data)?;
    let mut message = data.to_vec();
    message.extend_from_slice(&sha256(client_data));
    passkey.key.open()?.verify(&message, signature).map_err(|_| Problem::Signature)?;
    Ok(Shown { counter: head.counter, verified: head.verified })
}

/// The client data (§5.8.1): what the browser itself vouches for.
fn client(site: &Site, kind: &str, challenge: &[u8], json: &[u8]) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct ClientData {
        #[serde(rename = "type")]
        kind: String,
        challenge: String,
        origin: String,
        #[serde(default, rename = "crossOrigin")]
        cross_origin: bool,
    }
    if json.len() > LARGEST {
        return Err(Problem::Form);
    }
    let said: ClientData = serde_json::from_slice(json).map_err(|_| Problem::Form)?;
    if said.kind != kind {
        return Err(Problem::Form);
    }
    if !constant_time_eq(&decoded(&said.challenge)?, challenge) {
        return Err(Problem::Challenge);
    }
    if said.origin != site.origin || said.cross_origin {
        return Err(Problem::Site);
    }
    Ok(())
}

/// The head of authenticator data (§6.1).
struct Head {
    flags: u8,
    verified: bool,
    counter: u32,
}

impl Head {
    fn read(site: &Site, data: &[u8]) -> Result<Head, Problem> {
        let (hash, rest) = data.split_first_chunk::<32>().ok_or(Problem::Form)?;
        let (&flags, rest) = rest.split_first().ok_or(Problem::Form)?;
        let counter = rest.first_chunk::<4>().ok_or(Problem::Form)?;
        if *hash != sha256(site.id.as_bytes()) {
            return Err(Problem::Site);
        }
        if flags & 0x01 == 0 {
            return Err(Problem::Presence);
        }
        // Backed up, but not fit to be: such data is to be refused (§6.1.3).
        if flags & 0x18 == 0x10 {
            return Err(Problem::Form);
        }
        let verified = flags & 0x04 != 0;
        Ok(Head { flags, verified, counter: u32::from_be_bytes(*counter) })
    }
}

/// The authenticator data within an attestation object (§6.5.4): CBOR, a map.
fn authenticator_data(attestation: &[u8]) -> Result<Vec<u8>, Problem> {
    if attestation.len() > LARGEST {
        return Err(Problem::Form);
    }
    let mut d = minicbor::Decoder::new(attestation);
    let members = d.map().map_err(|_| Problem::Form)?.ok_or(Problem::Form)?;
    let mut found = None;
    for _ in 0..members {
        match d.str().map_err(|_| Problem::Form)? {
            "authData" => found = Some(d.bytes().map_err(|_| Problem::Form)?.to_vec()),
            _ => d.skip().map_err(|_| Problem::Form)?,
        }
    }
    found.ok_or(Problem::Form)
}

/// A COSE key (RFC 9053 §7) at the start of `bytes`; what follows it are extensions.
fn cose(bytes: &[u8]) -> Result<StoredKey, Problem> {
    let form = |_| Problem::Form;
    let mut d = minicbor::Decoder::new(bytes);
    let members = d.map().map_err(form)?.ok_or(Problem::Form)?;
    let (mut kty, mut alg, mut curve) = (0i64, 0i64, 0i64);
    let (mut first, mut second, mut third) = (None, None, None);
    for _ in 0..members {
        match d.i64().map_err(form)? {
            1 => kty = d.i64().map_err(form)?,
            3 => alg = d.i64().map_err(form)?,
            -1 if kty == 3 => first = Some(d.bytes().map_err(form)?.to_vec()),
            -1 => curve = d.i64().map_err(form)?,
            -2 => second = Some(d.bytes().map_err(form)?.to_vec()),
            -3 => third = Some(d.bytes().map_err(form)?.to_vec()),
            _ => d.skip().map_err(form)?,
        }
    }
    let stored = |a: Option<Vec<u8>>, b: Option<Vec<u8>>| {
        Ok(StoredKey {
            alg,
            a: encoded(&a.ok_or(Problem::Form)?),
            b: b.map(|b| encoded(&b)).unwrap_or_default(),
        })
    };
    let key = match (kty, alg, curve) {
        (2, -7, 1) => stored(second, third)?,
        (1, -8, 6) => stored(second, None)?,
        (3, -257, _) => stored(first, second)?,
        _ => return Err(Problem::Algorithm),
    };
    key.open()?;
    Ok(key)
}

impl StoredKey {
    fn open(&self) -> Result<ForeignKey, Problem> {
        let (a, b) = (decoded(&self.a)?, decoded(&self.b)?);
        let fixed = |v: &[u8]| <[u8; 32]>::try_from(v).map_err(|_| Problem::Form);
        match self.alg {
            -7 => Ok(ForeignKey::P256(fixed(&a)?, fixed(&b)?)),
            -8 => Ok(ForeignKey::Ed25519(fixed(&a)?)),
            -257 => Ok(ForeignKey::Rsa(a, b)),
            _ => Err(Problem::Algorithm),
        }
    }
}

#[cfg(test)]
mod tests;
