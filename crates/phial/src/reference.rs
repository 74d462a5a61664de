//! `docs/reference`: the pages that are made from the program itself, and the test that
//! holds them to it. `UPDATE_GOLDEN=1 cargo test -p phial reference` writes them
//! anew. Refuses to say anything that the program does not say.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, Command};
use phial_audit::{DetailKey, EventKind, OutcomeCode};

use crate::config::{Config, NEED_A_RESTART};

const MADE: &str = "<!-- Made from the program; do not edit. \
                    UPDATE_GOLDEN=1 cargo test -p phial reference -->\n\n";

fn command_line() -> String {
    let mut root = crate::cli::command();
    root.build();
    let mut out = format!("{MADE}# The command line\n\n");
    command(&mut out, &root, 2);
    out
}

fn command(out: &mut String, of: &Command, depth: usize) {
    let name = of.get_bin_name().unwrap_or_else(|| of.get_name()).replace("phial-", "phial ");
    let about = of.get_long_about().or_else(|| of.get_about()).map(ToString::to_string);
    let _ = write!(out, "{} `{name}`\n\n{}\n\n", "#".repeat(depth), about.unwrap_or_default());
    if let Some(after) = of.get_after_help() {
        let _ = write!(out, "```text\n{after}\n```\n\n");
    }
    let own = |a: &&Arg| {
        !a.is_hide_set()
            && !["help", "version"].contains(&a.get_id().as_str())
            && (depth == 2 || !a.is_global_set())
    };
    let arguments: Vec<&Arg> = of.get_arguments().filter(own).collect();
    if !arguments.is_empty() {
        out.push_str("| argument | default | what |\n|---|---|---|\n");
        for a in arguments {
            argument(out, a);
        }
        out.push('\n');
    }
    for sub in of.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        command(out, sub, (depth + 1).min(4));
    }
}

fn argument(out: &mut String, a: &Arg) {
    let value = a
        .get_value_names()
        .filter(|_| a.get_action().takes_values())
        .map(|v| v.iter().map(|v| format!("<{v}>")).collect::<Vec<_>>().join(" "));
    let mut name = match (a.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_default(),
    };
    if a.is_required_set() {
        name.push_str("` (required)");
    } else {
        name.push('`');
    }
    let default: Vec<String> = a
        .get_default_values()
        .iter()
        .filter(|_| a.get_action().takes_values())
        .map(|v| format!("`{}`", v.to_string_lossy()))
        .collect();
    let help = a.get_long_help().or_else(|| a.get_help()).map(ToString::to_string);
    let mut help = help.unwrap_or_default().replace('\n', " ");
    let possible: Vec<String> = a
        .get_possible_values()
        .iter()
        .filter(|_| a.get_action().takes_values())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if !possible.is_empty() {
        let _ = write!(help, " One of {}.", possible.join(", "));
    }
    let _ = writeln!(out, "| `{name} | {} | {} |", default.join(" "), help.trim());
}

fn audit_events() -> String {
    let mut out = format!(
        "{MADE}# Audit events\n\nEvery entry says who (user, roles, session, client), what \
         (record, version, data classes given and withheld), which patients, when, from where, \
         why (purpose), with what outcome, and under which request id (164.312(b)). Numbers are \
         part of the sealed format and never change.\n\n## Events\n\n| event | number | what \
         happened |\n|---|---|---|\n"
    );
    for kind in EventKind::ALL {
        let (name, number) = (kind.name(), kind.number());
        let _ = writeln!(out, "| `{name}` | {number} | {} |", kind.meaning().trim());
    }
    out.push_str("\n## Outcomes\n\n| outcome | number | what |\n|---|---|---|\n");
    for outcome in OutcomeCode::ALL {
        let (name, number) = (outcome.name(), outcome.number());
        let _ = writeln!(out, "| `{name}` | {number} | {} |", outcome.meaning().trim());
    }
    out.push_str("\n## Details\n\n| detail | number | what |\n|---|---|---|\n");
    for key in DetailKey::ALL {
        let _ = writeln!(out, "| `{}` | {} | {} |", key.name(), key.number(), key.meaning().trim());
    }
    out
}

