//! Composite parameters: values of several parameters that stand in the same element,
//! such as a component's code beside its value. This module knows what the parts are and
//! gathers what a walk over a resource finds of them, element by element.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#combining>

use phial_base::DataClass;

use super::term::Term;
use super::{ParamId, SearchType};

/// Which part of a composite a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The number of the component, from 0.
    pub(super) component: u8,
    /// Members from the resource to the element whose parts belong together. `None`: the
    /// part belongs to every such element of the resource.
    pub(super) depth: Option<u8>,
}

impl ParamId {
    /// The parameters that a composite's components are; empty for any other parameter.
    #[must_use]
    pub fn components(self) -> Vec<ParamId> {
        let all = self.def().components.iter();
        all.filter_map(|c| ParamId::from_number(c.number)).collect()
    }
}

/// The kind of a part.
pub(super) fn kind(param: ParamId, part: Part) -> SearchType {
    let component = param.def().components.get(usize::from(part.component));
    let of = component.and_then(|c| ParamId::from_number(c.number));
    of.map_or(SearchType::Special, ParamId::kind)
}

/// R4 gives the two components of this parameter each other's expression: `relatesto`, a
/// reference, that of the code, and `relation`, a token, that of the target.
const EXCHANGED: &str = "DocumentReference-relationship";

/// The expression of a component as seen from the composite's element. R4 writes
/// `as(DateTime)` once; the type is `dateTime`.
pub(super) fn expression(param: ParamId, component: usize) -> String {
    let def = param.def();
    let at = if def.url == EXCHANGED { 1 - component.min(1) } else { component };
    let text = def.components.get(at).map_or("", |c| c.expression);
    text.replace("as(DateTime)", "as(dateTime)")
}

/// The parts that were found in one resource.
#[derive(Default)]
pub(super) struct Found(Vec<Piece>);

struct Piece {
    param: ParamId,
    component: u8,
    /// The element that it belongs to; `None` for all.
    element: Option<usize>,
    class: DataClass,
    term: Term,
}

impl Found {
    /// Takes a part in. `path` leads from the resource to the value: the numbers of the
    /// elements on the way, the resource first.
    pub(super) fn take(
        &mut self,
        param: ParamId,
        part: Part,
        path: &[usize],
        class: DataClass,
        term: Term,
    ) {
        let element = match part.depth {
            None => None,
            Some(depth) => match path.get(usize::from(depth)) {
                Some(at) => Some(*at),
                None => return,
            },
        };
        self.0.push(Piece { param, component: part.component, element, class, term });
    }

    /// The composite values: of each element that has all parts, one.
    pub(super) fn values(mut self) -> Vec<(ParamId, DataClass, Term)> {
        let mut out = Vec::new();
        // Stable: the parts of a component stay in the order of the resource.
        self.0.sort_by_key(|p| (p.param, p.element));
        for of in self.0.chunk_by(|a, b| a.param == b.param) {
            let Some(param) = of.first().map(|p| p.param) else { continue };
            let count = param.def().components.len();
            for element in of.chunk_by(|a, b| a.element == b.element) {
                if element.first().is_none_or(|p| p.element.is_none()) {
                    continue;
                }
                let shared = of.iter().filter(|p| p.element.is_none());
                let mut parts: Vec<Vec<(DataClass, Term)>> = vec![Vec::new(); count];
                for piece in shared.chain(element) {
                    let value = (piece.class, piece.term.clone());
                    if let Some(part) = parts.get_mut(usize::from(piece.component))
                        && !part.contains(&value)
                    {
                        part.push(value);
                    }
                }
                let Some(class) = parts.first().and_then(|p| p.first()).map(|(c, _)| *c) else {
                    continue;
                };
                if parts.iter().all(|p| !p.is_empty()) {
                    let parts = parts.into_iter().map(Vec::into_boxed_slice).collect();
                    out.push((param, class, Term::Parts { parts }));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::programs;
    use super::*;
    use crate::definitions::{ResourceType, search_params};

    #[test]
    fn what_a_component_reads_its_own_parameter_reads_too() {
        // The index finds a composite by the values of its components' parameters.
        let mut composites = 0;
        for ty in ResourceType::all() {
            for place in &programs(ty).places {
                for end in &place.ends {
                    let Some(part) = end.part else { continue };
                    composites += 1;
                    let own = end.param.components()[usize::from(part.component)];
                    assert!(
                        place.ends.iter().any(|e| {
                            e.part.is_none()
                                && (e.param, e.take) == (own, end.take)
                                && e.conditions.iter().all(|c| end.conditions.contains(c))
                        }),
                        "{ty} {} {}",
                        end.param.code(),
                        own.code()
                    );
                }
            }
        }
        assert!(composites > 100, "{composites}");
    }

    #[test]
    fn every_composite_has_components_of_a_kind_that_can_be_searched() {
        let all: Vec<_> =
            search_params().iter().filter(|p| p.kind == SearchType::Composite).collect();
        assert_eq!(all.len(), 46);
        for def in all {
            let param = ParamId::from_number(def.number).unwrap();
            let components = param.components();
            assert!(
                components.len() >= 2 && components.len() == def.components.len(),
                "{}",
                def.url
            );
            assert!(components.iter().all(|c| c.components().is_empty()));
            assert_eq!(param.unsearchable(), None, "{}", def.url);
        }
    }
}
