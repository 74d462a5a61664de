//! `phial demo`

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use phial_base::{SubjectId, Surface, TenantId};
use phial_identity::{Account, VALID};
use phial_synth::World;

use super::behind;
use super::out::Out;
use super::{init, serve, synth, token, user};
use crate::app::{App, Use};
use crate::{http, people};

/// A throwaway server: a fresh home, about 100 synthetic patients, one user per
/// role, and a tour of commands to paste into another terminal.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR")]
    listen: SocketAddr,
    /// How many patients.
    #[arg(long, default_value_t = 100, value_name = "N")]
    patients: u32,
    /// The seed of the synthetic patients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(args: &DemoArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let home = tempfile::Builder::new().prefix("phial-demo-").tempdir()?;
    let root = home.path().join("phial");
    App::init(&root)?;
    let app = Arc::new(App::open(&root, Use::Alone)?);
    super::runtime()?.block_on(async {
        app.start().await?;
        let world = World::new(args.seed, args.patients);
        out.say(&format!("making {} synthetic patients ...", args.patients));
        let stored = behind::followed(&app, synth::take_in(&app, &world)).await?;
        let tokens = people(&app, &world).await?;
        let serving = http::serve(Arc::clone(&app), args.listen).await?;
        let page = log_in_page(&app, serving.address()).await?;
        let tour = tour(&app, &root, serving.address(), &world, &tokens)?;
        let value = serde_json::json!({
            "base": format!("https://{}/fhir", serving.address()),
            "ca": root.join("tls").join("ca.pem"),
            "home": root,
            "pages": page,
            "stored": stored,
            "tokens": tokens.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "tour": tour.iter().map(|s| serde_json::json!({ "what": s.what, "command": s.command })).collect::<Vec<_>>(),
        });
        let told = serve::Told::listen()?;
        out.result(&print(&tour, stored, serving.address(), &page), &value);
        told.serve_until_the_end(&app, &serving, out).await
    })?;
    home.close()?;
    Ok(ExitCode::SUCCESS)
}

/// One user per role, with a token each; clinicians are practitioners of the world.
async fn people(app: &App, world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let tenant = TenantId::default_tenant();
    let mut tokens = Vec::new();
    let roles: Vec<String> = app.engine.policy().roles().map(|r| r.name.to_string()).collect();
    for role in roles {
        let practitioner =
            world.staff().iter().find(|s| s.role == role).map(|s| s.practitioner.clone());
        let id = SubjectId::new(&format!("demo-{role}"))?;
        let account = Account { practitioner, ..Account::new(id, vec![role.clone()]) };
        user::add(app, &tenant, &account).await?;
        tokens.push((role, token::for_user(app, &account.id).await?));
    }
    Ok(tokens)
}

/// The link by which the demo's administrator sets a password and a second factor, and
/// then logs in to the pages.
async fn log_in_page(app: &App, address: SocketAddr) -> anyhow::Result<String> {
    let caller = app.operator(&TenantId::default_tenant(), Surface::Cli);
    let name = SubjectId::new(&format!("demo-{}", init::administrator(app)))?;
    let (path, _) = people::invite(app, &caller, &name, false, VALID).await?;
    Ok(format!("https://localhost:{}{path}", address.port()))
}

/// One step of the tour.
struct Step {
    what: &'static str,
    command: String,
}

fn tour(
    app: &App,
    root: &Path,
    address: SocketAddr,
    world: &World,
    tokens: &[(String, String)],
) -> anyhow::Result<Vec<Step>> {
    let program =
        std::env::current_exe().map_or_else(|_| "phial".to_owned(), |p| p.display().to_string());
    let home = root.display();
    let base = format!("https://{address}/fhir");
    let ca = root.join("tls").join("ca.pem").display().to_string();
    let patient = world.patient_ids().first().cloned().unwrap_or_default();
    let token = |role: &str| {
        tokens.iter().find(|(r, _)| r == role).map_or("", |(_, t)| t.as_str()).to_owned()
    };
    let curl = |role: &str, rest: &str| {
        format!("curl -sS --cacert {ca} -H 'Authorization: Bearer {}' {rest}", token(role))
    };
    let conditions = format!("'{base}/Condition?patient=Patient/{patient}&_count=2&_pretty=true'");
    let byte = byte_of_a_record(app, root)?;
    let copy = root.with_file_name("tampered");
    let copy = copy.display();
    Ok(vec![
        Step {
            what: "A physician sees a patient's conditions, notes included",
            command: curl("physician", &conditions),
        },
        Step {
            what: "Billing sees the same conditions by their codes; the notes were never decrypted",
            command: curl("billing", &conditions),
        },
        Step {
            what: "The front desk sees none, not even in the total",
            command: curl("front-desk", &conditions),
        },
        Step {
            what: "... and may not search by a diagnosis: refused before any data is touched",
            command: curl("front-desk", &format!("'{base}/Condition?code=44054006'")),
        },
        Step {
            what: "The front desk finds the patient's appointments",
            command: curl("front-desk", &format!("'{base}/Appointment?patient=Patient/{patient}'")),
        },
        Step {
            what: "Names do not belong in URLs: refused, with the way to do it",
            command: curl("physician", &format!("'{base}/Patient?family=Garcia'")),
        },
        Step {
            what: "... search by POST instead",
            command: curl("physician", &format!("-d 'name=a&_count=1' '{base}/Patient/_search'")),
        },
        Step {
            what: "All of it stands in the audit log",
            command: format!("{program} audit tail -n 8 --home {home}"),
        },
        Step {
            what: "Every record and every entry can be verified",
            command: format!("{program} verify --home {home}"),
        },
        Step {
            what: "Tamper with a copy: one byte of one record ...",
            command: format!(
                "cp -r {home} {copy} && printf '\\{:03o}' | dd of={copy}/data/default/records.db \
                 bs=1 seek={} conv=notrunc status=none",
                byte.1, byte.0
            ),
        },
        Step {
            what: "... and it is named (exit code 1)",
            command: format!("{program} verify --home {copy}"),
        },
    ])
}

/// Where a byte of a record lies in the record log's file, and another value for it.
fn byte_of_a_record(app: &App, root: &Path) -> anyhow::Result<(u64, u8)> {
    let tenant = app
        .engine
        .tenant(&TenantId::default_tenant())
        .ok_or_else(|| anyhow::anyhow!("the demo has no default tenant"))?;
    tenant.vessel.records().settle()?;
    let row = tenant.vessel.records().changes(phial_base::Seq(0), 1)?;
    let blob = row.first().map(|r| r.blob.clone()).unwrap_or_default();
    let start = blob.get(..64).unwrap_or_default();
    let path: PathBuf = root.join("data").join("default").join("records.db");
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let at = memchr::memmem::find(&bytes, start)
        .ok_or_else(|| anyhow::anyhow!("the first record is not in its file"))?;
    let at = at + 60;
    let old = bytes.get(at).copied().unwrap_or(0);
    Ok((at as u64, !old))
}

fn print(tour: &[Step], stored: usize, address: SocketAddr, page: &str) -> String {
    let mut text = format!(
        "\n{stored} resources are sealed and served at https://{address}/fhir (TLS, development \
         CA).\nPages: log in at https://localhost:{}/login; the administrator's account is set up \
         by\n  {page}\nPaste these into another terminal; stop with Ctrl-C, and all of it is gone.\n",
        address.port()
    );
    for (i, step) in tour.iter().enumerate() {
        text.push_str(&format!("\n# {}. {}\n{}\n", i + 1, step.what, step.command));
    }
    text
}
