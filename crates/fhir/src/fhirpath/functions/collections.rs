//! Functions on collections: what is there, which of it, in which order.
//!
//! Source: <https://hl7.org/fhirpath/N1/#existence>, `#filtering-and-projection`,
//! `#subsetting`, `#combining`, `#tree-navigation`, `#aggregates`

use std::cmp::Ordering;

use super::super::ast::{Expr, Function, Kind};
use super::super::compare::Seen;
use super::super::error::{Error, ErrorKind};
use super::super::eval::{Evaluator, Frame, one, singleton_boolean, truth};
use super::super::item::{Collection, Item};
use super::super::value::Value;

/// An item behind its keys.
type Row<'a> = (Vec<Option<Item<'a>>>, Item<'a>);

impl<'a> Evaluator<'a, '_> {
    /// The argument of this number, evaluated once.
    fn argument(
        &self,
        arguments: &[Expr],
        n: usize,
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        arguments.get(n).map_or(Ok(Vec::new()), |e| self.eval(e, f))
    }

    pub(super) fn existence(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        let answer = match function {
            F::Empty => items.is_empty(),
            F::Exists => match arguments.first() {
                None => !items.is_empty(),
                Some(criteria) => {
                    let mut any = false;
                    for (n, item) in items.iter().enumerate() {
                        if self.condition(criteria, f.on(item, n))? == Some(true) {
                            any = true;
                            break;
                        }
                    }
                    any
                }
            },
            F::All => {
                let mut all = true;
                for (n, item) in items.iter().enumerate() {
                    let Some(criteria) = arguments.first() else { break };
                    if self.condition(criteria, f.on(item, n))? != Some(true) {
                        all = false;
                        break;
                    }
                }
                all
            }
            F::AllTrue | F::AnyTrue | F::AllFalse | F::AnyFalse => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    let wrong = || Error::new(at, ErrorKind::Type(function.name()));
                    values.push(item.boolean().ok_or_else(wrong)?);
                }
                match function {
                    F::AllTrue => values.iter().all(|v| *v),
                    F::AnyTrue => values.iter().any(|v| *v),
                    F::AllFalse => values.iter().all(|v| !*v),
                    _ => values.iter().any(|v| !*v),
                }
            }
            F::SubsetOf | F::SupersetOf => {
                let other = self.argument(arguments, 0, f)?;
                let (inner, outer) =
                    if function == F::SubsetOf { (items, &*other) } else { (&*other, items) };
                let mut all = true;
                for item in inner {
                    if !self.has(at, outer, item)? {
                        all = false;
                        break;
                    }
                }
                all
            }
            F::IsDistinct => self.distinct(at, items.to_vec())?.len() == items.len(),
            F::Not => return singleton_boolean(at, items).map(|b| truth(b.map(|b| !b))),
            _ => {
                let count = i32::try_from(items.len()).unwrap_or(i32::MAX);
                return Ok(one(Value::Integer(count)));
            }
        };
        Ok(truth(Some(answer)))
    }

    pub(super) fn each(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        match function {
            Function::Repeat => return self.repeat(at, items, arguments, f),
            Function::Aggregate => return self.aggregate(items, arguments, f),
            Function::Iif => return self.iif(at, items, arguments, f),
            Function::Sort => return self.sort(at, items, arguments, f),
            _ => {}
        }
        let Some(argument) = arguments.first() else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let frame = f.on(item, n);
            if function == Function::Where {
                if self.condition(argument, frame)? == Some(true) {
                    out.push(item.clone());
                }
            } else {
                out.extend(self.eval(argument, frame)?);
                self.sized(at, &out)?;
            }
        }
        Ok(out)
    }

    /// Goes on from what it found until nothing new is found.
    fn repeat(
        &self,
        at: u32,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let Some(argument) = arguments.first() else { return Ok(Vec::new()) };
        let mut out: Collection<'a> = Vec::new();
        let mut seen = Seen::default();
        let mut open: std::collections::VecDeque<Item<'a>> = items.iter().cloned().collect();
        while let Some(item) = open.pop_front() {
            for found in self.eval(argument, f.on(&item, 0))? {
                if self.fresh(at, &out, &mut seen, &found)? {
                    out.push(found.clone());
                    self.sized(at, &out)?;
                    open.push_back(found);
                }
            }
        }
        Ok(out)
    }

    fn aggregate(
        &self,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let mut total = self.argument(arguments, 1, f)?;
        let Some(argument) = arguments.first() else { return Ok(total) };
        for (n, item) in items.iter().enumerate() {
            let frame = Frame { total: Some(&total), ..f.on(item, n) };
            total = self.eval(argument, frame)?;
        }
        Ok(total)
    }

    fn iif(
        &self,
        at: u32,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let [criterion, then, rest @ ..] = arguments else { return Ok(Vec::new()) };
        // On a collection of the surrounding focus it is just a choice; as a method it
        // is for one item.
        let own = !std::ptr::eq(items, f.focus);
        if own && items.len() > 1 {
            return Err(Error::new(at, ErrorKind::Singleton("iif")));
        }
        let frame = match items.first() {
            Some(item) if own => Frame { focus: std::slice::from_ref(item), ..f },
            _ if own => Frame { focus: &[], ..f },
            _ => f,
        };
        let found = self.eval(criterion, frame)?;
        let wrong = || Error::new(criterion.at, ErrorKind::Type("a criterion"));
        let chosen = match found.as_slice() {
            [] => false,
            [item] => item.boolean().ok_or_else(wrong)?,
            _ => return Err(Error::new(criterion.at, ErrorKind::Singleton("a criterion"))),
        };
        match (chosen, rest.first()) {
            (true, _) => self.eval(then, frame),
            (false, Some(otherwise)) => self.eval(otherwise, frame),
            (false, None) => Ok(Vec::new()),
        }
    }

    /// By one or more keys; `-key` turns a key around, and items without one come first.
    fn sort(
        &self,
        at: u32,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let mut rows: Vec<Row<'a>> = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let mut keys = Vec::with_capacity(arguments.len());
            for argument in arguments {
                let key = match &argument.kind {
                    Kind::Sign(inner, true) => inner,
                    _ => argument,
                };
                let found = self.eval(key, f.on(item, n))?;
                keys.push(self.operand(argument.at, &found)?.cloned());
            }
            if arguments.is_empty() {
                keys.push(Some(item.clone()));
            }
            rows.push((keys, item.clone()));
        }
        let down: Vec<bool> =
            arguments.iter().map(|a| matches!(a.kind, Kind::Sign(_, true))).collect();
        let rows = self.merge_sorted(at, rows, &down)?;
        Ok(rows.into_iter().map(|(_, item)| item).collect())
    }

    /// Stable, and safe for an order that is none: the library's sort may panic there.
    fn merge_sorted(
        &self,
        at: u32,
        rows: Vec<Row<'a>>,
        down: &[bool],
    ) -> Result<Vec<Row<'a>>, Error> {
        if rows.len() < 2 {
            return Ok(rows);
        }
        let mut first = rows;
        let second = first.split_off(first.len() / 2);
        let first = self.merge_sorted(at, first, down)?;
        let second = self.merge_sorted(at, second, down)?;
        let mut out = Vec::with_capacity(first.len() + second.len());
        let (mut a, mut b) = (first.into_iter().peekable(), second.into_iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let next = if self.row_order(at, &x.0, &y.0, down)? == Ordering::Greater {
                b.next()
            } else {
                a.next()
            };
            out.extend(next);
        }
        out.extend(a);
        out.extend(b);
        Ok(out)
    }

    fn row_order(
        &self,
        at: u32,
        a: &[Option<Item<'a>>],
        b: &[Option<Item<'a>>],
        down: &[bool],
    ) -> Result<Ordering, Error> {
        for (n, (x, y)) in a.iter().zip(b).enumerate() {
            let order = match (x, y) {
                (None, None) => Ordering::Equal,
                (None, _) => Ordering::Less,
                (_, None) => Ordering::Greater,
                (Some(x), Some(y)) => {
                    let order = self.order(at, x, y)?.unwrap_or(Ordering::Equal);
                    if down.get(n) == Some(&true) { order.reverse() } else { order }
                }
            };
            if order != Ordering::Equal {
                return Ok(order);
            }
        }
        Ok(Ordering::Equal)
    }

    pub(super) fn subset(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        match function {
            F::Distinct => self.distinct(at, items.to_vec()),
            F::Single if items.len() > 1 => Err(Error::new(at, ErrorKind::Singleton("single"))),
            F::Single | F::First => Ok(items.first().cloned().into_iter().collect()),
            F::Last => Ok(items.last().cloned().into_iter().collect()),
            F::Tail => Ok(items.iter().skip(1).cloned().collect()),
            F::Skip | F::Take => {
                let Some(n) = arguments.first().map_or(Ok(None), |e| self.integer(e, f))? else {
                    return Ok(Vec::new());
                };
                let n = usize::try_from(n).unwrap_or(0);
                Ok(if function == F::Skip {
                    items.iter().skip(n).cloned().collect()
                } else {
                    items.iter().take(n).cloned().collect()
                })
            }
            _ => {
                let other = self.argument(arguments, 0, f)?;
                match function {
                    F::Union | F::Combine => {
                        let mut all = items.to_vec();
                        all.extend(other);
                        self.sized(at, &all)?;
                        if function == F::Union { self.distinct(at, all) } else { Ok(all) }
                    }
                    _ => {
                        let keep = function == F::Intersect;
                        let mut out = Vec::new();
                        for item in items {
                            if self.has(at, &other, item)? == keep {
                                out.push(item.clone());
                            }
                        }
                        if keep { self.distinct(at, out) } else { Ok(out) }
                    }
                }
            }
        }
    }

    /// The children, or all below, in the order of the document.
    pub(super) fn tree(
        &self,
        at: u32,
        items: &[Item<'a>],
        all: bool,
    ) -> Result<Collection<'a>, Error> {
        let mut out = Vec::new();
        let mut open: Vec<Item<'a>> = items.iter().rev().cloned().collect();
        let mut children = Vec::new();
        while let Some(item) = open.pop() {
            let Item::Place(place) = &item else { continue };
            let seen = place.children(&mut children);
            self.spend(at, seen)?;
            if all {
                // Below the item itself: an item that was given is no descendant.
                open.extend(children.iter().rev().cloned());
            }
            out.append(&mut children);
            self.sized(at, &out)?;
        }
        Ok(out)
    }
}
