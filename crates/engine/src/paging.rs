//! Paging tokens: sealed, bound to tenant and subject, holding the search, the
//! snapshot and the last key seen. Without the tenant's paging key a token says
//! nothing; with another subject it opens nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use phial_base::{Rng, Seq};
use phial_crypto::{SecretKey, Zeroizing};
use phial_fhir::issue::IssueCode;
use phial_store::index::PageKey;
use phial_store::vessel::SNAPSHOT_LIFE_US;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;

/// A token by which a later page is asked for. One kind is none of another.
pub(crate) trait Paging: Encode<()> + for<'b> Decode<'b, ()> {
    /// The kind, bound into the seal.
    const WHAT: &'static [u8];
    /// What someone does whose token is of no use.
    const AGAIN: &'static str;

    /// When the first page was taken, microseconds since the epoch.
    fn taken(&self) -> i64;

    /// The token as text.
    fn seal(&self, key: &SecretKey, caller: &Caller, engine: &Engine) -> String {
        seal_text(key, &aad(Self::WHAT, caller), &encode(self), engine.rng())
    }

    /// The token in this text; `None` when it is damaged, of another kind or somebody
    /// else's.
    fn open(text: &str, key: &SecretKey, caller: &Caller) -> Option<Self> {
        decode(&open_text(text, key, &aad(Self::WHAT, caller))?)
    }

    /// The token among the parameters of a request, when it is one for this caller and
    /// `fits` what is asked; `None` for a first page.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for one that is of no use here, [`Failure::Gone`] past its life.
    fn asked(
        pairs: &[(String, String)],
        key: &SecretKey,
        caller: &Caller,
        fits: impl FnOnce(&Self) -> bool,
    ) -> Result<Option<Self>, Failure> {
        let Some((_, text)) = pairs.iter().find(|(name, _)| name == "_page") else {
            return Ok(None);
        };
        let token = Self::open(text, key, caller).filter(fits);
        let token = token.ok_or_else(|| Self::of_no_use("is not valid here"))?;
        if token.taken() + SNAPSHOT_LIFE_US < caller.request.at.as_microsecond() {
            return Err(Failure::Gone);
        }
        Ok(Some(token))
    }

    /// The key that a search goes on behind.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for one that another version of this program made.
    fn behind(after: Option<&[u8]>) -> Result<Option<PageKey>, Failure> {
        let key =
            |bytes| PageKey::decode(bytes).ok_or_else(|| Self::of_no_use("is of another version"));
        after.map(key).transpose()
    }

    /// When the first page was taken: now, when this is it.
    fn since(token: Option<&Self>, caller: &Caller) -> i64 {
        token.map_or(caller.request.at.as_microsecond(), Paging::taken)
    }

    /// A refusal of the token.
    fn of_no_use(why: &str) -> Failure {
        let text = format!("this paging token {why}: {}", Self::AGAIN);
        Failure::invalid(IssueCode::Value, "_page", text)
    }
}

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
}

impl Paging for Token {
    // The first kind did not know pages by time of what names no order.
    const WHAT: &'static [u8] = b"page-2";
    const AGAIN: &'static str = "search again";

    fn taken(&self) -> i64 {
        self.taken
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

impl Paging for HistoryToken {
    const WHAT: &'static [u8] = b"history";
    const AGAIN: &'static str = "ask for the history again";

    fn taken(&self) -> i64 {
        self.taken
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

impl Paging for LogToken {
    const WHAT: &'static [u8] = b"log-history";
    const AGAIN: &'static str = "ask for the history again";

    fn taken(&self) -> i64 {
        self.taken
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

impl Paging for EverythingToken {
    const WHAT: &'static [u8] = b"everything";
    const AGAIN: &'static str = "ask for everything again";

    fn taken(&self) -> i64 {
        self.taken
    }
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
