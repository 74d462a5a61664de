//! The surface: one table of what is served under a FHIR base. Routing, `Allow`, the
//! CapabilityStatement and the table of who may (`docs/reference/routes.md`) all come
//! from it, so that none of them can say what is not so.
//!
//! **To add an interaction or an operation, add its row to [`ROWS`]**, its variant to
//! [`Route`] and its arm in `serve.rs`. Forms of segments: `[type]` (any resource type),
//! `[compartment]` (the same, where `[type]` comes later), `[id]`, `[vid]`, any other
//! `[word]`; all else is itself, so `/Patient/[id]/$everything` is for patients alone. Rows of one path with
//! different methods stand one after the other or not, as you like; of two that fit, the
//! first one counts.

use axum::http::Method;
use phial_base::{LogicalId, Version};
use phial_fhir::capability::{ConditionalRead, Features, On, Surface};
use phial_fhir::definitions::ResourceType;

use super::route::Route;
use crate::config::Config;

/// What a row is in the CapabilityStatement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has no line there, or another row of the same thing has it.
    Unsaid,
    /// `rest.interaction`
    System(&'static str),
    /// `rest.resource.interaction`, of every type.
    Type(&'static str),
    /// `rest.resource.conditionalUpdate`
    ConditionalUpdate,
    /// `rest.resource.conditionalDelete`: how many is a matter of the configuration.
    ConditionalDelete,
    /// `operation`, of the system, a type or every type as the path says: its name
    /// without `$`, and its definition's canonical URL.
    Operation(&'static str, &'static str),
}

/// What the placeholders of a path stood for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// `[compartment]`
    pub(crate) compartment: Option<ResourceType>,
    /// `[type]`, or a type that the path names itself.
    pub(crate) ty: Option<ResourceType>,
    /// `[id]`
    pub(crate) id: Option<LogicalId>,
    /// `[vid]`
    pub(crate) version: Option<Version>,
    /// Placeholders of other names, in their order.
    pub(crate) words: Vec<String>,
}

/// One row: method, path below the base, claim, and the route that it is. `None` of the
/// last is a mistake in the row, which a test finds.
pub(crate) struct Row {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) claim: Claim,
    pub(crate) route: fn(Parts) -> Option<Route>,
}

const fn row(
    method: Method,
    path: &'static str,
    claim: Claim,
    route: fn(Parts) -> Option<Route>,
) -> Row {
    Row { method, path, claim, route }
}

use Claim::{System, Type, Unsaid};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

const VALIDATE: Claim =
    Claim::Operation("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate");
const STATUS: Claim = Claim::Operation(
    "status",
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status",
);
const EVENTS: Claim = Claim::Operation(
    "events",
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events",
);
const PATIENT_EVERYTHING: Claim =
    Claim::Operation("everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything");
const ENCOUNTER_EVERYTHING: Claim =
    Claim::Operation("everything", "http://hl7.org/fhir/OperationDefinition/Encounter-everything");
const META: Claim =
    Claim::Operation("meta", "http://hl7.org/fhir/OperationDefinition/Resource-meta");
const META_ADD: Claim =
    Claim::Operation("meta-add", "http://hl7.org/fhir/OperationDefinition/Resource-meta-add");
const META_DELETE: Claim =
    Claim::Operation("meta-delete", "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete");
const EXPORT: Claim =
    Claim::Operation("export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export");
const PATIENT_EXPORT: Claim = Claim::Operation(
    "export",
    "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export",
);
const GROUP_EXPORT: Claim =
    Claim::Operation("export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export");
const IMPORT: Claim = Claim::Operation("import", "https://github.com/smart-on-fhir/bulk-import");
const EXPAND: Claim =
    Claim::Operation("expand", "http://hl7.org/fhir/OperationDefinition/ValueSet-expand");
const IN_VALUE_SET: Claim = Claim::Operation(
    "validate-code",
    "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code",
);
const IN_CODE_SYSTEM: Claim = Claim::Operation(
    "validate-code",
    "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code",
);

/// A job's name: they are made by us, of 32 hexadecimal digits.
fn job(parts: &Parts) -> Option<String> {
    let name = parts.words.first()?;
    let good = name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| name.clone())
}