/// What each setting is for, its range, and when it departs from a safe default.
const SETTINGS: &[(&str, &str)] = &[
    (
        "tls.client_certificates",
        "Whether clients are asked for a certificate, so that services may prove themselves by it \
         (RFC 8705, `phial client add --certificate`). Browsers may ask their user for one then.",
    ),
    (
        "tls.client_ca",
        "PEM file with the CAs whose word for the name of a client's certificate counts (RFC 8705 \
         section 2.1, `phial client add --certificate-name`). Needs `tls.client_certificates`.",
    ),
    (
        "scim.roles",
        "The roles that a directory may give and take over SCIM 2.0. None by default. Accounts \
         with any other role are not the directory's, and look absent to it.",
    ),
    (
        "oauth.hosts",
        "The hosts (`HOST` or `HOST:PORT`) that keys of apps and services may be fetched from. \
         None by default.",
    ),
    (
        "oauth.ca",
        "PEM file with the CAs that may vouch for those hosts; the system's own list, when not \
         given.",
    ),
    (
        "oauth.access_minutes",
        "Minutes for which an app's access token holds. More than 60 needs `oauth.rationale`.",
    ),
    (
        "oauth.offline_days",
        "Days for which an app may refresh its access without its user (`offline_access`). More \
         than 366 needs `oauth.rationale`.",
    ),
    (
        "oauth.registration",
        "Whether apps may register themselves (RFC 7591): `off`, `approval` (they wait until \
         `phial client approve`), or `patient-apps`: those that ask for no more than reading one \
         patient's record act at once, which needs `oauth.rationale`.",
    ),
    ("oauth.rationale", "Why the settings of this section depart from the safe defaults."),
    (
        "fhir.conditional_delete",
        "How many records `DELETE Type?query` may end: `single`, or with `multiple` all that \
         match, at most 1,000.",
    ),
    (
        "http.phi_in_urls",
        "What happens to a search by GET that names a direct identifier: URLs end up in logs, \
         histories and proxies. `refuse-identifiers`, `strict` (every parameter but paging and \
         format is refused) or `allow`, which needs `http.phi_in_urls_rationale`.",
    ),
    ("http.phi_in_urls_rationale", "Why `allow`: the audit log quotes it."),
    (
        "http.cors_origins",
        "Origins whose pages may ask (CORS), each in full: `https://app.example`. Pages of other \
         origins may not; `*` is refused. Needs `http.cors_rationale`.",
    ),
    ("http.cors_rationale", "Why pages of other origins may ask: the audit log quotes it."),
    (
        "http.public_url",
        "The address by which browsers know this server: `https://host` or `https://host:port`. \
         Pages, links in invitations and passkeys belong to it. Without one, pages are for this \
         machine alone: `https://localhost:PORT`.",
    ),
    (
        "http.compression",
        "Whether answers are compressed (zstd, gzip, br) when the client asks. Bodies that come \
         compressed are read in any case.",
    ),
    ("http.max_body_mib", "Largest request body, mebibytes, 1 to 1024."),
    ("http.request_timeout_s", "Longest time for one request, seconds."),
    ("http.max_connections", "Most connections at once."),
    (
        "http.drain_timeout_s",
        "Longest time for requests that are under way when the server is told to end, seconds, \
         1 to 3600.",
    ),
    (
        "http.drain_notice_s",
        "Time between not being ready (`/readyz`) and accepting no more connections, seconds, up \
         to 600: for load balancers to notice.",
    ),
    (
        "session.idle_minutes",
        "Minutes without use after which a session ends (164.312(a)(2)(iii)). More than 30 needs \
         `session.rationale`.",
    ),
    (
        "session.absolute_hours",
        "Hours after which a session ends in any case. More than 24 needs `session.rationale`.",
    ),
    (
        "session.idle_by_role",
        "`session.idle_minutes` for holders of a role: `{ nurse = 10 }`. Of several roles the \
         shortest counts. Longer than `session.idle_minutes` needs `session.rationale`.",
    ),
    ("session.rationale", "Why sessions last longer: the audit log quotes it."),
    (
        "review.period_days",
        "Days after which somebody has to look again at what each account may do \
         (164.308(a)(4)(ii)(C)). More than 366 needs `review.rationale`.",
    ),
    ("review.rationale", "Why it is looked at less often: the audit log quotes it."),
    ("keys.root_file", "The root key's file, if it is kept elsewhere than in `keys/`."),
    (
        "keys.backup_retention_days",
        "Days for which backups of the keystore are kept: until then a certificate of destruction \
         says that an older copy could still decrypt.",
    ),
    (
        "tls.certificate",
        "PEM file with the certificate chain. Without one, a development CA is made.",
    ),
    ("tls.key", "PEM file with its private key."),
    (
        "subscriptions.hosts",
        "The hosts (`HOST` or `HOST:PORT`) that notifications may go to. None by default: nobody \
         is called. A host taken out is called no more from the reload on.",
    ),
    (
        "subscriptions.ca",
        "PEM file with the CAs that may vouch for those hosts; the system's own list, when not \
         given.",
    ),
    (
        "subscriptions.base_url",
        "The FHIR base URL, ending in `/fhir`, that subscribers know this server by; without one, \
         the address that it listens at. Other tenants have `/t/TENANT/fhir` in the place of \
         `/fhir`.",
    ),
    ("subscriptions.timeout_s", "Longest time for one notification, seconds, 1 to 300."),
    (
        "subscriptions.retry_first_ms",
        "The wait after a first failure, milliseconds, 10 to 600000; it doubles with each that \
         follows.",
    ),
    ("subscriptions.retry_most_s", "The longest wait between two attempts, seconds, 1 to 86400."),
    (
        "subscriptions.attempts",
        "After so many failures in a row a subscription is in error, 1 to 1000.",
    ),
    (
        "jobs.keep_hours",
        "Hours for which the files of a job (an export) are kept once it is done; then their key \
         is destroyed. More than 168 needs `jobs.rationale`.",
    ),
    (
        "jobs.spare_mib",
        "Exports leave so much of the file system free, mebibytes: below that they wait.",
    ),
    (
        "import.sources",
        "Addresses under which `$import` may fetch NDJSON: https, ending in a slash. None: uploads \
         alone. Everything else is refused, so that the server can't be made to reach what only \
         it can reach.",
    ),
    ("import.max_mib", "The most that one upload or source may have, mebibytes."),
    ("caps.window_hours", "The window in which patients are counted, hours, 1 to 168."),
    (
        "caps.patients",
        "The most patients whose records one account may read in a window, by role, in the \
         place of what ships; 0 is no cap. More than what ships needs `caps.rationale`.",
    ),
    ("caps.rationale", "Why more may be read: the audit log quotes it."),
    ("mail.server", "The mail server for alerts, HOST:PORT. Nothing is mailed without one."),
    ("mail.tls", "`implicit` (port 465) or `starttls` (port 587). There is no mail without TLS."),
    ("mail.ca", "PEM file of the CAs to trust; the system's, if not given."),
    ("mail.from", "The sender's address."),
    ("mail.to", "Addresses of those who are told. What they get holds nothing of a patient."),
    ("mail.user", "The account at the mail server."),
    ("mail.password_file", "A file with its password, for its owner alone."),
    (
        "labels.automatic",
        "Records are labelled for the codes in them (substance use, mental health, HIV, \
         reproduction, violence, genetics). `false` needs `labels.rationale`.",
    ),
    ("labels.list", "A file with codes of your own, beside the shipped lists."),
    ("labels.rationale", "Why nothing is labelled: the audit log quotes it."),
    ("jobs.rationale", "Why they are kept longer: the audit log quotes it."),
    ("attachments.max_mib", "Largest content that is uploaded by itself, mebibytes."),
    ("attachments.max_inline_kib", "Largest content inside a resource, kibibytes after decoding."),
    (
        "attachments.timeout_s",
        "Longest time for one upload, seconds; `http.request_timeout_s` is the longest between two \
         pieces of it.",
    ),
    (
        "attachments.scan",
        "`off`, or `required`: what ClamAV does not find clean is not stored (164.308(a)(5)(ii)(B)).",
    ),
    ("attachments.scanner", "Where ClamAV's daemon listens: `unix:/path` or `host:port`."),
    (
        "attachments.scan_timeout_s",
        "Longest time for the scanner to take a piece and to answer, seconds.",
    ),
    (
        "attachments.scanner_rationale",
        "Why the scanner is on another machine: what is scanned crosses the network unencrypted.",
    ),
    (
        "attachments.s3",
        "An S3-compatible bucket in the place of `data/TENANT/blobs`: a table with `region`, \
         `bucket`, `access_key_id` and `secret_access_key_file`, and perhaps `endpoint`, `prefix`, \
         `authority_file` and `timeout_s`.",
    ),
];

