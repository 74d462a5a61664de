//! One value set: what it is composed of, or the expansion that came with it.
//!
//! Source: <https://hl7.org/fhir/R4/valueset.html#compositions>

use crate::json::Node;

use super::expand::Code;

/// A value set.
#[derive(Debug, Default)]
pub struct ValueSet {
    /// The canonical URL, without version. Empty for one that has none.
    pub url: Box<str>,
    /// The version.
    pub version: Option<Box<str>>,
    /// What it includes.
    pub include: Vec<Part>,
    /// What of that it leaves out.
    pub exclude: Vec<Part>,
    /// The expansion that came with it, if that is whole.
    pub expansion: Option<Vec<Code>>,
}

/// One include or exclude: all of its conditions hold at once.
#[derive(Debug, Default)]
pub struct Part {
    /// The code system.
    pub system: Option<Box<str>>,
    /// Its version.
    pub version: Option<Box<str>>,
    /// Only these codes, with the name they have here.
    pub concepts: Vec<(Box<str>, Option<Box<str>>)>,
    /// Only codes that pass all of these.
    pub filters: Vec<Filter>,
    /// Only codes that are in all of these value sets.
    pub sets: Vec<Box<str>>,
}

/// A condition on the concepts of a code system.
#[derive(Debug)]
pub struct Filter {
    /// The property.
    pub property: Box<str>,
    /// The operator, a code of `filter-operator`.
    pub op: Box<str>,
    /// The value.
    pub value: Box<str>,
}

impl ValueSet {
    /// A ValueSet resource that somebody stored or sent.
    #[must_use]
    pub fn of(resource: Node<'_>) -> ValueSet {
        let compose = resource.member("compose");
        let parts = |name: &str| -> Vec<Part> {
            let all = compose.and_then(|c| c.member(name));
            all.into_iter().flat_map(Node::items).map(part).collect()
        };
        ValueSet {
            url: text(resource, "url").unwrap_or_default(),
            version: text(resource, "version"),
            include: parts("include"),
            exclude: parts("exclude"),
            expansion: resource.member("expansion").and_then(expansion),
        }
    }
}

fn text(node: Node<'_>, name: &str) -> Option<Box<str>> {
    node.member(name).and_then(Node::as_str).map(|t| t.as_ref().into())
}

fn part(node: Node<'_>) -> Part {
    let items = |name: &str| node.member(name).into_iter().flat_map(Node::items);
    Part {
        system: text(node, "system"),
        version: text(node, "version"),
        concepts: items("concept")
            .filter_map(|c| Some((text(c, "code")?, text(c, "display"))))
            .collect(),
        filters: items("filter")
            .filter_map(|f| {
                Some(Filter {
                    property: text(f, "property")?,
                    op: text(f, "op")?,
                    value: text(f, "value")?,
                })
            })
            .collect(),
        sets: items("valueSet").filter_map(|v| v.as_str().map(|v| v.as_ref().into())).collect(),
    }
}

/// The codes of an expansion; nothing when it says that it is a page of a longer one.
fn expansion(node: Node<'_>) -> Option<Vec<Code>> {
    let number = |name: &str| node.member(name)?.number_text()?.parse::<usize>().ok();
    let mut out = Vec::new();
    let mut listed = 0;
    let top: Vec<_> = node.member("contains")?.items().collect();
    let mut open: Vec<Node<'_>> = top.into_iter().rev().collect();
    while let Some(c) = open.pop() {
        listed += 1;
        let flag = |name: &str| c.member(name).and_then(Node::as_bool) == Some(true);
        if let (Some(system), Some(code), false) =
            (text(c, "system"), text(c, "code"), flag("abstract"))
        {
            out.push(Code {
                system,
                code,
                display: text(c, "display"),
                inactive: flag("inactive"),
            });
        }
        let inner: Vec<_> = c.member("contains").into_iter().flat_map(Node::items).collect();
        open.extend(inner.into_iter().rev());
    }
    let whole = number("offset").unwrap_or(0) == 0 && number("total").is_none_or(|t| t <= listed);
    whole.then_some(out)
}
