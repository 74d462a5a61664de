//! The HTTP surface: TLS, routes, authentication, and the translation between HTTP
//! and the engine's interactions. It holds no rules about who may see what.

mod answer;
mod authn;
mod binary;
mod bulk;
mod client;
mod coding;
mod cors;
#[cfg(test)]
mod errors;
mod finish;
mod health;
mod listen;
mod negotiate;
mod oauth;
mod openapi;
mod operations;
mod pages;
mod prefer;
mod pretty;
mod readers;
mod route;
mod scim;
mod serve;
mod surface;
mod tls;
mod urls;
mod writes;
mod x509;

pub(crate) use client::client;
pub(crate) use cors::is_origin;
#[cfg(test)]
pub(crate) use errors::ERRORS;
pub(crate) use listen::{Serving, serve};
pub(crate) use oauth::KeySets;
pub(crate) use oauth::outgoing;
#[cfg(test)]
pub(crate) use openapi::document as openapi;
pub(crate) use pages::hashing::Hashing;
pub(crate) use pages::passkeys::Answered;
pub(crate) use tls::{Described, OFFERED, describe as describe_certificate};
