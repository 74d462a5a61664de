//! What a search by value set or by hierarchy means in codes (`:in`, `:not-in`, `:above`,
//! `:below`): looked up before the index is asked, by the terminology that is held here and
//! as far as the caller may see it. What can't be looked up is refused: an answer that left
//! codes out would be wrong and not look it.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#token>

use std::collections::BTreeSet;

use phial_audit::Entry;
use phial_base::Seq;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Filter, Modifier, On, Operand, Query};
use phial_policy::Permit;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::terms::{Lookup, SystemAndCode};

impl Engine {
    /// Puts codes in the place of value sets and of hierarchies, in all filters: as they
    /// were at the snapshot of a search's first page, or (`None`) as they are. Records that
    /// took part are added to `e`, their permits to `permits`.
    pub(crate) fn look_up_codes(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        query: &mut Query,
        at: Option<Seq>,
        (e, permits): (&mut Entry, &mut Vec<Permit>),
    ) -> Result<(), Failure> {
        query.each_filter_mut(&mut |ty, filter| {
            let Some(modifier) = looked_up(filter) else { return Ok(()) };
            let name = format!("{}:{modifier}", filter.on.code());
            let (e, permits) = (&mut *e, &mut *permits);
            let mut look = Lookup { tenant, caller, path: &name, at, e, permits };
            self.codes_in(ty, filter, &mut look)
        })
    }

    fn codes_in(
        &self,
        ty: ResourceType,
        filter: &mut Filter,
        look: &mut Lookup<'_>,
    ) -> Result<(), Failure> {
        let mut codes: BTreeSet<SystemAndCode> = BTreeSet::new();
        for value in &filter.values {
            match (value, filter.modifier) {
                (Operand::Uri(url), Modifier::In | Modifier::NotIn) => {
                    codes.extend(self.codes_of_value_set(url, look)?);
                }
                (Operand::Token { system: Some(Some(system)), code: Some(code) }, modifier) => {
                    let up = modifier == Modifier::Above;
                    codes.extend(self.codes_of_hierarchy(system, code, up, look)?);
                }
                _ => {
                    let text =
                        format!("{} needs a code with its system, as system|code", look.path);
                    return Err(Failure::invalid(IssueCode::NotSupported, look.path, text));
                }
            }
        }
        if filter.modifier != Modifier::NotIn {
            filter.modifier = Modifier::In;
        }
        let plain = match filter.on {
            On::Param(p) => p.plain_systems(ty),
            On::Id | On::LastUpdated => Vec::new(),
        };
        filter.values = codes
            .into_iter()
            .map(|(system, code)| {
                // A plain code carries no system in the resource.
                let carried = !plain.contains(&&*system);
                Operand::Token { system: carried.then_some(Some(system)), code: Some(code) }
            })
            .collect();
        Ok(())
    }
}

/// The modifier of a filter that stands for codes which must be looked up.
pub(crate) fn looked_up(filter: &Filter) -> Option<&'static str> {
    // A type of media has parameters and no code system.
    let media = |v: &Operand| matches!(v, Operand::Token { system: None, code: Some(code) } if code.contains('/'));
    let tokens = filter.values.iter().all(|v| matches!(v, Operand::Token { .. }));
    match filter.modifier {
        Modifier::In => Some("in"),
        Modifier::NotIn => Some("not-in"),
        Modifier::Above if tokens => Some("above"),
        Modifier::Below if tokens && !filter.values.iter().all(media) => Some("below"),
        _ => None,
    }
}
