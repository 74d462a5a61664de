//! `phial token`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use phial_audit::{DetailKey, EventKind};
use phial_base::{Purpose, SubjectId, Surface, TenantId};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

/// Issue a short-lived bearer token. It is shown once and stored only as a hash. It
/// ends after the idle and the absolute limit of phial.toml.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The account.
    #[arg(long, value_name = "NAME")]
    user: SubjectId,
    /// Purpose of use: TREAT, HPAYMT, HOPERAT… The first that the role may claim when
    /// not given.
    #[arg(long, value_name = "CODE", value_parser = purpose)]
    purpose: Option<Purpose>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

fn purpose(code: &str) -> Result<Purpose, String> {
    Purpose::from_code(code).ok_or_else(|| {
        let known: Vec<&str> = Purpose::ALL.into_iter().map(Purpose::code).collect();
        format!("not a purpose of use; known are {}", known.join(", "))
    })
}

pub(super) fn run(home: &Path, args: &TokenArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let (token, value) = super::runtime()?.block_on(issue(&app, args))?;
    out.result(&token, &value);
    Ok(ExitCode::SUCCESS)
}

async fn issue(app: &App, args: &TokenArgs) -> anyhow::Result<(String, serde_json::Value)> {
    let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
    let now = app.clock.now();
    let (issued, purpose) = app.tokens.issue(
        tenant.vessel.control(),
        app.engine.policy(),
        &args.tenant,
        &args.user,
        args.purpose,
        now,
    )?;
    let caller = app.operator(&args.tenant, Surface::Cli);
    // The token is shown only once its issue is on record.
    app.engine
        .record_event(
            &caller,
            EventKind::TokenIssued,
            &[
                (DetailKey::Account, args.user.to_string()),
                (DetailKey::Token, issued.handle.clone()),
                (DetailKey::Until, issued.expires.to_string()),
            ],
        )
        .await
        .map_err(into_anyhow)?;
    let token = issued.token.as_str().to_owned();
    let value = serde_json::json!({
        "token": token,
        "handle": issued.handle,
        "user": args.user.as_str(),
        "purpose": purpose.code(),
        "expires": issued.expires.to_string(),
    });
    Ok((token, value))
}

/// A token for a tour: made by the same way as on the command line.
pub(super) async fn for_user(app: &App, user: &SubjectId) -> anyhow::Result<String> {
    let args = TokenArgs { user: user.clone(), purpose: None, tenant: TenantId::default_tenant() };
    Ok(issue(app, &args).await?.0)
}
