//! `phial init`

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use phial_base::{SubjectId, Surface, TenantId};
use phial_identity::{Account, VALID};

use super::out::Out;
use super::user;
use crate::app::{App, Use};
use crate::people;

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Add this tenant to a home that is there already: it gets keys and stores of its
    /// own and is served below /t/TENANT/fhir.
    #[arg(long, value_parser = TenantId::new)]
    tenant: Option<TenantId>,
    /// The first administrator's account name. The link that is printed sets password and
    /// second factor, once.
    #[arg(long, default_value = "admin", value_name = "NAME", conflicts_with = "tenant")]
    admin: SubjectId,
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
    let app = App::open(home, Use::Beside)?;
    let link = super::runtime()?.block_on(first_administrator(&app, &args.admin))?;
    out.result(
        &format!(
            "A new home is ready in {shown}.\n\
             The root key is {shown}/keys/root.key: development grade. Keep keys/ on another \
             volume than data/,\nback it up apart, and never together with data/.\n\n\
             The first administrator's link, shown this one time, good for 72 hours once the \
             server runs:\n  {link}\n\n\
             Next:\n  phial user add ana --role physician --home {shown}\n  \
             phial token --user ana --home {shown}\n  phial serve --home {shown}"
        ),
        &serde_json::json!({ "home": home, "admin": args.admin.as_str(), "link": link }),
    );
    Ok(ExitCode::SUCCESS)
}

/// Adds the account of whoever is to invite all others, and makes its invitation.
async fn first_administrator(app: &App, name: &SubjectId) -> anyhow::Result<String> {
    let tenant = TenantId::default_tenant();
    let account = Account::new(name.clone(), vec![administrator(app)]);
    user::add(app, &tenant, &account).await?;
    let caller = app.operator(&tenant, Surface::Cli);
    let (path, _) = people::invite(app, &caller, name, false, VALID).await?;
    Ok(format!("{}{path}", user::origin(app)))
}

/// The role that manages accounts and sees no record.
pub(super) fn administrator(app: &App) -> String {
    let has = |name: &str| app.engine.policy().roles().any(|r| *r.name == *name);
    if has("security-administrator") { "security-administrator" } else { "operator" }.to_owned()
}
