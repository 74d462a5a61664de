//! Apps and services: who they are, what they may ask for, and the tickets by which they
//! are known (SMART App Launch 2.2, SMART Backend Services, OAuth 2.1, OpenID Connect
//! Core 1.0; RFC 6749, 7009, 7523, 7591, 7636, 7662, 8705, 9700).
//!
//! | module | owns |
//! |---|---|
//! | `client` | the register of apps and services, in the control log |
//! | `registration` | what an app that registers itself says |
//! | `subject` | whose certificate it is |
//! | `wanted` | scopes as they are asked for, and what may be given of them |
//! | `jwt` | JSON Web Tokens and key sets |
//! | `assertion` | how a client proves who it is |
//! | `keys` | the keys that sign id_tokens |
//! | `apps` | tickets: given, recognised, withdrawn |
//! | `grant` | what people let apps do |
//!
//! It does no I/O but the stores': fetching a key set over a network is for the program.
//! Whatever it refuses, it refuses with one of the codes of RFC 6749 and a reason in our
//! words, which goes to the audit log whole.

mod apps;
mod assertion;
mod client;
mod grant;
mod jwt;
mod keys;
mod refused;
pub mod registration;
mod subject;
mod wanted;

pub use apps::{Apps, Asking, Code, Given, Launch, Lives, LogIn, Standing};
pub use assertion::{Assertion, Proof};
pub use client::{Client, ClientKind, Clients, New};
pub use grant::{Grant, Grants};
pub(crate) use jwt::moment;
#[cfg(test)]
pub(crate) use jwt::signed;
pub use jwt::{Jwk, JwkSet, Jwt};
pub use keys::{Keys, Published};
pub use refused::{Code as RefusedCode, Refused};
pub use subject::{Called, CertificateName, Dn};
pub use wanted::{Special, Wanted};