/// What the settings of an identity provider are for: `[sso.NAME]`.
const PROVIDER: &[(&str, &str)] = &[
    ("tenant", "Of which tenant; the default one, when not given."),
    ("label", "What people read on the button."),
    ("issuer", "The provider's own name for itself, letter by letter: `https://...`."),
    ("client_id", "This server's name at the provider."),
    (
        "authentication",
        "How this server proves itself there: `private_key_jwt` (by default, with the keys at \
         `/oauth/jwks`), `client_secret_basic` or `client_secret_post`.",
    ),
    ("client_secret_file", "The file that holds the secret, for its owner alone (mode 600)."),
    ("ca", "PEM file with the CAs that may vouch for the provider; the system's list otherwise."),
    ("hosts", "Hosts beside the issuer's own that its endpoints may be on."),
    (
        "scim_external_id",
        "Whether a person whose `sub` is the `externalId` that a directory gave an account over \
         SCIM is that account. `false` by default.",
    ),
    ("scopes", "What is asked for beside `openid`."),
    ("acr", "Classes of authentication that count as two factors. They are asked for."),
    ("amr", "Methods of authentication (RFC 8176) of which one counts as a second factor."),
    (
        "roles_claim",
        "The claim that says roles; with a slash before it a place in a claim, such as \
         `/realm_access/roles`.",
    ),
    (
        "roles",
        "A table `[sso.NAME.roles]`: the provider's words, and which role each is. Roles in it \
         are given and taken at each log-in; others are not touched.",
    ),
    (
        "rationale",
        "Why the provider may give roles with power over others (operator, privacy-officer, \
         security-administrator): the audit log quotes it.",
    ),
];