/// The table. GET stands for HEAD too.
pub(crate) static ROWS: &[Row] = &[
    row(GET, "/metadata", Unsaid, |_| Some(Route::Capabilities)),
    row(POST, "", System("transaction"), |_| Some(Route::Bundle)),
    row(GET, "/[type]/[id]", Type("read"), |p| Some(Route::Read(p.ty?, p.id?))),
    row(GET, "/[type]/[id]/_history/[vid]", Type("vread"), |p| {
        Some(Route::Vread(p.ty?, p.id?, p.version?))
    }),
    row(GET, "/[type]/[id]/_history", Type("history-instance"), |p| {
        Some(Route::History(p.ty?, p.id?))
    }),
    row(GET, "/[type]/_history", Type("history-type"), |p| Some(Route::TypeHistory(p.ty?))),
    row(GET, "/_history", System("history-system"), |_| Some(Route::SystemHistory)),
    row(GET, "/[type]", Type("search-type"), |p| Some(Route::Search(p.ty?, false))),
    row(POST, "/[type]/_search", Unsaid, |p| Some(Route::Search(p.ty?, true))),
    row(GET, "", System("search-system"), |_| Some(Route::SearchSystem(false))),
    row(POST, "/_search", Unsaid, |_| Some(Route::SearchSystem(true))),
    row(GET, "/[compartment]/[id]/[type]", Unsaid, |p| {
        Some(Route::Compartment(p.compartment?, p.id?, p.ty?, false))
    }),
    row(POST, "/[compartment]/[id]/[type]/_search", Unsaid, |p| {
        Some(Route::Compartment(p.compartment?, p.id?, p.ty?, true))
    }),
    row(POST, "/[type]", Type("create"), |p| Some(Route::Create(p.ty?))),
    row(PUT, "/[type]/[id]", Type("update"), |p| Some(Route::Update(p.ty?, p.id?))),
    row(PUT, "/[type]", Claim::ConditionalUpdate, |p| Some(Route::UpdateWhere(p.ty?))),
    row(PATCH, "/[type]/[id]", Type("patch"), |p| Some(Route::Patch(p.ty?, p.id?))),
    row(PATCH, "/[type]", Unsaid, |p| Some(Route::PatchWhere(p.ty?))),
    row(DELETE, "/[type]/[id]", Type("delete"), |p| Some(Route::Delete(p.ty?, p.id?))),
    row(DELETE, "/[type]", Claim::ConditionalDelete, |p| Some(Route::DeleteWhere(p.ty?))),
    row(GET, "/[type]/[id]/$validate", VALIDATE, |p| {
        Some(Route::Validate(p.ty?, Some(p.id?), false))
    }),
    row(POST, "/[type]/$validate", VALIDATE, |p| Some(Route::Validate(p.ty?, None, true))),
    row(POST, "/[type]/[id]/$validate", VALIDATE, |p| {
        Some(Route::Validate(p.ty?, Some(p.id?), true))
    }),
    row(GET, "/ValueSet/$expand", EXPAND, |_| Some(Route::Expand(None, false))),
    row(GET, "/ValueSet/[id]/$expand", EXPAND, |p| Some(Route::Expand(Some(p.id?), false))),
    row(POST, "/ValueSet/$expand", EXPAND, |_| Some(Route::Expand(None, true))),
    row(POST, "/ValueSet/[id]/$expand", EXPAND, |p| Some(Route::Expand(Some(p.id?), true))),
    row(GET, "/ValueSet/$validate-code", IN_VALUE_SET, |p| {
        Some(Route::ValidateCode(p.ty?, None, false))
    }),
    row(GET, "/ValueSet/[id]/$validate-code", IN_VALUE_SET, |p| {
        Some(Route::ValidateCode(p.ty?, Some(p.id?), false))
    }),
    row(GET, "/CodeSystem/$validate-code", IN_CODE_SYSTEM, |p| {
        Some(Route::ValidateCode(p.ty?, None, false))
    }),
    row(GET, "/CodeSystem/[id]/$validate-code", IN_CODE_SYSTEM, |p| {
        Some(Route::ValidateCode(p.ty?, Some(p.id?), false))
    }),
    row(POST, "/ValueSet/$validate-code", IN_VALUE_SET, |p| {
        Some(Route::ValidateCode(p.ty?, None, true))
    }),
    row(POST, "/ValueSet/[id]/$validate-code", IN_VALUE_SET, |p| {
        Some(Route::ValidateCode(p.ty?, Some(p.id?), true))
    }),
    row(POST, "/CodeSystem/$validate-code", IN_CODE_SYSTEM, |p| {
        Some(Route::ValidateCode(p.ty?, None, true))
    }),
    row(POST, "/CodeSystem/[id]/$validate-code", IN_CODE_SYSTEM, |p| {
        Some(Route::ValidateCode(p.ty?, Some(p.id?), true))
    }),
    row(GET, "/Subscription/$status", STATUS, |_| Some(Route::SubscriptionStatuses(false))),
    row(POST, "/Subscription/$status", STATUS, |_| Some(Route::SubscriptionStatuses(true))),
    row(GET, "/Subscription/[id]/$status", STATUS, |p| Some(Route::SubscriptionStatus(p.id?))),
    row(POST, "/Subscription/[id]/$status", STATUS, |p| Some(Route::SubscriptionStatus(p.id?))),
    row(GET, "/Subscription/[id]/$events", EVENTS, |p| {
        Some(Route::SubscriptionEvents(p.id?, false))
    }),
    row(POST, "/Subscription/[id]/$events", EVENTS, |p| {
        Some(Route::SubscriptionEvents(p.id?, true))
    }),
    row(GET, "/Patient/[id]/$everything", PATIENT_EVERYTHING, |p| {
        Some(Route::Everything(p.ty?, p.id?, false))
    }),
    row(GET, "/Encounter/[id]/$everything", ENCOUNTER_EVERYTHING, |p| {
        Some(Route::Everything(p.ty?, p.id?, false))
    }),
    row(POST, "/Patient/[id]/$everything", PATIENT_EVERYTHING, |p| {
        Some(Route::Everything(p.ty?, p.id?, true))
    }),
    row(POST, "/Encounter/[id]/$everything", ENCOUNTER_EVERYTHING, |p| {
        Some(Route::Everything(p.ty?, p.id?, true))
    }),
    row(POST, "/Patient/[id]/$break-glass", Unsaid, |p| Some(Route::BreakGlass(p.id?))),
    row(POST, "/Patient/[id]/$break-glass-end", Unsaid, |p| Some(Route::BreakGlassEnd(p.id?))),
    row(GET, "/[type]/[id]/$meta", META, |p| Some(Route::Meta(p.ty?, p.id?))),
    row(POST, "/[type]/[id]/$meta", META, |p| Some(Route::Meta(p.ty?, p.id?))),
    row(GET, "/[type]/$meta", META, |p| Some(Route::MetaOfType(p.ty?))),
    row(POST, "/[type]/$meta", META, |p| Some(Route::MetaOfType(p.ty?))),
    row(GET, "/$meta", META, |_| Some(Route::MetaOfAll)),
    row(POST, "/$meta", META, |_| Some(Route::MetaOfAll)),
    row(POST, "/[type]/[id]/$meta-add", META_ADD, |p| Some(Route::MetaAdd(p.ty?, p.id?))),
    row(POST, "/[type]/[id]/$meta-delete", META_DELETE, |p| Some(Route::MetaDelete(p.ty?, p.id?))),
    row(GET, "/$export", EXPORT, |_| Some(Route::ExportSystem(false))),
    row(POST, "/$export", EXPORT, |_| Some(Route::ExportSystem(true))),
    row(GET, "/Patient/$export", PATIENT_EXPORT, |_| Some(Route::ExportPatients(false))),
    row(POST, "/Patient/$export", PATIENT_EXPORT, |_| Some(Route::ExportPatients(true))),
    row(GET, "/Group/[id]/$export", GROUP_EXPORT, |p| Some(Route::ExportGroup(p.id?, false))),
    row(POST, "/Group/[id]/$export", GROUP_EXPORT, |p| Some(Route::ExportGroup(p.id?, true))),
    row(POST, "/$import", IMPORT, |_| Some(Route::Import)),
    row(GET, "/$job/[job]", Unsaid, |p| Some(Route::JobStatus(job(&p)?))),
    row(DELETE, "/$job/[job]", Unsaid, |p| Some(Route::JobCancel(job(&p)?))),
    row(GET, "/$job/[job]/[file]", Unsaid, |p| {
        Some(Route::JobFile(job(&p)?, p.words.get(1)?.parse().ok()?))
    }),
];

