//! Evaluates a tree over items: names, variables, type tests and logic. Counts every step.
//!
//! Source: <https://hl7.org/fhirpath/N1/#path-selection>, `#boolean-logic`, `#types`

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Ordering;
use std::collections::HashMap;

use super::ast::{Expr, Kind, Operator, TypeName, TypeTest};
use super::error::{Error, ErrorKind};
use super::item::{Collection, Item, Place};
use super::value::{SystemType, Value};
use super::{Context, ManyAs};
use crate::definitions::TypeKind;
use crate::json::path_name;

pub(super) fn evaluate<'a>(
    root: &Expr,
    context: &Context<'a>,
    input: &[Item<'a>],
) -> Result<Collection<'a>, Error> {
    counted(root, context, input).0
}

/// The same, and how many steps it took.
pub(super) fn counted<'a>(
    root: &Expr,
    context: &Context<'a>,
    input: &[Item<'a>],
) -> (Result<Collection<'a>, Error>, u64) {
    let evaluator = Evaluator {
        context,
        input,
        steps: Cell::new(0),
        resources: OnceCell::new(),
        patterns: RefCell::new(HashMap::new()),
    };
    let found = evaluator.eval(root, Frame { focus: input, index: None, total: None });
    (found, evaluator.steps.get())
}

/// One evaluation.
pub(super) struct Evaluator<'a, 'c> {
    pub(super) context: &'c Context<'a>,
    pub(super) input: &'c [Item<'a>],
    steps: Cell<u64>,
    resources: OnceCell<Option<(Place<'a>, Place<'a>)>>,
    /// Compiled regular expressions.
    pub(super) patterns: RefCell<HashMap<String, regex::Regex>>,
}

/// What names mean at one point of an evaluation.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f, 'a> {
    /// `$this`
    pub(super) focus: &'f [Item<'a>],
    pub(super) index: Option<usize>,
    pub(super) total: Option<&'f [Item<'a>]>,
}

impl<'f, 'a> Frame<'f, 'a> {
    /// The frame for one item of a collection.
    pub(super) fn on(self, item: &'f Item<'a>, index: usize) -> Frame<'f, 'a> {
        Frame { focus: std::slice::from_ref(item), index: Some(index), ..self }
    }
}

/// A collection where a boolean is needed: `None` when empty, true for a single item that
/// is no boolean.
pub(super) fn singleton_boolean(at: u32, items: &[Item<'_>]) -> Result<Option<bool>, Error> {
    match items {
        [] => Ok(None),
        [one] => Ok(Some(one.boolean().unwrap_or(true))),
        _ => Err(Error::new(at, ErrorKind::Singleton("a condition"))),
    }
}

pub(super) fn truth<'a>(answer: Option<bool>) -> Collection<'a> {
    answer.map(|b| Item::Value(Value::Boolean(b))).into_iter().collect()
}

pub(super) fn one<'a>(value: Value<'a>) -> Collection<'a> {
    vec![Item::Value(value)]
}

