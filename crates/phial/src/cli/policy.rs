//! `phial policy`: look at policies, try others, and see who gains and who loses before
//! anything is put in force; `phial label`: which labels codes bring.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use phial_base::{LogicalId, Purpose, SubjectId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::sensitive::{self, Labeller};
use phial_fhir::{Doc, Limits};
use phial_identity::Accounts;
use phial_policy::tool::{cell, diff, diff_of, matrix, test};
use phial_policy::{Action, Effect, PolicySet};

use super::access::{As, acting, told};
use super::out::Out;
use crate::app::{App, Use};

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a directory of policies as the program would at start.
    Check(DirArgs),
    /// Show what each role reads of each type.
    Matrix(DirArgs),
    /// Show who gains and who loses what between two directories of policies.
    Diff(DiffArgs),
    /// Hold policies against a table of your own: ROLE PURPOSE ACTION TYPE SITUATION CLASSES.
    Test(TestArgs),
    /// Say why an account sees what it sees of a record. Works beside a running server.
    Explain(ExplainArgs),
    /// Show the names of the shipped files, or one of them, to start from.
    Show(ShowArgs),
}

#[derive(Args)]
pub(crate) struct DirArgs {
    /// The directory (schema.cedarschema, roles.toml, *.cedar); the shipped policies, if none
    /// is given.
    dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The directory after the change.
    after: PathBuf,
    /// The directory before it; the shipped policies, if none is given.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Only records of this type; all types, which takes minutes, if none is given.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
}

#[derive(Args)]
pub(crate) struct TestArgs {
    /// The table.
    table: PathBuf,
    /// The directory; the shipped policies, if none is given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The file.
    file: Option<String>,
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The account.
    #[arg(value_parser = SubjectId::new)]
    account: SubjectId,
    /// The record: TYPE/ID.
    record: String,
    /// For which purpose; what the account's first role is for, if it is not said.
    #[arg(long, value_name = "CODE")]
    purpose: Option<String>,
    /// Doing what: read, search-type, update, ...
    #[arg(long, default_value = "read")]
    action: String,
    #[command(flatten)]
    by: As,
}

#[derive(Subcommand)]
pub(crate) enum LabelCommand {
    /// Show which labels a resource, or a code, would get.
    Check(LabelArgs),
    /// Show the lists: where they are from, as of when, how many codes.
    Lists,
}

#[derive(Args)]
pub(crate) struct LabelArgs {
    /// A file with one resource, as JSON.
    #[arg(required_unless_present = "code")]
    file: Option<PathBuf>,
    /// A code: SYSTEM|CODE.
    #[arg(long, value_name = "SYSTEM|CODE")]
    code: Option<String>,
    /// A list of your own beside the shipped ones.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
}

const SCHEMA: &str = "schema.cedarschema";
const ROLES: &str = "roles.toml";

/// Schema, files (name and text), roles.
type Sources = (String, Vec<(String, String)>, String);

/// The sources in a directory. What it does not have of schema and roles is the shipped one.
fn sources(dir: &Path) -> anyhow::Result<Sources> {
    let (schema, _, roles) = PolicySet::shipped_sources();
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))
    };
    let or = |name: &str, shipped: String| {
        let path = dir.join(name);
        if path.exists() { read(&path) } else { Ok(shipped) }
    };
    let (schema, roles) = (or(SCHEMA, schema)?, or(ROLES, roles)?);
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("{} can't be read", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "cedar") {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            // The floor is compiled in, whatever a directory has.
            if name != "floor.cedar" {
                files.push((name, read(&path)?));
            }
        }
    }
    anyhow::ensure!(
        !files.is_empty(),
        "{} has no .cedar file: `phial policy show FILE` shows the shipped ones",
        dir.display()
    );
    files.sort();
    Ok((schema, files, roles))
}

fn set(dir: Option<&Path>) -> anyhow::Result<PolicySet> {
    Ok(match dir {
        None => PolicySet::shipped()?,
        Some(dir) => {
            let (schema, files, roles) = sources(dir)?;
            PolicySet::from_sources(&schema, &files, &roles)?
        }
    })
}

