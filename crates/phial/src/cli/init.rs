//! `phial init`

use std::path::Path;
use std::process::ExitCode;

use super::out::Out;
use crate::app::App;

pub(super) fn run(home: &Path, out: &Out) -> anyhow::Result<ExitCode> {
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
