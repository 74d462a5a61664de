//! From source texts to policies that may be asked. Everything doubtful is refused
//! here, so that evaluation has little left to fail at.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use cedar_policy::{
    Effect as CedarEffect, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode,
    Validator,
};
use phial_base::{ClassSet, DataClass};

use crate::error::{Error, Problem};
use crate::mask::{Effect, Obligation, ObligationSet, Satisfied};
use crate::role::{self, Role};

/// The floor: forbids that stand whatever the files say.
const FLOOR: &str = include_str!("../policies/floor.cedar");
const FLOOR_FILE: &str = "floor.cedar (built in)";
const FLOOR_PREFIX: &str = "floor.";

/// Names of entity types that a policy may mention one by one. `Subject`, `Record`
/// and `Tenant` are not among them: a rule about one person or one record is a
/// grant, not a policy, and masks are cached for everyone alike.
const NAMEABLE: [&str; 7] =
    ["Role", "Action", "Type", "Label", "Purpose", "Relationship", "Surface"];

/// Checked policies.
pub(crate) struct Loaded {
    pub(crate) schema: Schema,
    pub(crate) permits: PolicySet,
    pub(crate) forbids: PolicySet,
    pub(crate) known: HashMap<PolicyId, Satisfied>,
    pub(crate) roles: Vec<Role>,
    pub(crate) types: Vec<String>,
    pub(crate) hash: [u8; 32],
}

pub(crate) fn load(
    schema_text: &str,
    files: &[(String, String)],
    roles_toml: &str,
) -> Result<Loaded, Error> {
    let roles = role::parse(roles_toml)?;
    let (schema, types) = schema(schema_text)?;
    let mut all = PolicySet::new();
    let mut known = HashMap::new();
    for (file, text) in files {
        read_file(file, text, false, &roles, &mut all, &mut known)?;
    }
    read_file(FLOOR_FILE, FLOOR, true, &roles, &mut all, &mut known)?;
    validate(&schema, &all, &known)?;
    let (mut permits, mut forbids) = (PolicySet::new(), PolicySet::new());
    for p in all.policies() {
        check_reach(p, &schema, &known)?;
        let set = match p.effect() {
            CedarEffect::Permit => &mut permits,
            CedarEffect::Forbid => &mut forbids,
        };
        set.add(p.clone()).map_err(|e| Error::Schema(e.to_string()))?;
    }
    let hash = hash(schema_text, files, roles_toml);
    Ok(Loaded { schema, permits, forbids, known, roles, types, hash })
}

/// SHA-256 over everything that decisions depend on, length-prefixed; the order of
/// the files does not matter.
fn hash(schema: &str, files: &[(String, String)], roles: &str) -> [u8; 32] {
    let sorted: BTreeMap<&str, &str> =
        files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let mut ctx = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        ctx.update(&(text.len() as u64).to_be_bytes());
        ctx.update(text.as_bytes());
    };
    part("phial policy set 1");
    part(schema);
    part(FLOOR);
    part(roles);
    for (name, text) in sorted {
        part(name);
        part(text);
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(ctx.finish().as_ref());
    out
}

/// The schema, and the resource types that it lists.
fn schema(text: &str) -> Result<(Schema, Vec<String>), Error> {
    let refused = |m: String| Error::Schema(m);
    let (fragment, warnings) =
        SchemaFragment::from_cedarschema_str(text).map_err(|e| refused(e.to_string()))?;
    if let Some(w) = warnings.into_iter().next() {
        return Err(refused(w.to_string()));
    }
    let json = fragment.clone().to_json_value().map_err(|e| refused(e.to_string()))?;
    let types: Vec<String> = json
        // The namespace without a name.
        .pointer("//entityTypes/Type/enum")
        .and_then(|v| v.as_array())
        .map(|v| v.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    if types.is_empty() || types.len() >= usize::from(u16::MAX) {
        return Err(refused("it does not list the resource types as \"entity Type enum\"".into()));
    }
    let schema = Schema::from_schema_fragments([fragment]).map_err(|e| refused(e.to_string()))?;
    Ok((schema, types))
}

fn read_file(
    file: &str,
    text: &str,
    floor: bool,
    roles: &[Role],
    all: &mut PolicySet,
    known: &mut HashMap<PolicyId, Satisfied>,
) -> Result<(), Error> {
    let parsed = PolicySet::from_str(text)
        .map_err(|e| Error::Syntax { file: file.to_owned(), message: e.to_string() })?;
    let refused = |id: &str, problem: Problem| Error::Policy {
        file: file.to_owned(),
        id: id.to_owned(),
        problem,
    };
    if let Some(t) = parsed.templates().next() {
        return Err(refused(t.annotation("id").unwrap_or("without id"), Problem::Template));
    }
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    // Cedar numbers the policies of a text "policy0", "policy1", ...
    policies.sort_by_key(|p| {
        let id: &str = p.id().as_ref();
        id.trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX)
    });
    let file_name: Arc<str> = file.into();
    for (i, p) in policies.into_iter().enumerate() {
        let id = match p.annotation("id") {
            Some(id) if !id.is_empty() => id,
            _ => return Err(refused(&format!("number {}", i + 1), Problem::NoId)),
        };
        if id.starts_with(FLOOR_PREFIX) != floor {
            return Err(refused(id, Problem::FloorId));
        }
        let satisfied =
            describe(p, id, &file_name, roles).map_err(|problem| refused(id, problem))?;
        let policy = p.new_id(PolicyId::new(id));
        if known.insert(policy.id().clone(), satisfied).is_some() {
            return Err(refused(id, Problem::DuplicateId));
        }
        all.add(policy).map_err(|_| refused(id, Problem::DuplicateId))?;
    }
    Ok(())
}

