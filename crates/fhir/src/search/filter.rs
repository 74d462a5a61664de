//! `_filter`: conditions joined by `and`, `or`, `not`, on paths of search parameters.
//!
//! The grammar is read without knowing types, then its names are looked up for the type
//! that is searched. `and` and `or` go from left to right and neither binds closer. A path
//! is a chain; what stands in brackets must hold of the record that the name before leads
//! to. Strings compare folded, as in any search; codes, URLs and ids as they are written.
//!
//! Source: <https://hl7.org/fhir/R4/search_filter.html>

use super::query::{Criterion, Filter, Modifier, On};
use super::query_value::{self as value, Operand};
use super::read::{self, MOST_LINKS, Refused, refused};
use super::{ParamId, SearchType};
use crate::definitions::ResourceType;
use crate::issue::IssueCode;
use phial_base::LogicalId;

/// The most tests in one filter.
const MOST_TESTS: usize = 200;

/// The most tests that names without types may stand for, all together.
const MOST_READINGS: usize = 2_000;

/// A filter as it is written.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Test { path: Vec<Step>, op: Op, value: Box<str> },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
}

/// One name of a path, and what its record must be.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    name: Box<str>,
    filter: Option<Box<Node>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Lt,
    Ge,
    Le,
    Ap,
    Sa,
    Eb,
    Pr,
    Po,
    Ss,
    Sb,
    In,
    Ni,
    Re,
}

impl Op {
    const ALL: [(&'static str, Op); 19] = [
        ("eq", Op::Eq),
        ("ne", Op::Ne),
        ("co", Op::Co),
        ("sw", Op::Sw),
        ("ew", Op::Ew),
        ("gt", Op::Gt),
        ("lt", Op::Lt),
        ("ge", Op::Ge),
        ("le", Op::Le),
        ("ap", Op::Ap),
        ("sa", Op::Sa),
        ("eb", Op::Eb),
        ("pr", Op::Pr),
        ("po", Op::Po),
        ("ss", Op::Ss),
        ("sb", Op::Sb),
        ("in", Op::In),
        ("ni", Op::Ni),
        ("re", Op::Re),
    ];

    /// The prefix that compares alike.
    fn prefix(self) -> Option<&'static str> {
        Some(match self {
            Op::Eq => "eq",
            Op::Ne => "ne",
            Op::Gt => "gt",
            Op::Lt => "lt",
            Op::Ge => "ge",
            Op::Le => "le",
            Op::Ap => "ap",
            Op::Sa => "sa",
            Op::Eb => "eb",
            // Two spans of time overlap: that is what `ap` is for dates.
            Op::Po => "ap",
            _ => return None,
        })
    }
}

/// Reads a filter on resources of type `ty`.
pub(super) fn read(ty: ResourceType, text: &str) -> Result<Criterion, Refused> {
    let mut reader = Reader { rest: text, depth: 0, tests: 0 };
    let node = reader.node()?;
    reader.space();
    if !reader.rest.is_empty() {
        return refused(IssueCode::Value, "has something after its end");
    }
    let mut readings = 0;
    resolve(ty, &node, 0, &mut readings)
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
    tests: usize,
}