impl<'a> Evaluator<'a, '_> {
    /// Counts a step.
    pub(super) fn step(&self, at: u32) -> Result<(), Error> {
        self.spend(at, 1)
    }

    /// Counts what making a text costs.
    pub(super) fn make(&self, at: u32, bytes: usize) -> Result<(), Error> {
        self.spend(at, bytes / 16)
    }

    /// Counts many steps at once.
    pub(super) fn spend(&self, at: u32, many: usize) -> Result<(), Error> {
        let steps = self.steps.get().saturating_add(many as u64);
        self.steps.set(steps);
        if steps > self.context.limits.steps {
            return Err(Error::new(at, ErrorKind::Limit("many steps")));
        }
        Ok(())
    }

    /// Refuses a collection that has grown too large.
    pub(super) fn sized(&self, at: u32, items: &[Item<'a>]) -> Result<(), Error> {
        if items.len() > self.context.limits.items {
            return Err(Error::new(at, ErrorKind::Limit("many items")));
        }
        Ok(())
    }

    /// Refuses a text that is too long to be made.
    pub(super) fn fits(&self, at: u32, bytes: usize) -> Result<(), Error> {
        if bytes > self.context.limits.text {
            return Err(Error::new(at, ErrorKind::Limit("long a text")));
        }
        Ok(())
    }

    pub(super) fn eval(&self, e: &Expr, f: Frame<'_, 'a>) -> Result<Collection<'a>, Error> {
        self.step(e.at)?;
        let out = match &e.kind {
            Kind::Empty => Vec::new(),
            Kind::Literal(value) => {
                if let Value::String(text) = value {
                    self.make(e.at, text.len())?;
                }
                one(value.clone())
            }
            Kind::This => f.focus.to_vec(),
            Kind::Index => {
                let index = f.index.and_then(|n| i32::try_from(n).ok());
                index.map(|n| Item::Value(Value::Integer(n))).into_iter().collect()
            }
            Kind::Total => f.total.unwrap_or_default().to_vec(),
            Kind::Variable(name) => self.variable(e.at, name)?,
            Kind::Name(name) => self.name(e.at, name, f.focus)?,
            Kind::Member(target, name) => {
                let items = self.eval(target, f)?;
                self.member(e.at, &items, name)?
            }
            Kind::Call { target, function, arguments } => match target {
                Some(target) => {
                    let items = self.eval(target, f)?;
                    self.call(e.at, &items, *function, arguments, f)?
                }
                None => self.call(e.at, f.focus, *function, arguments, f)?,
            },
            Kind::Item(target, index) => {
                let items = self.eval(target, f)?;
                let Some(n) = self.integer(index, f)? else { return Ok(Vec::new()) };
                let at = usize::try_from(n).ok();
                at.and_then(|n| items.get(n).cloned()).into_iter().collect()
            }
            Kind::Sign(inner, minus) => {
                let items = self.eval(inner, f)?;
                self.signed(e.at, &items, *minus)?
            }
            Kind::Binary(operator, left, right) => self.binary(e.at, *operator, left, right, f)?,
            Kind::Type { target, test, ty } => match target {
                Some(target) => {
                    let items = self.eval(target, f)?;
                    self.type_test(e.at, &items, *test, *ty)?
                }
                None => self.type_test(e.at, f.focus, *test, *ty)?,
            },
        };
        self.sized(e.at, &out)?;
        self.spend(e.at, out.len())?;
        Ok(out)
    }

    /// A name at the start: an element of the focus, or else the focus's own type.
    fn name(&self, at: u32, name: &str, focus: &[Item<'a>]) -> Result<Collection<'a>, Error> {
        let mut out = Vec::new();
        for item in focus {
            self.step(at)?;
            if let Item::Place(place) = item {
                let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
                    && place.type_id().lineage().any(|t| t.name() == name);
                if is_type {
                    out.push(item.clone());
                    continue;
                }
            }
            let seen = push_member(item, name, &mut out);
            self.spend(at, seen)?;
        }
        Ok(out)
    }

    pub(super) fn member(
        &self,
        at: u32,
        items: &[Item<'a>],
        name: &str,
    ) -> Result<Collection<'a>, Error> {
        let mut out = Vec::new();
        for item in items {
            self.step(at)?;
            let seen = push_member(item, name, &mut out);
            self.spend(at, seen)?;
        }
        Ok(out)
    }

    fn variable(&self, at: u32, name: &str) -> Result<Collection<'a>, Error> {
        if let Some((_, items)) = self.context.variables.iter().find(|(n, _)| **n == *name) {
            return Ok(items.clone());
        }
        let text = |text: String| Ok(one(Value::String(text.into())));
        let place = |place: Option<Place<'a>>| Ok(place.map(Item::Place).into_iter().collect());
        match name {
            "context" => Ok(self.input.to_vec()),
            "resource" => place(self.context.resource.or_else(|| Some(self.resources()?.0))),
            "rootResource" => {
                let given = self.context.root_resource;
                let found = given.or_else(|| Some(self.resources()?.1));
                place(found.or(self.context.resource))
            }
            "ucum" => text("http://unitsofmeasure.org".to_owned()),
            "sct" => text("http://snomed.info/sct".to_owned()),
            "loinc" => text("http://loinc.org".to_owned()),
            _ => {
                if let Some(id) = name.strip_prefix("vs-") {
                    return text(format!("http://hl7.org/fhir/ValueSet/{id}"));
                }
                if let Some(id) = name.strip_prefix("ext-") {
                    return text(format!("http://hl7.org/fhir/StructureDefinition/{id}"));
                }
                Err(Error::new(at, ErrorKind::UnknownVariable(path_name(name).into())))
            }
        }
    }

    /// The resource of the input, and the one that contains it. Looked for once.
    pub(super) fn resources(&self) -> Option<(Place<'a>, Place<'a>)> {
        let find = || self.input.iter().find_map(|i| i.place())?.resources(&mut 0);
        *self.resources.get_or_init(find)
    }

    fn type_test(
        &self,
        at: u32,
        items: &[Item<'a>],
        test: TypeTest,
        ty: TypeName,
    ) -> Result<Collection<'a>, Error> {
        let singleton = |what| Error::new(at, ErrorKind::Singleton(what));
        match test {
            TypeTest::Is => match items {
                [] => Ok(Vec::new()),
                [item] => Ok(truth(Some(is(item, ty)))),
                _ => Err(singleton("is")),
            },
            TypeTest::As if items.len() > 1 && self.context.many_as == ManyAs::Error => {
                Err(singleton("as"))
            }
            TypeTest::As | TypeTest::OfType => {
                Ok(items.iter().filter(|i| of_type(i, ty)).cloned().collect())
            }
        }
    }

    /// A condition on one item.
    pub(super) fn condition(&self, e: &Expr, f: Frame<'_, 'a>) -> Result<Option<bool>, Error> {
        let found = self.eval(e, f)?;
        singleton_boolean(e.at, &found)
    }

    /// An argument that is a whole number.
    pub(super) fn integer(&self, e: &Expr, f: Frame<'_, 'a>) -> Result<Option<i32>, Error> {
        match self.single_value(e, f)? {
            None => Ok(None),
            Some(Value::Integer(n)) => Ok(Some(n)),
            Some(_) => Err(Error::new(e.at, ErrorKind::Type("a number of items or digits"))),
        }
    }

    /// An argument that is a text.
    pub(super) fn text(
        &self,
        e: &Expr,
        f: Frame<'_, 'a>,
    ) -> Result<Option<std::borrow::Cow<'a, str>>, Error> {
        match self.single_value(e, f)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::new(e.at, ErrorKind::Type("a text"))),
        }
    }

    /// An argument of one value.
    pub(super) fn single_value(
        &self,
        e: &Expr,
        f: Frame<'_, 'a>,
    ) -> Result<Option<Value<'a>>, Error> {
        let found = self.eval(e, f)?;
        match found.as_slice() {
            [] => Ok(None),
            [item] => match item.value() {
                Some(value) => Ok(Some(value)),
                None if empty_primitive(item) => Ok(None),
                None => Err(Error::new(e.at, ErrorKind::Type("an argument"))),
            },
            _ => Err(Error::new(e.at, ErrorKind::Singleton("an argument"))),
        }
    }

    fn binary(
        &self,
        at: u32,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Operator as O;
        if matches!(operator, O::And | O::Or | O::Xor | O::Implies) {
            return self.logic(operator, left, right, f).map(truth);
        }
        let (a, b) = (self.eval(left, f)?, self.eval(right, f)?);
        match operator {
            O::Union => {
                let mut all = a;
                all.extend(b);
                self.sized(at, &all)?;
                self.distinct(at, all)
            }
            O::Equal | O::NotEqual => {
                if a.is_empty() || b.is_empty() {
                    return Ok(Vec::new());
                }
                let same = self.equal_all(at, &a, &b)?;
                Ok(truth(same.map(|s| s == (operator == O::Equal))))
            }
            O::Equivalent | O::NotEquivalent => {
                let same = self.equivalent_all(at, &a, &b)?;
                Ok(truth(Some(same == (operator == O::Equivalent))))
            }
            O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual => {
                let (Some(x), Some(y)) = (self.operand(at, &a)?, self.operand(at, &b)?) else {
                    return Ok(Vec::new());
                };
                let order = self.order(at, x, y)?;
                Ok(truth(order.map(|o| match operator {
                    O::Less => o == Ordering::Less,
                    O::LessOrEqual => o != Ordering::Greater,
                    O::Greater => o == Ordering::Greater,
                    _ => o != Ordering::Less,
                })))
            }
            O::In => self.contains(at, &b, &a),
            O::Contains => self.contains(at, &a, &b),
            O::Concatenate => self.concatenated(at, &a, &b),
            _ => {
                let (Some(x), Some(y)) = (self.operand(at, &a)?, self.operand(at, &b)?) else {
                    return Ok(Vec::new());
                };
                self.arithmetic(at, operator, x, y)
            }
        }
    }

    /// The one item of an operand; none when it is empty.
    pub(super) fn operand<'i>(
        &self,
        at: u32,
        items: &'i [Item<'a>],
    ) -> Result<Option<&'i Item<'a>>, Error> {
        match items {
            [] => Ok(None),
            [item] => Ok(Some(item)),
            _ => Err(Error::new(at, ErrorKind::Singleton("an operator"))),
        }
    }

    fn contains(
        &self,
        at: u32,
        items: &[Item<'a>],
        item: &[Item<'a>],
    ) -> Result<Collection<'a>, Error> {
        let Some(item) = self.operand(at, item)? else { return Ok(Vec::new()) };
        Ok(truth(Some(self.has(at, items, item)?)))
    }

    fn logic(
        &self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        f: Frame<'_, 'a>,
    ) -> Result<Option<bool>, Error> {
        let a = self.condition(left, f)?;
        // What decides by itself is enough.
        match (operator, a) {
            (Operator::And, Some(false)) => return Ok(Some(false)),
            (Operator::Or, Some(true)) | (Operator::Implies, Some(false)) => return Ok(Some(true)),
            _ => {}
        }
        let b = self.condition(right, f)?;
        Ok(match (operator, a, b) {
            (Operator::And, _, Some(false)) => Some(false),
            (Operator::And, Some(true), Some(true)) => Some(true),
            (Operator::Or | Operator::Implies, _, Some(true)) => Some(true),
            (Operator::Or, Some(false), Some(false)) => Some(false),
            (Operator::Implies, Some(true), Some(false)) => Some(false),
            (Operator::Xor, Some(a), Some(b)) => Some(a != b),
            _ => None,
        })
    }
}