/// A route outside every FHIR base. It asks for no token, and says nothing of anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Whether the program runs.
    Alive,
    /// Whether requests are welcome.
    Ready,
    /// The OpenAPI document.
    OpenApi,
}

/// A row of such a route; all are GET.
pub(crate) struct PlainRow {
    pub(crate) path: &'static str,
    pub(crate) route: Plain,
    /// What it tells, for the OpenAPI document.
    pub(crate) about: &'static str,
}

const fn plain_row(path: &'static str, route: Plain, about: &'static str) -> PlainRow {
    PlainRow { path, route, about }
}

/// The table of them.
pub(crate) static PLAIN: &[PlainRow] = &[
    plain_row("/healthz", Plain::Alive, "Whether the program runs."),
    plain_row(
        "/readyz",
        Plain::Ready,
        "Whether requests are welcome: the audit log can be written, and no end was announced.",
    ),
    plain_row("/openapi.json", Plain::OpenApi, "This document."),
];

/// The route at this path, outside every FHIR base.
pub(crate) fn plain(path: &str) -> Option<Plain> {
    PLAIN.iter().find(|row| row.path == path).map(|row| row.route)
}

/// How a row outside the FHIR bases is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A page that is looked at.
    Page,
    /// A form of a page: answered only when a page of ours was its origin.
    Form,
    /// A file of the pages.
    Asset,
    /// For programs: no cookie counts, no origin is asked for.
    Api,
}