impl<'t> Reader<'t> {
    fn space(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start();
        self.rest.len() < before
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A word that no letter follows.
    fn word(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|c: char| is_name(c) || c == '.' || c == '[') => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Tests and parentheses, joined from left to right.
    fn node(&mut self) -> Result<Node, Refused> {
        self.depth += 1;
        if self.depth > MOST_LINKS {
            return refused(IssueCode::TooCostly, "has too many parentheses in each other");
        }
        let mut left = self.one()?;
        loop {
            self.space();
            if self.word("and") {
                left = Node::And(Box::new(left), Box::new(self.one()?));
            } else if self.word("or") {
                left = Node::Or(Box::new(left), Box::new(self.one()?));
            } else {
                self.depth -= 1;
                return Ok(left);
            }
        }
    }

    fn one(&mut self) -> Result<Node, Refused> {
        self.space();
        let before = self.rest;
        if self.word("not") {
            self.space();
            if self.rest.starts_with('(') {
                return Ok(Node::Not(Box::new(self.inside()?)));
            }
            // A parameter of this name.
            self.rest = before;
        }
        if self.rest.starts_with('(') {
            return self.inside();
        }
        self.tests += 1;
        if self.tests > MOST_TESTS {
            return refused(IssueCode::TooCostly, format!("has more than {MOST_TESTS} tests"));
        }
        let path = self.path()?;
        let op = self.op()?;
        let value = self.value()?;
        Ok(Node::Test { path, op, value })
    }

    fn inside(&mut self) -> Result<Node, Refused> {
        self.eat('(');
        let node = self.node()?;
        self.space();
        if self.eat(')') {
            return Ok(node);
        }
        refused(IssueCode::Value, "has a parenthesis without its end")
    }

    fn path(&mut self) -> Result<Vec<Step>, Refused> {
        let mut path = Vec::new();
        loop {
            let end = self.rest.find(|c: char| !is_name(c)).unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at_checked(end).unwrap_or_default();
            if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return refused(IssueCode::Value, "lacks the name of a parameter");
            }
            self.rest = rest;
            let filter = if self.eat('[') {
                let node = self.node()?;
                self.space();
                if !self.eat(']') || !self.rest.starts_with('.') {
                    return refused(
                        IssueCode::Value,
                        "has brackets without their end, or with no path after them",
                    );
                }
                Some(Box::new(node))
            } else {
                None
            };
            path.push(Step { name: name.into(), filter });
            if path.len() > MOST_LINKS + 1 {
                return refused(IssueCode::TooCostly, "has a path of too many links");
            }
            if !self.eat('.') {
                return Ok(path);
            }
        }
    }

    fn op(&mut self) -> Result<Op, Refused> {
        const WRONG: &str = "has a test without an operator that _filter knows";
        if !self.space() {
            return refused(IssueCode::Value, WRONG);
        }
        let Some((word, rest)) = self.rest.split_at_checked(2) else {
            return refused(IssueCode::Value, WRONG);
        };
        match Op::ALL.iter().find(|(name, _)| *name == word) {
            Some((_, op)) if rest.starts_with(char::is_whitespace) => {
                self.rest = rest.trim_start();
                Ok(*op)
            }
            _ => refused(IssueCode::Value, WRONG),
        }
    }

    /// A JSON string, or characters up to a space, a parenthesis or a bracket.
    fn value(&mut self) -> Result<Box<str>, Refused> {
        if self.rest.starts_with('"') {
            let mut escaped = false;
            let end = self.rest.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            let text = end.and_then(|(at, _)| self.rest.split_at_checked(at + 1));
            let read = text.and_then(|(text, rest)| {
                let read: String = serde_json::from_str(text).ok()?;
                Some((read, rest))
            });
            let Some((read, rest)) = read else {
                return refused(IssueCode::Value, "has a string that is no JSON string");
            };
            self.rest = rest;
            if read.is_empty() {
                return refused(IssueCode::Value, "has an empty value");
            }
            return Ok(read.into());
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, ')' | ']');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        if token.is_empty() {
            return refused(IssueCode::Value, "has an empty value");
        }
        self.rest = rest;
        Ok(token.into())
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':')
}

/// Looks the names up in resources of type `ty`.
fn resolve(
    ty: ResourceType,
    node: &Node,
    depth: usize,
    readings: &mut usize,
) -> Result<Criterion, Refused> {
    Ok(match node {
        Node::Test { path, op, value } => follow(ty, path, *op, value, depth, readings)?,
        Node::And(a, b) => joined(
            resolve(ty, a, depth, readings)?,
            resolve(ty, b, depth, readings)?,
            |c| if let Criterion::All(all) = c { Ok(all) } else { Err(c) },
            Criterion::All,
        ),
        Node::Or(a, b) => joined(
            resolve(ty, a, depth, readings)?,
            resolve(ty, b, depth, readings)?,
            |c| if let Criterion::Any(all) = c { Ok(all) } else { Err(c) },
            Criterion::Any,
        ),
        Node::Not(inner) => Criterion::Not(Box::new(resolve(ty, inner, depth, readings)?)),
    })
}

/// Joins two, without one list in another of the same kind.
fn joined(
    a: Criterion,
    b: Criterion,
    list: impl Fn(Criterion) -> Result<Vec<Criterion>, Criterion>,
    of: impl FnOnce(Vec<Criterion>) -> Criterion,
) -> Criterion {
    let mut all = list(a).unwrap_or_else(|one| vec![one]);
    all.extend(list(b).unwrap_or_else(|one| vec![one]));
    of(all)
}

