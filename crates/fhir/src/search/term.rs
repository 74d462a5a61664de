//! Searchable values of a resource: what the index is made from.

use std::hash::{Hash, Hasher};

use phial_base::DataClass;

use super::ParamId;
use crate::definitions::ResourceType;

/// One searchable value. `Debug` shows its kind only.
#[derive(Clone, PartialEq)]
pub enum Term {
    /// Coding, CodeableConcept's codings, code, Identifier (value as code), boolean,
    /// ContactPoint (value as code).
    Token {
        /// The code system; none is not the same as any.
        system: Option<Box<str>>,
        /// The code.
        code: Option<Box<str>>,
    },
    /// Text as sent; see [`super::fold`].
    Str {
        /// The text.
        text: Box<str>,
    },
    /// A span of time in microseconds since the epoch, UTC; see [`super::Span`].
    Date {
        /// First microsecond; `i64::MIN` when open.
        low: i64,
        /// Microsecond after the last; `i64::MAX` when open.
        high: i64,
    },
    /// A number with the range that its precision implies.
    Number {
        /// Lower bound, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
        /// The number itself.
        value: f64,
    },
    /// A quantity with the range that its precision implies. Of Money the code is the
    /// currency.
    Quantity {
        /// The number itself.
        value: f64,
        /// Lower bound, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
        /// The code system of the unit.
        system: Option<Box<str>>,
        /// The unit's code.
        code: Option<Box<str>>,
        /// The unit's text, when it is not the code's.
        unit: Option<Box<str>>,
    },
    /// A reference. `Type/id` gives target and id (a version is left off); other URLs,
    /// and canonicals, give url.
    Ref {
        /// The target's type, when known.
        target: Option<ResourceType>,
        /// The target's logical id.
        id: Option<Box<str>>,
        /// The URL, when the reference is not relative.
        url: Option<Box<str>>,
        /// System and value of `Reference.identifier`.
        identifier: Option<(Option<Box<str>>, Box<str>)>,
    },
    /// A uri, compared as it is.
    Uri {
        /// The uri.
        uri: Box<str>,
    },
    /// Of a composite: what one element holds of each component, in the order of the
    /// components; none is empty and none is itself a composite. A value that is found
    /// by it must be visible in all its components.
    Parts {
        /// The values of each component, with the class of the element of each.
        parts: Box<[PartValues]>,
    },
    /// A range of a quantity, its ends as they stand; infinite where open.
    Range {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// The code system of the unit.
        system: Option<Box<str>>,
        /// The unit's code.
        code: Option<Box<str>>,
        /// The unit's text, when it is not the code's.
        unit: Option<Box<str>>,
    },
    /// A family name from a later part of it on, folded: only what begins so is found by it.
    Later {
        /// The text.
        text: Box<str>,
    },
    /// What a token says to people: `CodeableConcept.text`, `Coding.display`,
    /// `Identifier.type.text`, as sent.
    Said {
        /// The text.
        text: Box<str>,
    },
    /// An identifier under one code of its type.
    Typed {
        /// The code system of the type.
        system: Box<str>,
        /// The type.
        code: Box<str>,
        /// The identifier's value.
        value: Box<str>,
    },
    /// That a reference of the parameter holds for a time: a participant of a care team is
    /// one from and until a moment. It stands beside the reference, and no query asks for
    /// it.
    Held {
        /// The type of what is referred to.
        target: ResourceType,
        /// Its logical id.
        id: Box<str>,
        /// First microsecond since the epoch, UTC; `i64::MIN` when open.
        low: i64,
        /// Microsecond after the last; `i64::MAX` when open.
        high: i64,
    },
    /// What a reference of the parameter leads to within the same resource: the values of a
    /// contained resource, for chains. It is no value of the container's own.
    Inner {
        /// Its type.
        ty: ResourceType,
        /// Its values, each of the class that its element has in the container.
        values: InnerValues,
    },
    /// The words of `_text` or `_content` in the order in which they stand, each as its own
    /// value has it, a space between two; a line's end where one text ends and another
    /// begins. It stands beside the words.
    Order {
        /// The words.
        words: Box<str>,
    },
}