/// A row outside the FHIR bases that is served to each tenant: below `/` for the default
/// one, below `/t/TENANT/` for others.
pub(crate) struct PageRow {
    pub(crate) method: Method,
    /// `[word]` stands for any one segment.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) answer: Handler,
}

const fn page(method: Method, path: &'static str, kind: Kind, answer: Handler) -> PageRow {
    PageRow { method, path, kind, answer }
}

use super::pages::{
    Handler, account, again, apps, assets, break_glass, emergency_reviews, enrol, home, invite,
    login, passkeys, people, review, second, sso,
};

/// The pages for people, and what belongs to them.
pub(crate) static PAGES: &[PageRow] = &[
    page(GET, "/", Kind::Page, |v| Box::pin(home::show(v))),
    page(GET, "/assets/[name]", Kind::Asset, |v| Box::pin(assets::file(v))),
    page(GET, "/login", Kind::Page, |v| Box::pin(login::show(v))),
    page(POST, "/login", Kind::Form, |v| Box::pin(login::submit(v))),
    page(POST, "/login/passkey", Kind::Form, |v| Box::pin(passkeys::submit(v))),
    page(GET, "/login/second", Kind::Page, |v| Box::pin(second::show(v))),
    page(POST, "/login/second", Kind::Form, |v| Box::pin(second::submit(v))),
    page(GET, "/login/again", Kind::Page, |v| Box::pin(again::show(v))),
    page(POST, "/login/again", Kind::Form, |v| Box::pin(again::submit(v))),
    page(GET, "/login/sso/[provider]", Kind::Page, |v| Box::pin(sso::begin(v))),
    page(GET, "/login/sso/[provider]/back", Kind::Page, |v| Box::pin(sso::back(v))),
    page(GET, "/login/ended", Kind::Page, |v| Box::pin(login::ended(v))),
    page(POST, "/logout", Kind::Form, |v| Box::pin(login::log_out(v))),
    page(GET, "/invite/[token]", Kind::Page, |v| Box::pin(invite::show(v))),
    page(POST, "/invite/[token]", Kind::Form, |v| Box::pin(invite::submit(v))),
    page(GET, "/oauth/authorize", Kind::Page, |v| Box::pin(apps::authorize::show(v))),
    page(POST, "/oauth/consent", Kind::Form, |v| Box::pin(apps::consent::submit(v))),
    page(POST, "/oauth/patient", Kind::Form, |v| Box::pin(apps::patient::submit(v))),
    page(POST, "/oauth/encounter", Kind::Form, |v| Box::pin(apps::encounter::submit(v))),
    page(GET, "/account/apps", Kind::Page, |v| Box::pin(apps::granted::show(v))),
    page(POST, "/account/apps/end", Kind::Form, |v| Box::pin(apps::granted::end(v))),
    page(GET, "/account", Kind::Page, |v| Box::pin(account::show(v))),
    page(POST, "/account/password", Kind::Form, |v| Box::pin(account::password(v))),
    page(GET, "/account/enrol", Kind::Page, |v| Box::pin(enrol::show(v))),
    page(POST, "/account/enrol/passkey", Kind::Form, |v| Box::pin(enrol::passkey(v))),
    page(POST, "/account/enrol/totp", Kind::Form, |v| Box::pin(enrol::totp(v))),
    page(POST, "/account/factor/remove", Kind::Form, |v| Box::pin(account::remove(v))),
    page(POST, "/account/codes", Kind::Form, |v| Box::pin(account::codes(v))),
    page(POST, "/account/sessions/end", Kind::Form, |v| Box::pin(account::end_session(v))),
    page(POST, "/account/browsers/forget", Kind::Form, |v| Box::pin(account::forget(v))),
    page(GET, "/admin/people", Kind::Page, |v| Box::pin(people::list(v))),
    page(POST, "/admin/people", Kind::Form, |v| Box::pin(people::add(v))),
    page(GET, "/admin/people/[user]", Kind::Page, |v| Box::pin(people::show(v))),
    page(POST, "/admin/people/[user]/roles", Kind::Form, |v| Box::pin(people::roles(v))),
    page(POST, "/admin/people/[user]/standing", Kind::Form, |v| Box::pin(people::standing(v))),
    page(POST, "/admin/people/[user]/invite", Kind::Form, |v| Box::pin(people::invite(v))),
    page(POST, "/admin/people/[user]/sessions", Kind::Form, |v| Box::pin(people::sessions(v))),
    page(POST, "/admin/people/[user]/link", Kind::Form, |v| Box::pin(people::link(v))),
    page(POST, "/admin/people/[user]/unlink", Kind::Form, |v| Box::pin(people::unlink(v))),
    page(GET, "/admin/review", Kind::Page, |v| Box::pin(review::show(v))),
    page(POST, "/admin/review/[user]", Kind::Form, |v| Box::pin(review::sign(v))),
    page(GET, "/break-glass", Kind::Page, |v| Box::pin(break_glass::show(v))),
    page(POST, "/break-glass", Kind::Form, |v| Box::pin(break_glass::submit(v))),
    page(GET, "/break-glass/new", Kind::Page, |v| Box::pin(break_glass::ask(v))),
    page(POST, "/break-glass/end", Kind::Form, |v| Box::pin(break_glass::end(v))),
    page(GET, "/break-glass/reviews", Kind::Page, |v| Box::pin(emergency_reviews::list(v))),
    page(GET, "/break-glass/reviews/[grant]", Kind::Page, |v| Box::pin(emergency_reviews::show(v))),
    page(POST, "/break-glass/reviews/[grant]", Kind::Form, |v| {
        Box::pin(emergency_reviews::sign(v))
    }),
    page(POST, "/break-glass/reviews/[grant]/end", Kind::Form, |v| {
        Box::pin(emergency_reviews::end(v))
    }),
    page(POST, "/break-glass/alerts/[alert]", Kind::Form, |v| Box::pin(emergency_reviews::seen(v))),
];

