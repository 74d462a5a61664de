//! The paths of search parameters, walked over plain JSON. It knows no types but what
//! the JSON shows: a choice is told by the end of its member's name, everything else by
//! its members.

use serde_json::Value;

/// What may stand behind the stem of a choice, as in `valueQuantity`.
const CHOICES: &str = " Base64Binary Boolean Canonical Code Date DateTime Decimal Id Instant \
    Integer Markdown Oid PositiveInt String Time UnsignedInt Uri Url Uuid Address Age \
    Annotation Attachment CodeableConcept Coding ContactPoint Count Distance Duration \
    HumanName Identifier Money Period Quantity Range Ratio Reference SampledData Signature \
    Timing ContactDetail Contributor DataRequirement Expression ParameterDefinition \
    RelatedArtifact TriggerDefinition UsageContext Dosage Meta ";

/// One value on the way, the type that its member's name told, and the members from the
/// resource to it.
#[derive(Clone, Debug)]
pub(crate) struct At<'v> {
    pub(crate) value: &'v Value,
    pub(crate) ty: Option<&'v str>,
    pub(crate) way: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Member(String),
    As(String),
    Same(String, String),
    Resolves(String),
    Index(usize),
}

/// One alternative of an expression: what it starts at and the steps from there.
#[derive(Debug)]
struct Alternative {
    root: Option<String>,
    steps: Vec<Step>,
}

/// A compiled expression.
#[derive(Debug, Default)]
pub(crate) struct Path {
    alternatives: Vec<Alternative>,
    /// `Patient.deceased.exists() and Patient.deceased != false`
    pub(crate) deceased: bool,
}

fn outside<'t>(text: &'t str, at: &str) -> Vec<&'t str> {
    let (mut depth, mut start, mut all) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && i >= start && text[i..].starts_with(at) => {
                all.push(&text[start..i]);
                start = i + at.len();
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all
}

impl Path {
    /// `rooted`: the first name of each alternative is a type, but where R4 leaves it out
    /// (`InsurancePlan.name` is `name | alias`).
    pub(crate) fn new(text: &str, rooted: bool) -> Path {
        if text == "Patient.deceased.exists() and Patient.deceased != false" {
            return Path { alternatives: Vec::new(), deceased: true };
        }
        let mut alternatives = Vec::new();
        for one in outside(text, " | ") {
            let mut steps = Vec::new();
            read(one.trim(), &mut steps);
            let root = match steps.first() {
                Some(Step::Member(first)) if rooted => {
                    let ty = first.starts_with(char::is_uppercase).then(|| first.clone());
                    steps.drain(..usize::from(ty.is_some()));
                    ty
                }
                Some(other) if rooted => panic!("{text} starts with {other:?}"),
                _ => None,
            };
            alternatives.push(Alternative { root, steps });
        }
        Path { alternatives, deceased: false }
    }

    /// The values that it leads to. `resource` is where references to what is contained
    /// are looked for.
    pub(crate) fn from<'v>(&'v self, resource: &'v Value, start: &At<'v>) -> Vec<At<'v>> {
        let mut all = Vec::new();
        for alternative in &self.alternatives {
            if let Some(root) = &alternative.root
                && resource["resourceType"] != **root
                && !["Resource", "DomainResource"].contains(&root.as_str())
            {
                continue;
            }
            let mut here = vec![start.clone()];
            for step in &alternative.steps {
                here = step.take(resource, here);
            }
            all.extend(here);
        }
        all
    }

    /// The values in a resource.
    pub(crate) fn of<'v>(&'v self, resource: &'v Value) -> Vec<At<'v>> {
        self.from(resource, &At { value: resource, ty: None, way: Vec::new() })
    }
}

/// Reads `a.b.where(c).d`, `(a.b as T).c`, `a[0]`.
fn read(text: &str, steps: &mut Vec<Step>) {
    if let Some((head, ty)) = text.rsplit_once(" as ")
        && outside(text, " as ").len() > 1
    {
        read(head.trim(), steps);
        steps.push(Step::As(ty.trim().to_owned()));
        return;
    }
    for part in outside(text, ".") {
        let part = part.trim();
        if let Some(inner) = part.strip_prefix('(') {
            read(inner.strip_suffix(')').unwrap(), steps);
        } else if let Some(ty) = part.strip_prefix("as(").or_else(|| part.strip_prefix("ofType(")) {
            steps.push(Step::As(ty.strip_suffix(')').unwrap().to_owned()));
        } else if let Some(test) = part.strip_prefix("where(") {
            let test = test.strip_suffix(')').unwrap();
            if let Some(ty) = test.strip_prefix("resolve() is ") {
                steps.push(Step::Resolves(ty.to_owned()));
            } else {
                let (member, value) = test.split_once('=').unwrap();
                steps
                    .push(Step::Same(member.trim().into(), value.trim().trim_matches('\'').into()));
            }
        } else if let Some((name, index)) = part.split_once('[') {
            steps.push(Step::Member(name.to_owned()));
            steps.push(Step::Index(index.trim_end_matches(']').parse().unwrap()));
        } else {
            assert!(part.chars().all(char::is_alphanumeric), "not understood: {part} of {text}");
            steps.push(Step::Member(part.to_owned()));
        }
    }
}

impl Step {
    fn take<'v>(&self, resource: &'v Value, here: Vec<At<'v>>) -> Vec<At<'v>> {
        match self {
            Step::Member(name) => here.iter().flat_map(|at| members(at, name)).collect(),
            Step::Index(n) => here.into_iter().skip(*n).take(1).collect(),
            Step::As(ty) => here
                .into_iter()
                .filter(|at| match at.ty {
                    Some(told) => told.eq_ignore_ascii_case(ty),
                    None => at.value.get("resourceType").is_none_or(|t| t == &**ty),
                })
                .collect(),
            Step::Same(member, value) => {
                here.into_iter().filter(|at| at.value[member] == **value).collect()
            }
            Step::Resolves(ty) => here
                .into_iter()
                .filter(|at| target_type(resource, at.value).as_deref() == Some(ty))
                .collect(),
        }
    }
}

/// The members of this name, or the choice that it is the stem of; lists are taken apart.
fn members<'v>(at: &At<'v>, name: &str) -> Vec<At<'v>> {
    let Some(all) = at.value.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in all {
        let ty = match key.strip_prefix(name) {
            Some("") => None,
            Some(rest) if CHOICES.contains(&format!(" {rest} ")) => Some(&key[name.len()..]),
            _ => continue,
        };
        let items: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for (n, item) in items.into_iter().enumerate() {
            if !item.is_null() {
                let mut way = at.way.clone();
                way.push(format!("{key}.{n}"));
                found.push(At { value: item, ty, way });
            }
        }
    }
    found
}

/// The type of what a Reference points at, as far as it says.
pub(crate) fn target_type(resource: &Value, reference: &Value) -> Option<String> {
    let text = reference["reference"].as_str().unwrap_or("");
    let told = if let Some(id) = text.strip_prefix('#') {
        let all = resource["contained"].as_array().into_iter().flatten();
        all.clone().find(|c| c["id"] == id).and_then(|c| c["resourceType"].as_str())
    } else {
        let plain = text.split("/_history/").next().unwrap_or("");
        let mut parts = plain.rsplit('/');
        let _id = parts.next();
        parts.next().filter(|ty| ty.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    told.or_else(|| reference["type"].as_str()).map(str::to_owned)
}
