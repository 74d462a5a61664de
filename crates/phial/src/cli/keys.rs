//! `phial keys`

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use phial_base::{LogicalId, Surface, TenantId};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a new version of the tenant key; every key below it is wrapped anew, no
    /// record is rewritten.
    Rotate(TenantArgs),
    /// Forget a patient: destroy the patient's key, and with it every copy of the
    /// patient's data. Prints a certificate. This can't be undone.
    Destroy(DestroyArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct DestroyArgs {
    /// Logical id of the Patient.
    #[arg(long, value_name = "ID", value_parser = LogicalId::new)]
    patient: LogicalId,
    /// Yes, this can't be undone.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    tenant: TenantArgs,
}

pub(super) fn run(home: &Path, command: &KeysCommand, out: &Out) -> anyhow::Result<ExitCode> {
    if let KeysCommand::Destroy(DestroyArgs { yes: false, .. }) = command {
        anyhow::bail!("destroying a key can't be undone: say --yes to do it");
    }
    let app = App::open(home, Use::Alone)?;
    super::runtime()?.block_on(async {
        let mut caller = app.local("operator", &["operator"], Surface::Cli);
        match command {
            KeysCommand::Rotate(args) => {
                caller.subject_mut().tenant = args.tenant.clone();
                let r = app.engine.rotate_tenant_key(&caller).await.map_err(into_anyhow)?;
                out.result(
                    &format!(
                        "tenant key {} is now version {} (was {}); {} keys wrapped anew, no \
                         record rewritten",
                        args.tenant, r.to, r.from, r.rewrapped
                    ),
                    &serde_json::to_value(r)?,
                );
            }
            KeysCommand::Destroy(args) => {
                caller.subject_mut().tenant = args.tenant.tenant.clone();
                let kept = SignedDuration::from_hours(24 * app.config().keys.backup_retention_days);
                let c = app
                    .engine
                    .destroy_patient(&caller, &args.patient, kept)
                    .await
                    .map_err(into_anyhow)?;
                out.result(
                    &format!(
                        "CERTIFICATE OF DESTRUCTION {}\n\ntenant            {}\nkeys destroyed    \
                         {}\nversions deleted  {}\n\n{}",
                        c.id,
                        c.tenant,
                        c.keys_destroyed.join(", "),
                        c.versions_deleted,
                        c.statement
                    ),
                    &serde_json::to_value(&c)?,
                );
            }
        }
        app.stop().await
    })?;
    Ok(ExitCode::SUCCESS)
}
