//! Reads the text tables into vectors. The text is our own and compiled in; a line
//! that doesn't parse is left out, and tests hold the counts.

use std::collections::HashMap;

use super::{
    Binding, Component, Element, ElementId, Form, Member, ResourceType, SearchParam, SearchType,
    Strength, TypeDef, TypeId, TypeKind, ValueSet,
};

pub(super) struct Tables {
    pub(super) types: Vec<TypeDef>,
    pub(super) elements: Vec<Element>,
    pub(super) sets: Vec<ValueSet>,
    pub(super) params: Vec<SearchParam>,
    pub(super) compartments: HashMap<(ResourceType, ResourceType), Vec<&'static str>>,
    pub(super) by_name: HashMap<&'static str, TypeId>,
    pub(super) resources: usize,
    members: Vec<Member>,
    /// Open addressing over `members`, index + 1; a power of two, at most half full.
    slots: Vec<u16>,
}

impl Tables {
    pub(super) fn member(&self, owner: TypeId, name: &str) -> Option<&Member> {
        let mask = self.slots.len() - 1;
        let mut at = hash(owner, name.as_bytes()) & mask;
        loop {
            let slot = *self.slots.get(at)?;
            let m = self.members.get(usize::from(slot).checked_sub(1)?)?;
            if m.owner == owner && m.name == name {
                return Some(m);
            }
            at = (at + 1) & mask;
        }
    }
}

/// Mixes length, first and last eight bytes: member names are short and few.
fn hash(owner: TypeId, name: &[u8]) -> usize {
    let word = |b: &[u8]| {
        let mut w = [0u8; 8];
        for (to, from) in w.iter_mut().zip(b) {
            *to = *from;
        }
        u64::from_le_bytes(w)
    };
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(h), Some(t)) => (u64::from_le_bytes(*h), u64::from_le_bytes(*t)),
        _ => (word(name), 0),
    };
    let seed = u64::from(owner.0) << 8 | name.len() as u64;
    let mixed = (head ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        ^ tail.rotate_left(29).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|l| !l.starts_with('#'))
}

struct RawElement {
    name: &'static str,
    min: u8,
    many: bool,
    choice: bool,
    types: &'static [TypeId],
    targets: &'static [ResourceType],
    binding: Option<Binding>,
    summary: bool,
    modifier: bool,
}

pub(super) fn load() -> Tables {
    let text = include_str!("elements.txt");

    // First the names, since elements speak of types that stand further down.
    let mut heads = Vec::new();
    let mut by_name = HashMap::new();
    for line in lines(text) {
        if let Some(head) = line.strip_prefix('=') {
            let mut columns = head.split('\t');
            let name = columns.next().unwrap_or("");
            by_name.insert(name, TypeId(index(heads.len())));
            heads.push((name, kind(columns.next().unwrap_or("")), columns.next().unwrap_or("")));
        }
    }
    let resources = heads.iter().take_while(|h| h.1 == TypeKind::Resource).count();

    let mut own: Vec<Vec<RawElement>> = Vec::with_capacity(heads.len());
    for line in lines(text) {
        if line.starts_with('=') {
            own.push(Vec::new());
        } else if let (Some(e), Some(last)) = (element(line, &by_name, resources), own.last_mut()) {
            last.push(e);
        }
    }

    let mut types = Vec::with_capacity(heads.len());
    let mut elements = Vec::new();
    for (i, (name, kind, base)) in heads.iter().enumerate() {
        let start = elements.len();
        let mut lineage = vec![i];
        let mut at = *base;
        while let Some(t) = by_name.get(at) {
            lineage.push(t.index());
            at = heads.get(t.index()).map_or("", |h| h.2);
        }
        // A primitive's own element is its value; its id and extensions stand beside it.
        for from in lineage.into_iter().rev() {
            for e in own.get(from).into_iter().flatten() {
                elements.push(Element {
                    id: ElementId(index(elements.len())),
                    owner: TypeId(index(i)),
                    name: e.name,
                    min: e.min,
                    many: e.many,
                    choice: e.choice,
                    types: e.types,
                    targets: e.targets,
                    binding: e.binding,
                    summary: e.summary,
                    modifier: e.modifier,
                });
            }
        }
        let required = elements.iter().skip(start).enumerate();
        let required = required.filter(|(_, e)| e.min > 0);
        let required =
            required.fold(0, |bits, (n, _)| bits | 1u128.checked_shl(n as u32).unwrap_or(0));
        types.push(TypeDef {
            required,
            form: form(name),
            name,
            kind: *kind,
            base: by_name.get(base).copied(),
            elements: start..elements.len(),
        });
    }

    let members = members(&elements, &types);
    let mut slots = vec![0u16; (members.len() * 2).next_power_of_two()];
    let mask = slots.len() - 1;
    for (i, m) in members.iter().enumerate() {
        let mut at = hash(m.owner, m.name.as_bytes()) & mask;
        while slots.get(at).is_some_and(|s| *s != 0) {
            at = (at + 1) & mask;
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = index(i + 1);
        }
    }

    Tables {
        params: params(&by_name, resources),
        compartments: compartments(&by_name, resources),
        sets: sets(),
        types,
        elements,
        by_name,
        resources,
        members,
        slots,
    }
}

/// The tables are far smaller than `u16`; a test holds it.
fn index(i: usize) -> u16 {
    u16::try_from(i).unwrap_or(u16::MAX)
}

fn kind(word: &str) -> TypeKind {
    match word {
        "resource" => TypeKind::Resource,
        "abstract" => TypeKind::Abstract,
        "primitive" => TypeKind::Primitive,
        "backbone" => TypeKind::Backbone,
        _ => TypeKind::Complex,
    }
}