fn configuration() -> String {
    let mut out = format!(
        "{MADE}# Configuration\n\n`phial.toml` in the home. Every key is optional; an unknown key \
         stops the start. A departure from a safe default needs a rationale, which each start and \
         each reload writes into the audit log. SIGHUP reads the file again.\n\n| setting | default \
         | takes effect | what |\n|---|---|---|---|\n"
    );
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut names = Vec::new();
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, default) in keys.as_object().unwrap() {
            let name = format!("{section}.{key}");
            let what = SETTINGS.iter().find(|(n, _)| *n == name);
            let what = what.unwrap_or_else(|| panic!("SETTINGS does not say what {name} is for")).1;
            let default = if default.is_null() { String::new() } else { format!("`{default}`") };
            let restart = section == "attachments" || NEED_A_RESTART.contains(&name.as_str());
            let when = match restart {
                true => "at the next start",
                false => "on reload",
            };
            let _ = writeln!(out, "| `{name}` | {default} | {when} | {what} |");
            names.push(name);
        }
    }
    let provider: crate::config::Provider = serde_json::from_value(serde_json::json!({
        "label": "x", "issuer": "https://x", "client_id": "x"}))
    .unwrap();
    let provider = serde_json::to_value(provider).unwrap();
    for key in provider.as_object().unwrap().keys() {
        assert!(PROVIDER.iter().any(|(n, _)| n == key), "PROVIDER does not say what {key} is for");
    }
    for (name, what) in PROVIDER {
        assert!(provider.get(name).is_some(), "{name} is no setting of a provider");
        let _ = writeln!(out, "| `sso.NAME.{name}` |  | on reload | {what} |");
    }
    for (name, _) in SETTINGS {
        assert!(names.iter().any(|n| n == name), "{name} is no setting");
    }
    out
}

/// The golden table of routes, which a test holds against the running server.
fn routes() -> String {
    let mut out = format!(
        "{MADE}# Routes\n\nWho may use which route, what the others are answered, and what is \
         written down. Asked of the running server by role; `[base]` is `/fhir`, or \
         `/t/TENANT/fhir`. Each row: status and code of the refusal, the audit entries with their \
         outcomes, who is answered so. `200 of 404` is a Bundle's status and that of its entry.\n"
    );
    for line in include_str!("../tests/golden/routes.txt").lines() {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        match cells.as_slice() {
            _ if line.is_empty() || line.starts_with("# ") => {}
            [route] if route.starts_with("## ") => {
                let _ = write!(out, "\n{route}\n");
            }
            [answer, entries, who] => {
                let _ = writeln!(out, "| {answer} | {entries} | {who} |");
            }
            _ => {
                let _ = write!(out, "\n{line}:\n\n| answer | audit | who |\n|---|---|---|\n");
            }
        }
    }
    out
}

fn errors() -> String {
    let mut out = format!(
        "{MADE}# Errors\n\nEvery refusal is an OperationOutcome. Its issues name places and rules, \
         never a value of a record. In the answer to a batch, each entry's `response` has status \
         and outcome of its own. Every answer carries `X-Request-Id`, under which the audit log \
         has it.\n\n| status | code | meaning |\n|---|---|---|\n"
    );
    for (status, code, meaning) in crate::http::ERRORS {
        let _ = writeln!(out, "| {status} | `{}` | {meaning} |", code.code());
    }
    out
}

/// The OpenAPI document, laid out for reading.
fn openapi() -> String {
    let document = serde_json::to_string_pretty(&crate::http::openapi()).unwrap();
    format!("{document}\n")
}

fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("routes.md", routes()),
        ("command-line.md", command_line()),
        ("configuration.md", configuration()),
        ("audit-events.md", audit_events()),
        ("errors.md", errors()),
        ("openapi.json", openapi()),
    ]
}

#[test]
fn the_reference_is_what_the_program_says() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let write = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, page) in pages() {
        let file = dir.join(name);
        if write {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, &page).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == page,
            "docs/reference/{name} is not what the program says now: \
             UPDATE_GOLDEN=1 cargo test -p phial reference"
        );
    }
}
