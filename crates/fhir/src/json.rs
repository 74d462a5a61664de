//! JSON as FHIR needs it: a strict parser that leaves a flat list of nodes over the
//! minified text. Number text is kept as sent, and so is the text of strings.
//!
//! It refuses what RFC 8259 refuses, and also duplicate member names, lone surrogates,
//! bytes after the value, and whatever is beyond the [`Limits`].
//!
//! Layout, for `{"a": [1, true]}`: the text is `{"a":[1,true]}` and the nodes are
//!
//! | node | kind | range | next |
//! |---|---|---|---|
//! | 0 | object | 0..14 | 4 |
//! | 1 | array, name of 1 byte | 5..13 | 4 |
//! | 2 | number | 6..7 | 3 |
//! | 3 | bool | 8..12 | 4 |

mod parse;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::issue::Issue;
use crate::limits::Limits;

/// A parsed document: minified text and its nodes. Overwritten when dropped; `Debug`
/// shows sizes only.
#[derive(Clone)]
pub struct Doc {
    text: Zeroizing<String>,
    nodes: Vec<Tape>,
}

/// One JSON value. 16 bytes; sixteen values fit four cache lines.
#[derive(Clone, Copy)]
struct Tape {
    start: u32,
    end: u32,
    /// The node after this one and all within it.
    next: u32,
    /// Bits 0..3 kind, bit 3 has escapes, bits 4..32 length of the member name.
    meta: u32,
}

/// The kinds of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of JSON")]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Doc {
    /// Parses one JSON document.
    ///
    /// # Errors
    /// One issue that names the place.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Doc, Vec<Issue>> {
        parse::parse(bytes, limits).map_err(|issue| vec![issue])
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { doc: self, at: 0 }
    }

    /// The minified text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A document of its own made from one value of this one, such as a Bundle entry's
    /// resource. Nothing is parsed again.
    #[must_use]
    pub fn from_node(node: Node<'_>) -> Doc {
        let tape = node.tape();
        let (start, at) = (tape.start, node.at);
        let mut nodes: Vec<Tape> = node
            .doc
            .nodes
            .get(at as usize..tape.next as usize)
            .unwrap_or_default()
            .iter()
            .map(|t| Tape {
                start: t.start - start,
                end: t.end - start,
                next: t.next - at,
                meta: t.meta,
            })
            .collect();
        if let Some(root) = nodes.first_mut() {
            root.meta &= 0xf;
        }
        Doc { text: Zeroizing::new(node.text().to_owned()), nodes }
    }
}

impl fmt::Debug for Doc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doc({} bytes, {} values)", self.text.len(), self.nodes.len())
    }
}

/// One value of a document.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    doc: &'a Doc,
    at: u32,
}

impl<'a> Node<'a> {
    #[expect(clippy::indexing_slicing, reason = "a Node is made only for a value of its document")]
    fn tape(self) -> Tape {
        self.doc.nodes[self.at as usize]
    }

    /// The outermost value of its document.
    #[must_use]
    pub fn root(self) -> Node<'a> {
        self.doc.root()
    }

    /// The values that this one stands within, the outermost first, itself last.
    #[must_use]
    pub fn lineage(self) -> Vec<Node<'a>> {
        self.counted_lineage(&mut 0)
    }

    /// The same, adding how many values were looked at.
    pub(crate) fn counted_lineage(self, seen: &mut usize) -> Vec<Node<'a>> {
        let start = self.range().start;
        let mut at = self.root();
        let mut out = vec![at];
        while at.at != self.at {
            let inner = at.children(at.kind()).find(|child| {
                *seen += 1;
                child.range().contains(&start)
            });
            let Some(inner) = inner else { break };
            at = inner;
            out.push(at);
        }
        out
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.tape().meta & 7 {
            0 => Kind::Object,
            1 => Kind::Array,
            2 => Kind::String,
            3 => Kind::Number,
            4 => Kind::Bool,
            _ => Kind::Null,
        }
    }

    /// The value's number in its document: parents before children, in text order.
    #[must_use]
    pub fn index(self) -> usize {
        self.at as usize
    }

    /// The bytes of the value in [`Doc::text`].
    #[must_use]
    pub fn range(self) -> Range<usize> {
        let t = self.tape();
        t.start as usize..t.end as usize
    }

    /// The minified JSON text of the value.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.doc.text.get(self.range()).unwrap_or_default()
    }

    /// The member name that leads to this value, escapes kept; empty for others.
    #[must_use]
    pub fn name(self) -> &'a str {
        let t = self.tape();
        let end = (t.start as usize).saturating_sub(2);
        let start = end.saturating_sub((t.meta >> 4) as usize);
        self.doc.text.get(start..end).unwrap_or_default()
    }

    /// The members of an object: names and values. Nothing for other kinds. A name's
    /// escapes are kept, but only those that JSON demands: equal names are equal text.
    pub fn members(self) -> impl Iterator<Item = (&'a str, Node<'a>)> + Clone + use<'a> {
        self.children(Kind::Object).map(|n| (n.name(), n))
    }

    /// The items of an array. Nothing for other kinds.
    pub fn items(self) -> impl Iterator<Item = Node<'a>> + Clone + use<'a> {
        self.children(Kind::Array)
    }

    fn children(self, kind: Kind) -> Children<'a> {
        let end = if self.kind() == kind { self.tape().next } else { 0 };
        Children { doc: self.doc, at: self.at + 1, end }
    }

    /// The member of this name of an object.
    #[must_use]
    pub fn member(self, name: &str) -> Option<Node<'a>> {
        self.children(Kind::Object).find(|n| n.name() == name)
    }

    /// Whether an object or array holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.tape().next == self.at + 1
    }

    /// A string's value, decoded.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let raw = self.raw_str()?;
        Some(if self.has_escapes() { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
    }

    /// A string's text between the quotes, escapes kept.
    #[must_use]
    pub fn raw_str(self) -> Option<&'a str> {
        if self.kind() != Kind::String {
            return None;
        }
        let text = self.text();
        text.get(1..text.len().saturating_sub(1))
    }

    /// Whether a string's text has escapes.
    #[must_use]
    pub fn has_escapes(self) -> bool {
        self.tape().meta & 8 != 0
    }

    /// A number's text, as sent.
    #[must_use]
    pub fn number_text(self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.text())
    }

    /// A boolean's value.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.text() == "true")
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?}, {:?})", self.kind(), self.range())
    }
}

#[derive(Clone)]
struct Children<'a> {
    doc: &'a Doc,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        if self.at >= self.end {
            return None;
        }
        let node = Node { doc: self.doc, at: self.at };
        self.at = node.tape().next;
        Some(node)
    }
}

/// Decodes the escapes of a string that the parser has accepted.
pub(crate) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let mut unit = hex4(&mut chars);
                if (0xd800..0xdc00).contains(&unit) {
                    // The parser has seen that the other half follows.
                    chars.next();
                    chars.next();
                    let low = hex4(&mut chars);
                    unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
                }
                out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(c) => out.push(c),
            None => {}
        }
    }
    out
}

fn hex4(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.by_ref().take(4).fold(0, |n, c| n << 4 | c.to_digit(16).unwrap_or(0))
}

/// A member name fit to stand in a path: a name that could not be a FHIR element's may
/// carry anything, PHI included.
pub(crate) fn path_name(name: &str) -> &str {
    let plausible = name.len() <= 64
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plausible { name } else { "(unknown)" }
}
