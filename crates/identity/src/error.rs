//! What can go wrong with accounts and tokens.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The account exists already.
    #[error("there is an account of that name already")]
    Exists,
    /// There is no such account, or it is suspended.
    #[error("there is no active account of that name")]
    NoAccount,
    /// A role that no policy knows.
    #[error("role {0} is not known; known are: {1}")]
    UnknownRole(String, String),
    /// A purpose that none of the account's roles may claim.
    #[error("none of the account's roles may act for purpose {0}; they may for: {1}")]
    Purpose(String, String),
    /// An account needs a role.
    #[error("an account needs at least one role")]
    NoRole,
    /// A record of the control log that is no account.
    #[error("an account in the control log can't be read")]
    Damaged,
    /// An app or service can't be registered like that.
    #[error("{0}")]
    Client(&'static str),
    /// There is no such app or service, or it was removed.
    #[error("there is no client of that name")]
    NoClient,
    /// A record of the control log that is no client or grant.
    #[error("a client in the control log can't be read")]
    DamagedClient,
    /// A key that signs tokens could not be made or read.
    #[error("a key that signs tokens can't be made or read")]
    Signing,
    /// Somebody else changed the same thing again and again.
    #[error("somebody else changes this account right now: try again")]
    Busy,
    /// The last second factor can't be taken away.
    #[error("this is the last passkey or authenticator app: add another one first")]
    LastFactor,
    /// There is no such factor.
    #[error("there is no such passkey or authenticator app")]
    NoFactor,
    /// Nobody may do this to his own account.
    #[error("nobody may do this to the own account: someone else has to")]
    OwnAccount,
    /// An account that was ended stays so.
    #[error("this account was ended for good: give the person a new one")]
    Ended,
    /// A person at an identity provider is one account's, and an account is one person's.
    #[error("{0}")]
    Linked(&'static str),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] phial_store::Error),
}