fn follow(
    ty: ResourceType,
    path: &[Step],
    op: Op,
    value: &str,
    depth: usize,
    readings: &mut usize,
) -> Result<Criterion, Refused> {
    *readings += 1;
    if depth > MOST_LINKS || *readings > MOST_READINGS {
        return refused(IssueCode::TooCostly, "has paths that may mean too many things");
    }
    let Some((step, rest)) = path.split_first() else {
        return refused(IssueCode::Value, "lacks the name of a parameter");
    };
    if let Some(reverse) = step.name.strip_prefix("_has:") {
        let (from, by, name) = read::reverse(ty, reverse)?;
        let mut path = vec![Step { name: name.into(), filter: step.filter.clone() }];
        path.extend_from_slice(rest);
        let that = Box::new(follow(from, &path, op, value, depth + 1, readings)?);
        return Ok(Criterion::Named { from, by, that });
    }
    if rest.is_empty() {
        return test(ty, &step.name, op, value);
    }
    read::chain(ty, &step.name, |target| {
        let then = follow(target, rest, op, value, depth + 1, readings)?;
        match &step.filter {
            None => Ok(then),
            Some(filter) => {
                let that = resolve(target, filter, depth + 1, readings)?;
                Ok(Criterion::All(vec![that, then]))
            }
        }
    })
}

/// One test on a parameter of the type itself.
fn test(ty: ResourceType, name: &str, op: Op, text: &str) -> Result<Criterion, Refused> {
    let name = if name == "id" { "_id" } else { name };
    let Some(on) = read::on(ty, name) else {
        return refused(
            IssueCode::NotSupported,
            format!("names something that is no search parameter of {ty}"),
        );
    };
    let kind = read::kind_of(on)?;
    let wrong = |why: value::Wrong| (IssueCode::Value, why.into());
    let is = |modifier, operand| Ok(Criterion::Is(Filter { on, modifier, values: vec![operand] }));
    let no = |what: &'static str| refused(IssueCode::NotSupported, what);
    if op == Op::Pr {
        let there = match value::missing(text).map_err(wrong)? {
            Operand::Missing(there) => there,
            _ => false,
        };
        return match on {
            On::Param(p) if !p.of_words() && p.components().is_empty() => {
                is(Modifier::Missing, Operand::Missing(!there))
            }
            // Every record has an id and a time of writing.
            On::Id | On::LastUpdated if there => Ok(Criterion::All(Vec::new())),
            On::Id | On::LastUpdated => Ok(Criterion::Any(Vec::new())),
            On::Param(_) => no("asks for the presence of what has no values of its own"),
        };
    }
    let param = match on {
        On::Param(p) if p.of_words() => return no("can't be by words: use _text or _content"),
        On::Param(p) => p,
        On::Id => {
            let id = LogicalId::new(text).map_err(|_| wrong("is not a logical id"))?;
            let one = Criterion::Is(Filter {
                on,
                modifier: Modifier::None,
                values: vec![Operand::Id(id)],
            });
            return match op {
                Op::Eq => Ok(one),
                Op::Ne => Ok(Criterion::Not(Box::new(one))),
                _ => no("compares a logical id otherwise than by eq and ne"),
            };
        }
        On::LastUpdated => return ordered(on, kind, op, text),
    };
    let like = |op: Op| if op == Op::Ne { Modifier::Other } else { Modifier::None };
    match (kind, op) {
        (SearchType::Date | SearchType::Number | SearchType::Quantity, _) => {
            ordered(on, kind, op, text)
        }
        (SearchType::String, Op::Eq) => is(Modifier::Whole, Operand::Str(text.into())),
        (SearchType::String, Op::Ne) => is(Modifier::Other, Operand::Str(text.into())),
        (SearchType::String, Op::Co) => is(Modifier::Contains, Operand::Str(text.into())),
        (SearchType::String, Op::Sw) => is(Modifier::None, Operand::Str(text.into())),
        (SearchType::String, Op::Ew) => is(Modifier::Ends, Operand::Str(text.into())),
        (SearchType::Uri, Op::Sw) => is(Modifier::Below, Operand::Uri(text.into())),
        (SearchType::Token, Op::In) => is(Modifier::In, Operand::Uri(text.into())),
        (SearchType::Token, Op::Ni) => is(Modifier::NotIn, Operand::Uri(text.into())),
        (SearchType::Token, Op::Ss) => is(Modifier::Below, code(ty, param, text)?),
        (SearchType::Token, Op::Sb) => is(Modifier::Above, code(ty, param, text)?),
        (SearchType::Token | SearchType::Uri, Op::Eq | Op::Ne) => {
            let operand = read::of_kind(ty, param, kind, Modifier::None, text).map_err(wrong)?;
            is(like(op), operand)
        }
        (SearchType::Reference, Op::Eq | Op::Ne | Op::Re) => {
            let operand = read::of_kind(ty, param, kind, Modifier::None, text).map_err(wrong)?;
            is(like(op), operand)
        }
        (SearchType::Composite, Op::Eq) => read::plain(ty, name, None, text).map(Criterion::Is),
        _ => no("has an operator that does not go with the kind of the parameter"),
    }
}

