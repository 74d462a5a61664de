//! What can go wrong here. No message holds a value of an entry.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not of the format that they claim to be.
    #[error("malformed {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// A format version that this build does not know.
    #[error("unknown format version {version} of {what}")]
    UnknownVersion {
        /// What was being read.
        what: &'static str,
        /// The version found.
        version: u8,
    },
    /// An entry could not be encoded.
    #[error("entry could not be encoded")]
    Encode,
    /// A sealed entry is larger than a leaf of the log may be.
    #[error("sealed entry of {size} bytes is larger than {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The period key that an entry is sealed under is not held.
    #[error("no audit period key {0}")]
    NoPeriodKey(phial_base::KeyHandle),
    /// An entry names a patient for whom there is no audit key, or who is forgotten.
    #[error("no audit key for a patient that the entry names")]
    NoPatientKey,
    /// A target speaks of a patient that the entry does not list.
    #[error("entry refers to patient {index} of {count}")]
    PatientIndex {
        /// The index used.
        index: u32,
        /// How many patients the entry lists.
        count: usize,
    },
    /// Keys could not be looked up at all.
    #[error("audit keys are unavailable")]
    KeysUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A sealed part did not open, or a signature key was refused.
    #[error("sealed part does not open")]
    Crypto(#[from] phial_crypto::Error),
    /// A key name of a signed note has a forbidden character, or is empty.
    #[error("not a valid key name of a signed note")]
    KeyName,
    /// No signature line of the note is by the expected key.
    #[error("note is not signed by the expected key")]
    NotSigned,
    /// The expected key's signature line does not verify.
    #[error("signature of the note does not verify")]
    BadSignature,
    /// A checkpoint has another origin than the log.
    #[error("checkpoint is of another log")]
    OtherOrigin,
    /// A checkpoint was handed to the verifier after its place had been passed.
    #[error("checkpoint of size {size} was given after {fed} entries")]
    CheckpointLate {
        /// The checkpoint's tree size.
        size: u64,
        /// Entries fed before.
        fed: u64,
    },
    /// A size or an index lies outside the tree.
    #[error("index or size outside the tree")]
    OutsideTree,
    /// The hash of a node that a proof needs is not at hand.
    #[error("tree node is not at hand: level {level}, index {index}")]
    MissingNode {
        /// Level above the leaves.
        level: u32,
        /// Index in that level.
        index: u64,
    },
    /// A proof does not show what it claims.
    #[error("proof does not verify")]
    BadProof,
}

impl Error {
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Error::Malformed { what }
    }
}
