//! Whether a list is in the order that `_sort` asks for (3.1.1.5.1). Of several values
//! the first in that order counts; a resource without a value comes last, which is this
//! server's choice; resources that are alike may stand either way.

use std::cmp::Ordering;

use serde_json::Value;

use super::number::Decimal;
use super::text::fold;
use super::value::{numbers, quantities, references, spans, strings, tokens};
use super::{Facts, Oracle, Unknown};

#[derive(Clone, Debug)]
enum Key {
    Time(i128),
    Number(Decimal),
    Text(String),
}

impl Key {
    fn order(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Time(a), Key::Time(b)) => a.cmp(b),
            (Key::Number(a), Key::Number(b)) => a.order(*b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            other => panic!("{other:?}"),
        }
    }
}

impl Oracle {
    fn key(&self, r: &Value, code: &str, down: bool) -> Result<Option<Key>, Unknown> {
        if code == "_id" {
            return Ok(r["id"].as_str().map(|id| Key::Text(id.to_owned())));
        }
        let ty = r["resourceType"].as_str().unwrap();
        let param = Facts::all().param(ty, code).ok_or_else(|| Unknown(code.to_owned()))?;
        let mut keys: Vec<Key> = Vec::new();
        for at in Self::elements(param, r) {
            match param.kind.as_str() {
                "date" => keys.extend(spans(&at).iter().map(|s| Key::Time(s.0))),
                "number" => keys.extend(numbers(&at).into_iter().map(Key::Number)),
                "quantity" => keys.extend(quantities(&at).iter().map(|q| {
                    let one = q.low.or(q.high).unwrap();
                    Key::Number(q.high.map_or(one, |h| one.middle(h)))
                })),
                "string" => keys.extend(strings(&at).iter().map(|s| Key::Text(fold(s)))),
                "token" => keys.extend(tokens(&at).into_iter().filter_map(|t| t.1).map(Key::Text)),
                "uri" => keys.extend(at.value.as_str().map(|s| Key::Text(s.to_owned()))),
                "reference" => {
                    let of = references(&at, &self.base).into_iter();
                    keys.extend(of.filter_map(|f| Some(Key::Text(format!("{}/{}", f.ty?, f.id?)))));
                }
                _ => return Err(Unknown(code.to_owned())),
            }
        }
        keys.sort_by(Key::order);
        Ok(if down { keys.pop() } else { keys.into_iter().next() })
    }

    /// The first pair that stands the wrong way round.
    pub(crate) fn disorder(
        &self,
        ty: &str,
        sort: &str,
        ids: &[String],
    ) -> Result<Option<(String, String)>, Unknown> {
        let mut rows = Vec::new();
        for id in ids {
            let r = self.find(ty, id).unwrap_or_else(|| panic!("{ty}/{id} is not here"));
            let mut keys = Vec::new();
            for rule in sort.split(',') {
                let (code, down) = match rule.strip_prefix('-') {
                    Some(code) => (code, true),
                    None => (rule, false),
                };
                keys.push((self.key(r, code, down)?, down));
            }
            rows.push((id, keys));
        }
        for pair in rows.windows(2) {
            let order = pair[0].1.iter().zip(&pair[1].1).map(|((a, down), (b, _))| match (a, b) {
                (Some(a), Some(b)) => {
                    if *down {
                        b.order(a)
                    } else {
                        a.order(b)
                    }
                }
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (None, None) => Ordering::Equal,
            });
            if order.into_iter().find(|o| *o != Ordering::Equal) == Some(Ordering::Greater) {
                return Ok(Some((pair[0].0.clone(), pair[1].0.clone())));
            }
        }
        Ok(None)
    }
}
