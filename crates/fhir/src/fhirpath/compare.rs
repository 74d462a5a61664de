//! Equality, equivalence and order of items. Each step is counted: collections of deep
//! elements are where a hostile expression would spend time.
//!
//! Source: <https://hl7.org/fhirpath/N1/#equality>, `#comparison`

use std::cmp::Ordering;
use std::collections::HashSet;

use super::error::{Error, ErrorKind};
use super::eval::Evaluator;
use super::item::{Collection, Item, Place};
use super::value::{Value, near};
use crate::json::{Kind, Node};

/// The answer to a comparison that may have none.
pub(super) type Answer = Option<bool>;

impl<'a> Evaluator<'a, '_> {
    /// `=` of two collections that are not empty.
    pub(super) fn equal_all(
        &self,
        at: u32,
        a: &[Item<'a>],
        b: &[Item<'a>],
    ) -> Result<Answer, Error> {
        if a.len() != b.len() {
            return Ok(Some(false));
        }
        let mut out = Some(true);
        for (x, y) in a.iter().zip(b) {
            match self.equal(at, x, y)? {
                Some(false) => return Ok(Some(false)),
                None => out = None,
                Some(true) => {}
            }
        }
        Ok(out)
    }

    /// `=` of two items.
    pub(super) fn equal(&self, at: u32, a: &Item<'a>, b: &Item<'a>) -> Result<Answer, Error> {
        self.step(at)?;
        if let (Item::Place(p), Item::Place(q)) = (a, b) {
            if let Some(same) = same_place(p, q) {
                return Ok(Some(same));
            }
            if p.value().is_none() || q.value().is_none() {
                return Ok(Some(self.same_element(at, p, q)?));
            }
        }
        let (Some(x), Some(y)) = (a.value(), b.value()) else { return Ok(Some(false)) };
        self.weigh(at, &x)?;
        Ok(equal_values(&x, &y))
    }

    /// Long texts take their time to be compared.
    fn weigh(&self, at: u32, value: &Value<'a>) -> Result<(), Error> {
        match value {
            Value::String(text) => self.make(at, text.len()),
            _ => Ok(()),
        }
    }

    /// Whether two elements have the same content: type aside, since that follows from
    /// where they stand, member by member.
    fn same_element(&self, at: u32, p: &Place<'a>, q: &Place<'a>) -> Result<bool, Error> {
        let same = |a: Option<Node<'a>>, b: Option<Node<'a>>| match (a, b) {
            (None, None) => Ok(true),
            (Some(a), Some(b)) => self.same_json(at, a, b),
            _ => Ok(false),
        };
        Ok(same(p.node(), q.node())? && same(p.side(), q.side())?)
    }

    fn same_json(&self, at: u32, a: Node<'a>, b: Node<'a>) -> Result<bool, Error> {
        self.step(at)?;
        if a.kind() != b.kind() {
            return Ok(false);
        }
        match a.kind() {
            Kind::Object => {
                let mut count = 0;
                for (name, value) in a.members() {
                    count += 1;
                    let Some(other) = b.member(name) else { return Ok(false) };
                    if !self.same_json(at, value, other)? {
                        return Ok(false);
                    }
                }
                Ok(count == b.members().count())
            }
            Kind::Array => {
                let (mut x, mut y) = (a.items(), b.items());
                loop {
                    match (x.next(), y.next()) {
                        (None, None) => return Ok(true),
                        (Some(x), Some(y)) => {
                            if !self.same_json(at, x, y)? {
                                return Ok(false);
                            }
                        }
                        _ => return Ok(false),
                    }
                }
            }
            Kind::Number => {
                let number = |n: Node<'a>| n.number_text().and_then(super::decimal::Decimal::parse);
                Ok(match (number(a), number(b)) {
                    (Some(x), Some(y)) => x == y,
                    _ => a.text() == b.text(),
                })
            }
            _ => Ok(a.text() == b.text()),
        }
    }

    /// `~` of two collections: the same items in any order.
    pub(super) fn equivalent_all(
        &self,
        at: u32,
        a: &[Item<'a>],
        b: &[Item<'a>],
    ) -> Result<bool, Error> {
        if a.len() != b.len() {
            return Ok(false);
        }
        let mut left: Vec<&Item<'a>> = b.iter().collect();
        for x in a {
            let mut found = None;
            for (n, y) in left.iter().enumerate() {
                if self.equivalent(at, x, y)? {
                    found = Some(n);
                    break;
                }
            }
            let Some(n) = found else { return Ok(false) };
            left.swap_remove(n);
        }
        Ok(true)
    }

    fn equivalent(&self, at: u32, a: &Item<'a>, b: &Item<'a>) -> Result<bool, Error> {
        self.step(at)?;
        if let (Item::Place(p), Item::Place(q)) = (a, b) {
            if same_place(p, q) == Some(true) {
                return Ok(true);
            }
            if p.value().is_none() || q.value().is_none() {
                return self.equivalent_elements(at, p, q);
            }
        }
        let (Some(x), Some(y)) = (a.value(), b.value()) else { return Ok(false) };
        self.weigh(at, &x)?;
        Ok(equivalent_values(&x, &y))
    }

    /// Elements are equivalent when their elements are, in any order.
    fn equivalent_elements(&self, at: u32, p: &Place<'a>, q: &Place<'a>) -> Result<bool, Error> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let seen = p.children(&mut a) + q.children(&mut b);
        self.spend(at, seen)?;
        // Ids of elements don't take part.
        let told = |items: Collection<'a>| -> Collection<'a> {
            items.into_iter().filter(|i| !i.place().is_some_and(is_element_id)).collect()
        };
        let (a, b) = (told(a), told(b));
        if a.is_empty() && b.is_empty() {
            return self.same_element(at, p, q);
        }
        self.equivalent_all(at, &a, &b)
    }

    /// `<` and the like: which comes first. An error for types that have no order.
    pub(super) fn order(
        &self,
        at: u32,
        a: &Item<'a>,
        b: &Item<'a>,
    ) -> Result<Option<Ordering>, Error> {
        self.step(at)?;
        let wrong = || Error::new(at, ErrorKind::Type("a comparison"));
        let (x, y) = match (a.value(), b.value()) {
            (Some(x), Some(y)) => (x, y),
            // A Quantity with a comparator, or an element of extensions only.
            (x, y) => {
                let quiet = |i: &Item<'a>, v: &Option<Value<'a>>| {
                    v.is_some()
                        || i.place().is_some_and(|p| {
                            p.type_id().kind() == crate::definitions::TypeKind::Primitive
                                || p.type_id().lineage().any(|t| t.name() == "Quantity")
                        })
                };
                return if quiet(a, &x) && quiet(b, &y) { Ok(None) } else { Err(wrong()) };
            }
        };
        match (&x, &y) {
            (Value::String(x), Value::String(y)) => {
                return Ok(Some(x.as_bytes().cmp(y.as_bytes())));
            }
            (Value::Quantity(x), Value::Quantity(y)) => return Ok(x.order(y)),
            _ => {}
        }
        if let (Some(x), Some(y)) = (x.number(), y.number()) {
            return Ok(Some(x.cmp(&y)));
        }
        if let (Some(q), Some(n)) = (quantity(&x), quantity(&y)) {
            return Ok(q.order(&n));
        }
        match (x.moment(), y.moment()) {
            (Some(m), Some(n)) if is_time(&x) == is_time(&y) => Ok(m.order(n)),
            _ => Err(wrong()),
        }
    }

    /// The items without those that equal an earlier one.
    pub(super) fn distinct(&self, at: u32, items: Collection<'a>) -> Result<Collection<'a>, Error> {
        let mut out: Collection<'a> = Vec::with_capacity(items.len());
        let mut seen = Seen::default();
        for item in items {
            if self.fresh(at, &out, &mut seen, &item)? {
                out.push(item);
            }
        }
        Ok(out)
    }

    /// Whether an item equals none of those before it. Texts are looked up, since lists
    /// of codes may be long.
    pub(super) fn fresh(
        &self,
        at: u32,
        before: &[Item<'a>],
        seen: &mut Seen<'a>,
        item: &Item<'a>,
    ) -> Result<bool, Error> {
        self.step(at)?;
        if let Some(text) = item.string() {
            if seen.texts.contains(&text) {
                return Ok(false);
            }
            seen.texts.insert(text);
            // Only another text equals a text.
            return Ok(true);
        }
        for other in before {
            if self.equal(at, other, item)? == Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether some item equals this one.
    pub(super) fn has(&self, at: u32, items: &[Item<'a>], item: &Item<'a>) -> Result<bool, Error> {
        for other in items {
            if self.equal(at, other, item)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The texts among the items that were kept.
#[derive(Default)]
pub(super) struct Seen<'a> {
    texts: HashSet<std::borrow::Cow<'a, str>>,
}

fn is_element_id(place: &Place<'_>) -> bool {
    place.node().is_some_and(|n| n.name() == "id") && place.type_id().name() == "string"
}

/// Whether two places are one and the same; `None` when that takes a look at the content.
fn same_place(p: &Place<'_>, q: &Place<'_>) -> Option<bool> {
    match (p.node(), q.node()) {
        (Some(a), Some(b)) if a.index() == b.index() && std::ptr::eq(a.text(), b.text()) => {
            Some(true)
        }
        (None, None) if p.side().is_none() && q.side().is_none() => {
            Some(p.type_id() == q.type_id())
        }
        _ => None,
    }
}

fn is_time(value: &Value<'_>) -> bool {
    matches!(value, Value::Time(_))
}

/// A quantity, also of a bare number.
fn quantity<'v>(value: &Value<'v>) -> Option<super::value::Quantity<'v>> {
    match value {
        Value::Quantity(q) => Some(q.clone()),
        other => other.number().map(super::value::Quantity::bare),
    }
}

pub(super) fn equal_values(x: &Value<'_>, y: &Value<'_>) -> Answer {
    match (x, y) {
        (Value::Boolean(a), Value::Boolean(b)) => return Some(a == b),
        (Value::String(a), Value::String(b)) => return Some(a == b),
        (Value::Type(a, b), Value::Type(c, d)) => return Some(a == c && b == d),
        _ => {}
    }
    if let (Some(a), Some(b)) = (x.number(), y.number()) {
        return Some(a == b);
    }
    if let (Some(a), Some(b)) = (quantity(x), quantity(y)) {
        return a.order(&b).map(|o| o == Ordering::Equal);
    }
    match (x.moment(), y.moment()) {
        (Some(a), Some(b)) if is_time(x) == is_time(y) => a.order(b).map(|o| o == Ordering::Equal),
        _ => Some(false),
    }
}

fn equivalent_values(x: &Value<'_>, y: &Value<'_>) -> bool {
    match (x, y) {
        (Value::String(a), Value::String(b)) => return folded(a) == folded(b),
        (Value::Boolean(a), Value::Boolean(b)) => return a == b,
        (Value::Type(a, b), Value::Type(c, d)) => return a == c && b == d,
        _ => {}
    }
    if let (Some(a), Some(b)) = (x.number(), y.number()) {
        return near(a, b);
    }
    if let (Some(a), Some(b)) = (quantity(x), quantity(y)) {
        return a.equivalent(&b);
    }
    match (x.moment(), y.moment()) {
        (Some(a), Some(b)) => a.equivalent(b),
        _ => false,
    }
}

/// Without case, and with one space for any run of white space.
fn folded(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}
