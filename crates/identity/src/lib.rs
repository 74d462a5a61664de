//! Accounts with roles, and the short-lived tokens by which they are known
//! (164.312(a)(2)(i), 164.312(d)).
//!
//! An account lives in its tenant's control log, a session in the sessions store.
//! Roles are looked up at every request, so a change or a suspension holds at once.

mod account;
mod error;
pub mod oauth;
mod token;

pub use account::{Account, Accounts};
pub use error::Error;
pub use token::{Limits, Tokens};