fn code(ty: ResourceType, param: ParamId, text: &str) -> Result<Operand, Refused> {
    read::of_kind(ty, param, SearchType::Token, Modifier::None, text)
        .map_err(|why| (IssueCode::Value, why.into()))
}

/// A test on what has an order.
fn ordered(on: On, kind: SearchType, op: Op, text: &str) -> Result<Criterion, Refused> {
    let number = kind != SearchType::Date;
    let prefix = match (op, op.prefix()) {
        (Op::Po, _) if number => None,
        (_, prefix) => prefix,
    };
    let Some(prefix) = prefix else {
        return refused(
            IssueCode::NotSupported,
            "has an operator that does not go with the kind of the parameter",
        );
    };
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return refused(IssueCode::Value, "has a prefix where an operator says the same");
    }
    let text = format!("{prefix}{text}");
    let operand = match kind {
        SearchType::Date => value::date(&text),
        SearchType::Number => value::numeric(&text),
        _ => value::quantity(&text),
    };
    let operand = operand.map_err(|why| (IssueCode::Value, why.into()))?;
    Ok(Criterion::Is(Filter { on, modifier: Modifier::None, values: vec![operand] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A filter as people write them: tests, parentheses, joins.
    fn written() -> impl Strategy<Value = String> {
        let test = prop_oneof![
            Just("name co \"pet\"".to_owned()),
            Just("birthdate ge 2014-10-10".to_owned()),
            Just("gender ne male".to_owned()),
            Just("general-practitioner[name eq x].name sw y".to_owned()),
            Just("_has:Observation:patient:code eq http://loinc.org|1".to_owned()),
            Just("identifier pr true".to_owned()),
        ];
        test.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or ({b})")),
                inner.clone().prop_map(|a| format!("not ({a})")),
                inner.prop_map(|a| format!("( {a} )")),
            ]
        })
    }

    fn patient() -> ResourceType {
        ResourceType::from_name("Patient").unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in written()) {
            prop_assert!(read(patient(), &text).is_ok(), "{}", text);
        }

        #[test]
        fn anything_else_is_refused_with_a_reason(
            text in "([a-z_.:\\[\\]()\"\\\\ ]|and|or|not|name|eq|co| ){0,40}",
        ) {
            if let Err((_, why)) = read(patient(), &text) {
                prop_assert!(!why.is_empty());
            }
        }

        #[test]
        fn a_part_cut_off_is_no_other_filter(text in written(), at in 0_usize..200) {
            // A filter without its end may still be a filter, but never more than it was.
            let cut: String = text.chars().take(at).collect();
            if let (Ok(part), Ok(whole)) = (read(patient(), &cut), read(patient(), &text)) {
                prop_assert!(part.size() <= whole.size());
            }
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("{}name eq x{}", "(".repeat(50), ")".repeat(50));
        assert_eq!(read(patient(), &deep).unwrap_err().0, IssueCode::TooCostly);
        let long = vec!["name eq x"; 300].join(" or ");
        assert_eq!(read(patient(), &long).unwrap_err().0, IssueCode::TooCostly);
        let linked = format!("{}name eq x", "link.".repeat(12));
        assert_eq!(read(patient(), &linked).unwrap_err().0, IssueCode::TooCostly);
    }
}