/// Reads a policy's annotations and the roles that it names.
fn describe(p: &Policy, id: &str, file: &Arc<str>, roles: &[Role]) -> Result<Satisfied, Problem> {
    for (key, _) in p.annotations() {
        if !matches!(key, "id" | "classes" | "obligation" | "note") {
            return Err(Problem::UnknownAnnotation(key.to_owned()));
        }
    }
    for uid in p.entity_literals() {
        let kind = uid.type_name().to_string();
        if !NAMEABLE.contains(&kind.as_str()) {
            return Err(Problem::NamesIndividual(kind));
        }
        let name: &str = uid.id().unescaped();
        if kind == "Role" && !roles.iter().any(|r| &*r.name == name) {
            return Err(Problem::UnknownRole(name.to_owned()));
        }
    }
    let classes = classes(p.annotation("classes").unwrap_or(""))?;
    let mut obligations = ObligationSet::NONE;
    for name in p.annotation("obligation").into_iter().flat_map(|o| o.split(',')) {
        let name = name.trim();
        let o = Obligation::from_name(name)
            .ok_or_else(|| Problem::UnknownObligation(name.to_owned()))?;
        obligations = obligations.with(o);
    }
    let effect = match p.effect() {
        CedarEffect::Permit => Effect::Permit,
        CedarEffect::Forbid => Effect::Forbid,
    };
    if effect == Effect::Forbid && !obligations.is_empty() {
        return Err(Problem::ObligationOnForbid);
    }
    Ok(Satisfied { id: id.into(), file: Arc::clone(file), effect, classes, obligations })
}

/// Reads `@classes`: names with commas, `*` for all, `none` for none.
fn classes(text: &str) -> Result<ClassSet, Problem> {
    match text.trim() {
        "" => Err(Problem::NoClasses),
        "*" => Ok(ClassSet::ALL),
        "none" => Ok(ClassSet::NONE),
        list => list
            .split(',')
            .map(|name| {
                DataClass::from_name(name.trim())
                    .map_err(|_| Problem::UnknownClass(name.trim().to_owned()))
            })
            .collect(),
    }
}

/// Cedar's strict validation. Warnings refuse too: a policy that can never hold, or
/// that looks like another text than it is, is not what its author meant.
fn validate(
    schema: &Schema,
    all: &PolicySet,
    known: &HashMap<PolicyId, Satisfied>,
) -> Result<(), Error> {
    let result = Validator::new(schema.clone()).validate(all, ValidationMode::Strict);
    let first = result
        .validation_errors()
        .map(|e| (e.policy_id(), e.to_string()))
        .chain(result.validation_warnings().map(|w| (w.policy_id(), w.to_string())))
        .min_by_key(|(id, _)| id.to_string());
    match first {
        None => Ok(()),
        Some((id, message)) => Err(refusal(known, id, Problem::Schema(message))),
    }
}

/// A permit speaks either of records, with classes, or of actions without records.
fn check_reach(
    p: &Policy,
    schema: &Schema,
    known: &HashMap<PolicyId, Satisfied>,
) -> Result<(), Error> {
    let Some(s) = known.get(p.id()) else { return Ok(()) };
    if s.effect == Effect::Forbid {
        return Ok(());
    }
    let (mut records, mut others) = (false, false);
    for env in p.get_valid_request_envs(schema) {
        if env.resource().to_string() == "Record" {
            records = true;
        } else {
            others = true;
        }
    }
    if s.classes.is_empty() && records && s.obligations.is_empty() {
        return Err(refusal(known, p.id(), Problem::NothingOnRecords));
    }
    if !s.classes.is_empty() && others {
        return Err(refusal(known, p.id(), Problem::ClassesBeyondRecords));
    }
    Ok(())
}

fn refusal(known: &HashMap<PolicyId, Satisfied>, id: &PolicyId, problem: Problem) -> Error {
    let file = known.get(id).map_or_else(String::new, |s| s.file.to_string());
    Error::Policy { file, id: id.to_string(), problem }
}