impl Term {
    /// Whether it is a value by itself, and not what stands beside one.
    #[must_use]
    pub const fn stands(&self) -> bool {
        !matches!(
            self,
            Term::Said { .. }
                | Term::Typed { .. }
                | Term::Later { .. }
                | Term::Held { .. }
                | Term::Inner { .. }
                | Term::Order { .. }
        )
    }
}

/// The values of a contained resource.
pub type InnerValues = Box<[(ParamId, DataClass, Term)]>;

/// What an element holds of one component of a composite.
pub type PartValues = Box<[(DataClass, Term)]>;

/// No number of a resource is NaN, the only value that is not its own equal.
impl Eq for Term {}

impl Hash for Term {
    fn hash<H: Hasher>(&self, to: &mut H) {
        std::mem::discriminant(self).hash(to);
        match self {
            Term::Token { system, code } => (system, code).hash(to),
            Term::Str { text } => text.hash(to),
            Term::Date { low, high } => (low, high).hash(to),
            Term::Number { low, high, value } => [*low, *high, *value].map(bits).hash(to),
            Term::Quantity { value, low, high, system, code, unit } => {
                [*low, *high, *value].map(bits).hash(to);
                (system, code, unit).hash(to);
            }
            Term::Ref { target, id, url, identifier } => (target, id, url, identifier).hash(to),
            Term::Uri { uri } => uri.hash(to),
            Term::Parts { parts } => parts.hash(to),
            Term::Range { low, high, system, code, unit } => {
                [*low, *high].map(bits).hash(to);
                (system, code, unit).hash(to);
            }
            Term::Said { text } | Term::Later { text } => text.hash(to),
            Term::Typed { system, code, value } => (system, code, value).hash(to),
            Term::Held { target, id, low, high } => (target, id, low, high).hash(to),
            Term::Inner { ty, values } => (ty, values).hash(to),
            Term::Order { words } => words.hash(to),
        }
    }
}

/// Bits that are equal for equal numbers: zero has two signs.
fn bits(n: f64) -> u64 {
    (n + 0.0).to_bits()
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Term::Token { .. } => "Token(..)",
            Term::Str { .. } => "Str(..)",
            Term::Date { .. } => "Date(..)",
            Term::Number { .. } => "Number(..)",
            Term::Quantity { .. } => "Quantity(..)",
            Term::Ref { .. } => "Ref(..)",
            Term::Uri { .. } => "Uri(..)",
            Term::Parts { .. } => "Parts(..)",
            Term::Range { .. } => "Range(..)",
            Term::Later { .. } => "Later(..)",
            Term::Said { .. } => "Said(..)",
            Term::Typed { .. } => "Typed(..)",
            Term::Held { .. } => "Held(..)",
            Term::Inner { .. } => "Inner(..)",
            Term::Order { .. } => "Order(..)",
        })
    }
}

/// All searchable values of a resource.
#[derive(Clone, PartialEq, Default)]
pub struct Extracted {
    /// Parameter, class of the element that the value came from, value. In the order of
    /// the parameters, composites last; no value twice.
    pub values: Vec<(ParamId, DataClass, Term)>,
    /// When what the resource records took place, in microseconds since the epoch: the
    /// start of the first value of [`super::primary_date_param`].
    pub primary_date: Option<i64>,
}

impl std::fmt::Debug for Extracted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Extracted({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn equal_terms_hash_alike() {
        let state = std::hash::RandomState::new();
        let number = |value: f64| Term::Number { low: value, high: 1.0, value };
        let text = |text: &str| Term::Str { text: text.into() };
        let uri = |uri: &str| Term::Uri { uri: uri.into() };
        for (a, b, same) in [
            (number(0.0), number(-0.0), true),
            (number(0.5), number(0.5), true),
            (number(0.5), number(0.25), false),
            (text("x"), text("x"), true),
            (text("x"), uri("x"), false),
        ] {
            assert_eq!(a == b, same);
            assert_eq!(state.hash_one(&a) == state.hash_one(&b), same);
        }
    }
}
