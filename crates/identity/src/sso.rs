//! Log-in at an identity provider of the organization's own, as its relying party (OpenID
//! Connect Core 1.0; RFC 7636, 9207, 9700).
//!
//! | module | owns |
//! |---|---|
//! | `id_token` | what is checked of an id_token, all of it |
//! | `link` | which person at which provider is which account |
//! | `roles` | what a provider may say of roles |
//!
//! It believes a provider about who somebody is there and, where the operator says so, how
//! that was shown and which roles the person has. It refuses to know anybody by a name or
//! an e-mail address: those are given again to others.

mod id_token;
mod link;
mod roles;

pub use id_token::{Expected, Proven};
pub use link::{Link, Links};
pub use roles::{RoleMap, mapped};