/// Whether a page is at this path, for any method.
pub(crate) fn is_page(path: &str) -> bool {
    super::pages::find(path).is_some()
}

/// What is claimed beside the rows: headers and rules of rows that are there anyway.
/// `what_is_claimed_is_served` (crates/phial/tests/it/capabilities.rs) tries each.
const FEATURES: Features = Features {
    conditional_create: true,
    conditional_read: ConditionalRead::FullSupport,
    update_create: true,
    // `POST [base]` takes both kinds of bundles.
    batch: true,
};

/// What the CapabilityStatement says of a server that is configured like this.
pub(crate) fn surface(config: &Config) -> Surface {
    let cors = !config.http.cors_origins.is_empty();
    let mut said = Surface { cors, features: FEATURES, ..Surface::default() };
    for row in ROWS {
        let once = |list: &mut Vec<&'static str>, code| {
            if !list.contains(&code) {
                list.push(code);
            }
        };
        match row.claim {
            Claim::Unsaid => {}
            Claim::System(code) => once(&mut said.system, code),
            Claim::Type(code) => once(&mut said.interactions, code),
            Claim::ConditionalUpdate => said.conditional_update = true,
            Claim::ConditionalDelete => {
                let many = config.fhir.delete_many();
                said.conditional_delete = Some(if many { "multiple" } else { "single" });
            }
            Claim::Operation(name, definition) => said.operation(on(row.path), name, definition),
        }
    }
    said
}

/// Of what a path is an operation.
fn on(path: &'static str) -> On {
    match path.split('/').nth(1).unwrap_or("") {
        "[type]" | "[compartment]" => On::EveryType,
        name => ResourceType::from_name(name).map_or(On::System, On::Type),
    }
}