fn form(name: &str) -> Option<Form> {
    Some(match name {
        "base64Binary" => Form::Base64Binary,
        "boolean" => Form::Boolean,
        "canonical" => Form::Canonical,
        "code" => Form::Code,
        "date" => Form::Date,
        "dateTime" => Form::DateTime,
        "decimal" => Form::Decimal,
        "id" => Form::Id,
        "instant" => Form::Instant,
        "integer" => Form::Integer,
        "markdown" => Form::Markdown,
        "oid" => Form::Oid,
        "positiveInt" => Form::PositiveInt,
        "string" => Form::String,
        "time" => Form::Time,
        "unsignedInt" => Form::UnsignedInt,
        "uri" => Form::Uri,
        "url" => Form::Url,
        "uuid" => Form::Uuid,
        "xhtml" => Form::Xhtml,
        _ => return None,
    })
}

fn element(
    line: &'static str,
    by_name: &HashMap<&'static str, TypeId>,
    resources: usize,
) -> Option<RawElement> {
    let mut columns = line.split('\t');
    let name = columns.next()?;
    let (min, max) = columns.next()?.split_once("..")?;
    let mut types = Vec::new();
    let mut targets = Vec::new();
    for t in columns.next()?.split('|') {
        let (t, list) = t.split_once('(').map_or((t, ""), |(t, l)| (t, l.trim_end_matches(')')));
        types.push(*by_name.get(t.trim_start_matches('@'))?);
        if t == "Reference" {
            targets.extend(
                list.split(',')
                    .filter_map(|n| by_name.get(n))
                    .filter_map(|t| resource(*t, resources)),
            );
        }
    }
    let flags = columns.next().unwrap_or("");
    let binding = columns.next().and_then(|b| {
        let strength = match b.chars().next()? {
            'r' => Strength::Required,
            'e' => Strength::Extensible,
            'p' => Strength::Preferred,
            _ => Strength::Example,
        };
        Some(Binding { strength, set: b.get(1..)?.parse().ok()? })
    });
    let choice = name.ends_with("[x]");
    Some(RawElement {
        name: name.trim_end_matches("[x]"),
        min: min.parse().ok()?,
        many: max == "*",
        choice,
        // Once per process, and the tables live as long as it does.
        types: Vec::leak(types),
        targets: Vec::leak(targets),
        binding,
        summary: flags.contains('s'),
        modifier: flags.contains('m'),
    })
}

fn resource(t: TypeId, resources: usize) -> Option<ResourceType> {
    let n = u8::try_from(t.0).ok()?;
    (t.index() < resources).then_some(ResourceType(n))
}

fn members(elements: &[Element], types: &[TypeDef]) -> Vec<Member> {
    let mut members = Vec::with_capacity(elements.len() * 2);
    for e in elements {
        for ty in e.types {
            let name = if e.choice {
                let ty = types.get(ty.index()).map_or("", |t| t.name);
                let (first, rest) = ty.split_at_checked(1).unwrap_or(("", ty));
                let name = format!("{}{}{rest}", e.name, first.to_ascii_uppercase());
                &*Box::leak(name.into_boxed_str())
            } else {
                e.name
            };
            members.push(Member { name, owner: e.owner, ty: *ty, element: e.id });
        }
    }
    members
}

fn sets() -> Vec<ValueSet> {
    lines(include_str!("valuesets.txt"))
        .map(|line| {
            let mut columns = line.split('\t');
            let url = columns.next().unwrap_or("");
            let systems = columns
                .map(|column| {
                    let mut parts = column.split('|');
                    (parts.next().unwrap_or(""), parts.collect())
                })
                .collect();
            ValueSet { url, systems }
        })
        .collect()
}

fn params(by_name: &HashMap<&'static str, TypeId>, resources: usize) -> Vec<SearchParam> {
    let urls: HashMap<&str, &'static str> =
        lines(include_str!("param-numbers.txt")).filter_map(|line| line.split_once('\t')).collect();
    lines(include_str!("params.txt"))
        .filter_map(|line| {
            let mut columns = line.split('\t');
            let n = columns.next()?;
            let code = columns.next()?;
            let kind = search_type(columns.next()?)?;
            let bases = columns.next()?.split(',').filter_map(|b| by_name.get(b).copied());
            let bases = bases.collect();
            let targets = columns.next()?.split(',').filter_map(|t| by_name.get(t));
            let targets = targets.filter_map(|t| resource(*t, resources)).collect();
            let expression = columns.next()?;
            let components = columns
                .filter_map(|c| {
                    let (n, expression) = c.split_once(' ')?;
                    Some(Component { number: n.parse().ok()?, expression })
                })
                .collect();
            let url = urls.get(n).copied()?;
            let number = n.parse().ok()?;
            Some(SearchParam { number, url, code, kind, bases, targets, expression, components })
        })
        .collect()
}

fn search_type(word: &str) -> Option<SearchType> {
    Some(match word {
        "number" => SearchType::Number,
        "date" => SearchType::Date,
        "string" => SearchType::String,
        "token" => SearchType::Token,
        "reference" => SearchType::Reference,
        "composite" => SearchType::Composite,
        "quantity" => SearchType::Quantity,
        "uri" => SearchType::Uri,
        "special" => SearchType::Special,
        _ => return None,
    })
}

fn compartments(
    by_name: &HashMap<&'static str, TypeId>,
    resources: usize,
) -> HashMap<(ResourceType, ResourceType), Vec<&'static str>> {
    lines(include_str!("compartments.txt"))
        .filter_map(|line| {
            let mut columns = line.split('\t');
            let compartment = resource(*by_name.get(columns.next()?)?, resources)?;
            let ty = resource(*by_name.get(columns.next()?)?, resources)?;
            Some(((compartment, ty), columns.next()?.split(',').collect()))
        })
        .collect()
}
