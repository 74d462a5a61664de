//! The HTTP surface: TLS, routes, authentication, and the translation between HTTP
//! and the engine's interactions. It holds no rules about who may see what.

mod answer;
mod authn;
mod client;
mod health;
mod listen;
mod prefer;
mod pretty;
mod readers;
mod route;
mod serve;
mod tls;
mod urls;
mod writes;
mod x509;

pub(crate) use client::client;
pub(crate) use listen::{Serving, serve};
pub(crate) use tls::{Described, OFFERED, describe as describe_certificate};
