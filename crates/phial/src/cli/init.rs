//! `phial init`

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use phial_base::TenantId;

use super::out::Out;
use crate::app::App;

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Add this tenant to a home that is there already: it gets keys and stores of its
    /// own and is served below /t/TENANT/fhir.
    #[arg(long, value_parser = TenantId::new)]
    tenant: Option<TenantId>,
}

pub(super) fn run(home: &Path, args: &InitArgs, out: &Out) -> anyhow::Result<ExitCode> {
    if let Some(tenant) = &args.tenant {
        App::add_tenant(home, tenant)?;
        out.result(
            &format!("tenant {tenant} is ready: start the server anew to serve it"),
            &serde_json::json!({ "home": home, "tenant": tenant.as_str() }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    App::init(home)?;
    let shown = home.display();
    out.result(
        &format!(
            "A new home is ready in {shown}.\n\
             The root key is {shown}/keys/root.key: development grade. Keep keys/ on another \
             volume than data/,\nback it up apart, and never together with data/.\n\n\
             Next:\n  phial user add ana --role physician --home {shown}\n  \
             phial token --user ana --home {shown}\n  phial serve --home {shown}"
        ),
        &serde_json::json!({ "home": home }),
    );
    Ok(ExitCode::SUCCESS)
}
