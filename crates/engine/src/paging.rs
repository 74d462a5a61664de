//! Paging tokens: sealed, bound to tenant and subject, holding the search, the
//! snapshot and the last key seen. Without the tenant's paging key a token says
//! nothing; with another subject it opens nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use phial_base::{Rng, Seq};
use phial_crypto::{SecretKey, Zeroizing};

use crate::caller::Caller;
use crate::gate::Engine;

/// What a token remembers. Field numbers are append-only.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Resource type searched.
    #[n(0)]
    pub(crate) ty: String,
    /// The search parameters as they were given.
    #[n(1)]
    pub(crate) pairs: Vec<(String, String)>,
    /// Type and id of the compartment, if the search was in one.
    #[n(2)]
    pub(crate) compartment: Option<(String, String)>,
    /// The sequence at which the first page was taken.
    #[n(3)]
    pub(crate) at: u64,
    /// Key of the last match of the page before; none for the first page.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(crate) after: Option<Vec<u8>>,
    /// When the first page was taken, microseconds since the epoch.
    #[n(5)]
    pub(crate) taken: i64,
}

impl Token {
    pub(crate) fn at(&self) -> Seq {
        Seq(self.at)
    }

    pub(crate) fn seal(&self, key: &SecretKey, caller: &Caller, engine: &Engine) -> String {
        seal(b"page", self, key, caller, engine)
    }

    /// The token in this text; `None` when it is damaged or somebody else's.
    pub(crate) fn open(text: &str, key: &SecretKey, caller: &Caller) -> Option<Token> {
        open(b"page", text, key, caller)
    }
}

/// What a token of a history remembers. Field numbers are append-only.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryToken {
    /// Type and id of the record, as in a relative reference.
    #[n(0)]
    pub(crate) record: String,
    /// The parameters as they were given.
    #[n(1)]
    pub(crate) pairs: Vec<(String, String)>,
    /// The page begins below this version.
    #[n(2)]
    pub(crate) below: u32,
    /// When the version just below was followed by another that the caller saw,
    /// microseconds since the epoch.
    #[n(3)]
    pub(crate) until: i64,
    /// How many versions the first page counted.
    #[n(4)]
    pub(crate) total: u64,
    /// When the first page was taken, microseconds since the epoch.
    #[n(5)]
    pub(crate) taken: i64,
}

impl HistoryToken {
    pub(crate) fn seal(&self, key: &SecretKey, caller: &Caller, engine: &Engine) -> String {
        seal(b"history", self, key, caller, engine)
    }

    /// As [`Token::open`]; a token of a search is none of a history.
    pub(crate) fn open(text: &str, key: &SecretKey, caller: &Caller) -> Option<HistoryToken> {
        open(b"history", text, key, caller)
    }
}

/// What a token of the history of a type or of the system remembers. Field numbers are
/// append-only.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogToken {
    /// The type; empty for the system.
    #[n(0)]
    pub(crate) ty: String,
    /// The parameters as they were given.
    #[n(1)]
    pub(crate) pairs: Vec<(String, String)>,
    /// The page begins below this place of the log.
    #[n(2)]
    pub(crate) below: u64,
    /// When the first page was taken, microseconds since the epoch.
    #[n(3)]
    pub(crate) taken: i64,
}

impl LogToken {
    pub(crate) fn seal(&self, key: &SecretKey, caller: &Caller, engine: &Engine) -> String {
        seal(b"log-history", self, key, caller, engine)
    }

    /// As [`Token::open`]; a token of a search or of one record is none of these.
    pub(crate) fn open(text: &str, key: &SecretKey, caller: &Caller) -> Option<LogToken> {
        open(b"log-history", text, key, caller)
    }
}

/// What a token of `$everything` remembers. Field numbers are append-only.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) struct EverythingToken {
    /// Type and id of the patient or encounter, as in a relative reference.
    #[n(0)]
    pub(crate) record: String,
    /// The parameters as they were given.
    #[n(1)]
    pub(crate) pairs: Vec<(String, String)>,
    /// The sequence at which the first page was taken.
    #[n(2)]
    pub(crate) at: u64,
    /// Which of the searches that the operation is made of the page begins in.
    #[n(3)]
    pub(crate) phase: u32,
    /// Key of the last match of the page before, within that search.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(crate) after: Option<Vec<u8>>,
    /// When the first page was taken, microseconds since the epoch.
    #[n(5)]
    pub(crate) taken: i64,
}

impl EverythingToken {
    pub(crate) fn seal(&self, key: &SecretKey, caller: &Caller, engine: &Engine) -> String {
        seal(b"everything", self, key, caller, engine)
    }

    /// As [`Token::open`]; a token of a search is none of this operation.
    pub(crate) fn open(text: &str, key: &SecretKey, caller: &Caller) -> Option<EverythingToken> {
        open(b"everything", text, key, caller)
    }
}

fn seal<T: Encode<()>>(
    what: &[u8],
    token: &T,
    key: &SecretKey,
    caller: &Caller,
    engine: &Engine,
) -> String {
    seal_text(key, &aad(what, caller), &encode(token), engine.rng())
}

fn open<T: for<'b> Decode<'b, ()>>(
    what: &[u8],
    text: &str,
    key: &SecretKey,
    caller: &Caller,
) -> Option<T> {
    decode(&open_text(text, key, &aad(what, caller))?)
}

pub(crate) fn encode<T: Encode<()>>(token: &T) -> Vec<u8> {
    // Encoding into a Vec can't fail; an empty token would be refused on return.
    minicbor::to_vec(token).unwrap_or_default()
}

pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    minicbor::decode(bytes).ok()
}

pub(crate) fn seal_text(key: &SecretKey, aad: &[&[u8]], bytes: &[u8], rng: &dyn Rng) -> String {
    URL_SAFE_NO_PAD.encode(phial_crypto::seal_small(key, aad, bytes, rng))
}

pub(crate) fn open_text(text: &str, key: &SecretKey, aad: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    phial_crypto::open_small(key, aad, &sealed).ok()
}

fn aad<'a>(what: &'a [u8], caller: &'a Caller) -> [&'a [u8]; 4] {
    [
        what,
        caller.subject.tenant.as_str().as_bytes(),
        caller.subject.id.as_str().as_bytes(),
        caller.subject.purpose.code().as_bytes(),
    ]
}
