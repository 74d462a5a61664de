//! The command line. Exit code 0: good; 1: a check failed or the work could not be
//! done; 2: usage.

mod access;
mod audit;
mod behind;
mod client;
mod demo;
mod doctor;
mod import;
mod index;
mod init;
mod job;
mod keys;
mod out;
mod policy;
mod relabel;
mod review;
mod serve;
mod subscription;
mod synth;
mod token;
mod user;
mod vendor;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use out::Out;

/// The vessel that holds PHI: a sealed, audited FHIR R4 server.
///
/// What a role may not see is never decrypted, nothing leaves without a durable
/// audit record, the database learns nothing, and a patient is forgotten by
/// destroying one key. Start with `phial demo`.
#[derive(Parser)]
#[command(name = "phial", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 good, 1 a check failed or the work could not be done, 2 usage.\n\
    First steps:\n  phial demo                       try it with synthetic patients\n  \
    phial init && phial serve        a home of your own in ./phial\n  \
    phial user add ana --role physician && phial token --user ana"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
struct Global {
    /// The directory that holds phial.toml and the stores.
    #[arg(long, global = true, default_value = "./phial", value_name = "DIR")]
    home: PathBuf,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new home: keys, stores, configuration. Or add a tenant to one.
    Init(init::InitArgs),
    /// Serve FHIR over TLS.
    Serve(serve::ServeArgs),
    /// A throwaway server with synthetic patients, one user per role, and a tour.
    Demo(demo::DemoArgs),
    /// Import bundles, NDJSON, directories and tar.xz archives.
    Import(import::ImportArgs),
    /// Make synthetic patients of our own, reproducible by seed.
    Synth(synth::SynthArgs),
    /// Issue a short-lived bearer token for an account.
    Token(token::TokenArgs),
    /// Add, invite, list, suspend and end accounts.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Register apps and services, show and remove them.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Look at who may do what, and sign that it is still right.
    #[command(subcommand)]
    Review(review::ReviewCommand),
    /// Show how subscriptions stand.
    #[command(subcommand)]
    Subscription(subscription::SubscriptionCommand),
    /// The register of vendors and of the agreements with them.
    #[command(subcommand)]
    Vendor(vendor::VendorCommand),
    /// Who is tied to which patient, and what patients had restricted.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Emergency access: the list of grants, and their signed reviews.
    #[command(subcommand)]
    BreakGlass(access::GlassCommand),
    /// Alerts to privacy officers.
    #[command(subcommand)]
    Alert(access::AlertCommand),
    /// Leave to read more patients' records than one's cap: asked for, and granted by others.
    #[command(subcommand)]
    Cap(access::CapCommand),
    /// Look at policies, and try others before they are put in force.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Which sensitivity labels codes bring.
    #[command(subcommand)]
    Label(policy::LabelCommand),
    /// Give stored records the labels of the lists in force, or say what that would change.
    Relabel(relabel::RelabelArgs),
    /// Look at the audit log, or verify it offline.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Verify every record and every audit entry against each other.
    Verify(verify::VerifyArgs),
    /// Check how home and machine are kept: each check with its clause, what was seen and
    /// what to do.
    Doctor(doctor::DoctorArgs),
    /// Compare the local index with the record log, or build it anew.
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Rotate and destroy keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Look at jobs (exports, imports) and end them.
    #[command(subcommand)]
    Job(job::JobCommand),
}

/// The command line as clap sees it, for the reference.
#[cfg(test)]
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let out = Out { json: cli.global.json };
    log_to_stderr();
    let _ = phial_crypto::harden_process();
    let home = cli.global.home.as_path();
    let result = match cli.command {
        Command::Init(args) => init::run(home, &args, &out),
        Command::Serve(args) => serve::run(home, &args, &out),
        Command::Demo(args) => demo::run(&args, &out),
        Command::Import(args) => import::run(home, &args, &out),
        Command::Synth(args) => synth::run(home, &args, &out),
        Command::Token(args) => token::run(home, &args, &out),
        Command::User(command) => user::run(home, &command, &out),
        Command::Client(command) => client::run(home, &command, &out),
        Command::Review(command) => review::run(home, &command, &out),
        Command::Subscription(command) => subscription::run(home, &command, &out),
        Command::Vendor(command) => vendor::run(home, &command, &out),
        Command::Access(command) => access::run(home, &command, &out),
        Command::BreakGlass(command) => access::glass(home, &command, &out),
        Command::Alert(command) => access::alert(home, &command, &out),
        Command::Cap(command) => access::cap(home, &command, &out),
        Command::Policy(command) => policy::run(home, &command, &out),
        Command::Label(command) => policy::label(&command, &out),
        Command::Relabel(args) => relabel::run(home, &args, &out),
        Command::Audit(command) => audit::run(home, &command, &out),
        Command::Verify(args) => verify::run(home, &args, &out),
        Command::Doctor(args) => doctor::run(home, &args, &out),
        Command::Index(command) => index::run(home, &command, &out),
        Command::Keys(command) => keys::run(home, &command, &out),
        Command::Job(command) => job::run(home, &command, &out),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            out.error(&e);
            ExitCode::from(1)
        }
    }
}

/// Events of the program itself, on standard error. Fields are an allow-list of
/// names that can't hold PHI (invariant 8): all else is dropped.
fn log_to_stderr() {
    use tracing_subscriber::fmt::format;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let fields = format::debug_fn(|writer, field, value| {
        if matches!(field.name(), "message" | "incident" | "error" | "count" | "address") {
            write!(writer, "{}={value:?}", field.name())
        } else {
            Ok(())
        }
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .fmt_fields(fields);
    // Of our own also what is only worth knowing.
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target("phial", tracing::Level::INFO);
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

/// An async runtime for a command. Stores are read on the worker that asks, so there
/// are more workers than cores: one that computes keeps no other request waiting. Not
/// many more: each burst of requests wakes all of them, and the switching is paid for.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores * 2).max(4))
        .enable_all()
        .build()?)
}
