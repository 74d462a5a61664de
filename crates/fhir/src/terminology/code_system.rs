//! One code system: its codes, their names, which stand below which.
//!
//! Source: <https://hl7.org/fhir/R4/codesystem.html>

use std::borrow::Cow;
use std::collections::HashMap;

use crate::json::Node;

/// How much of the code system is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All codes: what is not here is none.
    Complete,
    /// Some codes: of what is not here nothing is known.
    Part,
}

/// A code system with its concepts.
#[derive(Debug)]
pub struct CodeSystem {
    /// The URL, without version.
    pub url: Box<str>,
    /// The version.
    pub version: Option<Box<str>>,
    /// How much of it is here.
    pub content: Content,
    /// Whether `a` and `A` are two codes.
    pub case_sensitive: bool,
    pub(super) concepts: Vec<Concept>,
    pub(super) by_code: HashMap<Box<str>, u32>,
}

/// One concept.
#[derive(Debug, Default)]
pub struct Concept {
    /// The code.
    pub code: Box<str>,
    /// Its name.
    pub display: Option<Box<str>>,
    /// Whether it is there for the hierarchy and not to be chosen.
    pub abstract_: bool,
    /// Whether it is not to be used any more.
    pub inactive: bool,
    /// Code and value of each property.
    pub properties: Vec<(Box<str>, Box<str>)>,
    /// Names in use beside the display.
    pub designations: Vec<Box<str>>,
    pub(super) parents: Vec<u32>,
    pub(super) children: Vec<u32>,
}

fn text<'a>(node: Node<'a>, name: &str) -> Option<Cow<'a, str>> {
    node.member(name).and_then(Node::as_str)
}

impl CodeSystem {
    pub(super) fn new(url: &str, version: Option<&str>, content: Content, case: bool) -> Self {
        CodeSystem {
            url: url.into(),
            version: version.map(Into::into),
            content,
            case_sensitive: case,
            concepts: Vec::new(),
            by_code: HashMap::new(),
        }
    }

    /// Adds a concept and gives its number. A code that is there already keeps its place.
    pub(super) fn add(&mut self, concept: Concept, parent: Option<u32>) -> u32 {
        let key = self.key(&concept.code).into_owned().into_boxed_str();
        let next = u32::try_from(self.concepts.len()).unwrap_or(u32::MAX);
        let number = *self.by_code.entry(key).or_insert(next);
        if number == next {
            self.concepts.push(concept);
        }
        if let Some(parent) = parent {
            self.link(parent, number);
        }
        number
    }

    pub(super) fn link(&mut self, parent: u32, child: u32) {
        if parent == child {
            return;
        }
        if let Some(c) = self.concepts.get_mut(child as usize)
            && !c.parents.contains(&parent)
        {
            c.parents.push(parent);
        }
        if let Some(p) = self.concepts.get_mut(parent as usize)
            && !p.children.contains(&child)
        {
            p.children.push(child);
        }
    }

    fn key<'c>(&self, code: &'c str) -> Cow<'c, str> {
        if self.case_sensitive { code.into() } else { code.to_lowercase().into() }
    }

    /// The number of the concept with this code.
    pub(super) fn number(&self, code: &str) -> Option<u32> {
        self.by_code.get(self.key(code).as_ref()).copied()
    }

    /// The concept with this code.
    #[must_use]
    pub fn concept(&self, code: &str) -> Option<&Concept> {
        self.concepts.get(self.number(code)? as usize)
    }

    /// All concepts, in the order of the code system.
    #[must_use]
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// The concept itself and all that stand below it (or above it).
    pub(super) fn closure(&self, from: u32, up: bool) -> Vec<u32> {
        let mut seen = vec![false; self.concepts.len()];
        let mut out = Vec::new();
        let mut open = vec![from];
        while let Some(n) = open.pop() {
            match seen.get_mut(n as usize) {
                Some(s) if !*s => *s = true,
                _ => continue,
            }
            out.push(n);
            if let Some(c) = self.concepts.get(n as usize) {
                open.extend(if up { &c.parents } else { &c.children });
            }
        }
        out.sort_unstable();
        out
    }

    /// A CodeSystem resource that somebody stored. Nothing for one without URL, and for
    /// one that only supplements another or holds no concept.
    #[must_use]
    pub fn of(resource: Node<'_>) -> Option<CodeSystem> {
        let content = match text(resource, "content")?.as_ref() {
            "complete" => Content::Complete,
            "example" | "fragment" => Content::Part,
            _ => return None,
        };
        let case = resource.member("caseSensitive").and_then(Node::as_bool) != Some(false);
        let version = text(resource, "version");
        let mut out = CodeSystem::new(&text(resource, "url")?, version.as_deref(), content, case);
        // Properties are known by what they mean, whatever they are called.
        let mut meanings: HashMap<String, String> = HashMap::new();
        for p in resource.member("property").into_iter().flat_map(Node::items) {
            if let (Some(code), Some(uri)) = (text(p, "code"), text(p, "uri")) {
                let meaning = uri.rsplit('#').next().unwrap_or_default().to_owned();
                meanings.insert(code.into_owned(), meaning);
            }
        }
        let mut parents: Vec<(u32, String, bool)> = Vec::new();
        let mut open: Vec<(Node<'_>, Option<u32>)> = Vec::new();
        let tops: Vec<_> = resource.member("concept").into_iter().flat_map(Node::items).collect();
        open.extend(tops.into_iter().rev().map(|c| (c, None)));
        while let Some((node, parent)) = open.pop() {
            let Some(code) = text(node, "code") else { continue };
            let mut concept = Concept {
                code: code.as_ref().into(),
                display: text(node, "display").map(|d| d.as_ref().into()),
                ..Concept::default()
            };
            for d in node.member("designation").into_iter().flat_map(Node::items) {
                concept.designations.extend(text(d, "value").map(|v| v.as_ref().into()));
            }
            let mut links = Vec::new();
            for p in node.member("property").into_iter().flat_map(Node::items) {
                let Some(name) = text(p, "code") else { continue };
                let Some(value) = p.members().find(|(n, _)| n.starts_with("value")) else {
                    continue;
                };
                let value = match value.1.as_str() {
                    Some(text) => text.into_owned(),
                    None if value.1.is_object() => {
                        text(value.1, "code").unwrap_or_default().into_owned()
                    }
                    None => value.1.text().to_owned(),
                };
                let meaning = meanings.get(name.as_ref()).map_or(name.as_ref(), String::as_str);
                match meaning {
                    "notSelectable" | "abstract" => concept.abstract_ |= value == "true",
                    "inactive" => concept.inactive |= value == "true",
                    "status" => {
                        concept.inactive |= matches!(value.as_str(), "retired" | "inactive");
                    }
                    "parent" | "subsumedBy" => links.push((value.clone(), true)),
                    "child" => links.push((value.clone(), false)),
                    _ => {}
                }
                concept.properties.push((name.as_ref().into(), value.into()));
            }
            let number = out.add(concept, parent);
            parents.extend(links.into_iter().map(|(code, up)| (number, code, up)));
            let children: Vec<_> =
                node.member("concept").into_iter().flat_map(Node::items).collect();
            open.extend(children.into_iter().rev().map(|c| (c, Some(number))));
        }
        for (number, code, up) in parents {
            if let Some(other) = out.number(&code) {
                let (parent, child) = if up { (other, number) } else { (number, other) };
                out.link(parent, child);
            }
        }
        (!out.concepts.is_empty()).then_some(out)
    }
}