pub(super) fn run(home: &Path, command: &PolicyCommand, out: &Out) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Explain(args) => {
            let app = App::open(home, Use::Beside)?;
            super::runtime()?.block_on(explain(&app, args, out))?;
        }
        PolicyCommand::Check(args) => {
            let set = set(args.dir.as_deref())?;
            let (roles, hash) = (set.roles().count(), hex::encode(set.hash()));
            let value = serde_json::json!({"good": true, "roles": roles, "hash": hash});
            out.result(&format!("good: {roles} roles, policy hash {hash}"), &value);
        }
        PolicyCommand::Matrix(args) => {
            let set = set(args.dir.as_deref())?;
            let text = matrix(&set);
            let legend = "a administrative  d demographic  c contact  i identifier  g government-identifier\n\
                          f financial  s scheduling  k clinical  m medication  l laboratory  n notes  t attachment";
            let value = serde_json::json!({"matrix": text.lines().collect::<Vec<_>>()});
            out.result(&format!("{legend}\n\n{}", text.trim_end()), &value);
        }
        PolicyCommand::Diff(args) => {
            let (before, after) = (set(args.before.as_deref())?, set(Some(&args.after))?);
            let types: Vec<&str> = args.types.iter().map(String::as_str).collect();
            let changes = if types.is_empty() {
                diff(&before, &after)
            } else {
                diff_of(&before, &after, &types)
            };
            let lines: Vec<String> = changes
                .iter()
                .map(|c| {
                    format!(
                        "{:<22} {:<8} {:<18} {:<26} {:<22} gains {:<13} loses {}",
                        c.role,
                        c.purpose,
                        c.action,
                        c.resource_type,
                        c.situation,
                        cell(c.gains),
                        cell(c.loses)
                    )
                })
                .collect();
            let values: Vec<serde_json::Value> = changes
                .iter()
                .map(|c| {
                    serde_json::json!({
                        "role": c.role, "purpose": c.purpose.code(), "action": c.action.name(),
                        "type": c.resource_type, "situation": c.situation,
                        "gains": cell(c.gains), "loses": cell(c.loses),
                    })
                })
                .collect();
            let text = if lines.is_empty() {
                "nobody gains and nobody loses".to_owned()
            } else {
                lines.join("\n")
            };
            out.result(&text, &values.into());
        }
        PolicyCommand::Test(args) => {
            let set = set(args.dir.as_deref())?;
            let table = std::fs::read_to_string(&args.table)
                .with_context(|| format!("{} can't be read", args.table.display()))?;
            let checked = test(&set, &table)
                .map_err(|(line, what)| anyhow::Error::msg(format!("line {line}: {what}")))?;
            let wrong: Vec<_> = checked.iter().filter(|c| c.wanted != c.found).collect();
            let mut lines: Vec<String> = wrong
                .iter()
                .map(|c| {
                    format!(
                        "line {}: the table says {}, the policies {}",
                        c.line, c.wanted, c.found
                    )
                })
                .collect();
            lines.push(format!("{} lines, {} wrong", checked.len(), wrong.len()));
            let value = serde_json::json!({
                "lines": checked.len(),
                "wrong": wrong.iter().map(|c| serde_json::json!({
                    "line": c.line, "wanted": c.wanted, "found": c.found,
                })).collect::<Vec<_>>(),
            });
            out.result(&lines.join("\n"), &value);
            if !wrong.is_empty() {
                return Ok(ExitCode::from(1));
            }
        }
        PolicyCommand::Show(args) => {
            let (schema, files, roles) = PolicySet::shipped_sources();
            let mut all = files;
            all.extend([(SCHEMA.to_owned(), schema), (ROLES.to_owned(), roles)]);
            match &args.file {
                None => {
                    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
                    out.result(&names.join("\n"), &serde_json::to_value(&names)?);
                }
                Some(file) => {
                    let found = all.into_iter().find(|(name, _)| name == file);
                    let (name, text) = found.context("there is no such file: see policy show")?;
                    let value = serde_json::json!({"name": name, "text": text});
                    out.result(text.trim_end(), &value);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain(app: &App, args: &ExplainArgs, out: &Out) -> anyhow::Result<()> {
    let caller = acting(app, &args.by)?;
    let tenant = app.engine.tenant(&caller.subject.tenant).context("there is no such tenant")?;
    let accounts = Accounts::new(tenant.vessel.control(), app.engine.policy());
    let account = accounts.find(&args.account)?.context("there is no such account")?;
    let default = || {
        let mut roles = account.roles.iter().filter_map(|r| app.engine.policy().role(r));
        roles.find_map(phial_policy::Role::default_purpose)
    };
    let purpose = match &args.purpose {
        Some(code) => Purpose::from_code(code),
        None => default(),
    };
    let purpose = purpose.context("there is no such purpose of use")?;
    let subject = account
        .acting(&caller.subject.tenant, purpose)
        .context("the account is suspended: it sees nothing")?;
    let action = Action::from_name(&args.action).filter(|a| a.on_records());
    let action = action.context("there is no such action on records")?;
    let (ty, id) = args.record.split_once('/').context("a record is TYPE/ID")?;
    let ty = ResourceType::from_name(ty).context("there is no such resource type")?;
    let id = LogicalId::new(id)?;
    let e = app.engine.explain(&caller, subject, action, ty, &id).await.map_err(told)?;
    let names = |all: Vec<&str>| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let roles: Vec<&str> = e.explanation.roles.iter().map(|r| &**r).collect();
    let labels: Vec<&str> = e.labels.iter().map(|l| l.code()).collect();
    let ties: Vec<&str> = e.relationships.iter().map(|r| r.name()).collect();
    let sees: Vec<&str> = e.sees.iter().map(|c| c.name()).collect();
    let not: Vec<&str> = e.has.minus(e.sees).iter().map(|c| c.name()).collect();
    let consent = match (e.consent.denies, e.consent.permits) {
        (true, _) => "denies it",
        (_, true) => "permits it",
        _ => "says nothing",
    };
    let mut lines = vec![
        format!("{} may {} of it: {}", args.account, action, names(sees.clone())),
        format!("withheld: {}", names(not.clone())),
        format!("roles that count for {purpose}: {}", names(roles.clone())),
        format!("about {} patient(s), tied by: {}", e.patients, names(ties.clone())),
        format!("labels: {}; consent {consent}", names(labels.clone())),
    ];
    for s in &e.explanation.satisfied {
        let effect = if s.effect == Effect::Permit { "permits" } else { "forbids" };
        lines.push(format!("{} ({}) {effect} {}", s.id, s.file, cell(s.classes)));
    }
    let policies: Vec<serde_json::Value> = e
        .explanation
        .satisfied
        .iter()
        .map(|s| {
            serde_json::json!({
                "id": &*s.id, "file": &*s.file, "permits": s.effect == Effect::Permit,
                "classes": s.classes.iter().map(|c| c.name()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let value = serde_json::json!({
        "sees": sees, "withheld": not, "roles": roles, "purpose": purpose.code(),
        "relationships": ties, "labels": labels, "consent": consent, "policies": policies,
    });
    out.result(&lines.join("\n"), &value);
    Ok(())
}

pub(super) fn label(command: &LabelCommand, out: &Out) -> anyhow::Result<ExitCode> {
    match command {
        LabelCommand::Lists => {
            let lines: Vec<String> = sensitive::lists()
                .map(|l| {
                    format!("{:<16} {:>4} codes as of {}: {}", l.name, l.size, l.date, l.source)
                })
                .collect();
            let values: Vec<serde_json::Value> = sensitive::lists()
                .map(|l| {
                    serde_json::json!({
                        "name": l.name, "size": l.size, "date": l.date, "source": l.source,
                    })
                })
                .collect();
            out.result(&lines.join("\n"), &values.into());
        }
        LabelCommand::Check(args) => {
            let labeller = match &args.list {
                None => sensitive::shipped().clone(),
                Some(path) => {
                    let text = std::fs::read_to_string(path)
                        .with_context(|| format!("{} can't be read", path.display()))?;
                    Labeller::with(&text)
                        .with_context(|| format!("{} is no list", path.display()))?
                }
            };
            let labels = match (&args.code, &args.file) {
                (Some(code), _) => {
                    let (system, code) = code.split_once('|').context("a code is SYSTEM|CODE")?;
                    labeller.labels_of(system, code)
                }
                (None, Some(path)) => {
                    let bytes = std::fs::read(path)
                        .with_context(|| format!("{} can't be read", path.display()))?;
                    let doc = Doc::parse(&bytes, &Limits::default())
                        .map_err(|_| anyhow::Error::msg("the file is no JSON of a resource"))?;
                    labeller.labels(&doc)
                }
                (None, None) => anyhow::bail!("name a file or a code"),
            };
            let codes: Vec<&str> = labels.iter().map(|l| l.code()).collect();
            let text = if codes.is_empty() { "no label".to_owned() } else { codes.join(" ") };
            out.result(&text, &serde_json::json!({"labels": codes}));
        }
    }
    Ok(ExitCode::SUCCESS)
}