/// A primitive that has extensions and no value counts as no value.
pub(super) fn empty_primitive(item: &Item<'_>) -> bool {
    item.place().is_some_and(|p| p.type_id().kind() == TypeKind::Primitive && p.node().is_none())
}

/// Gives how many members were looked at.
fn push_member<'a>(item: &Item<'a>, name: &str, out: &mut Collection<'a>) -> usize {
    match item {
        Item::Place(place) => place.member(name, out),
        Item::Value(Value::Type(namespace, of)) => {
            let text = match name {
                "namespace" => namespace,
                "name" => of,
                _ => return 0,
            };
            out.push(Item::Value(Value::String((*text).into())));
            0
        }
        Item::Value(_) => 0,
    }
}

/// `is`: of the type or of one that derives from it.
fn is(item: &Item<'_>, ty: TypeName) -> bool {
    match item {
        Item::Place(place) => ty.fhir.is_some_and(|t| place.is(t)),
        Item::Value(value) => {
            ty.system.is_some_and(|t| t == value.system_type() || t == SystemType::Any)
        }
    }
}

/// `as` and `ofType`: as `is`, but a primitive has to be of that very type: a code is no
/// `string` here (so HL7's suite, and what `value as string` is meant to say).
fn of_type(item: &Item<'_>, ty: TypeName) -> bool {
    match (item, ty.fhir) {
        (Item::Place(place), Some(t)) if place.type_id().kind() == TypeKind::Primitive => {
            place.type_id() == t
        }
        _ => is(item, ty),
    }
}
