//! Accounts with roles, what people prove themselves by, and the sessions by which they
//! and programs are known (164.312(a)(2)(i), 164.312(d)).
//!
//! An account and its credentials live in its tenant's control log, a session in the
//! sessions store. Roles are looked up at every request, so a change or a suspension holds
//! at once. It refuses to speak HTTP and to wait: pages and their forms are the program's.

mod account;
mod credentials;
mod error;
mod invitation;
pub mod oauth;
pub mod passkey;
pub mod password;
mod review;
pub mod sso;
pub mod throttle;
mod token;
pub mod totp;

pub use account::{Account, Accounts};
pub use credentials::{Credentials, Factors, Totp};
pub use error::Error;
pub use invitation::{Invitation, Invitations, VALID};
pub use review::{Due, Review, Reviews};
pub use token::{Limits, Person, Shown, Tokens};
