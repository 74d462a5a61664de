//! `Binary.securityContext`: "treat this as if it were that other record"
//! (<https://hl7.org/fhir/R4/binary-definitions.html#Binary.securityContext>).
//!
//! A Binary takes over the patients and the labels of its context when it is written, so
//! that it is sealed under their keys and forgotten with them; and whoever may not see
//! the context now does not see the Binary, whatever the labels were then. It refuses a
//! context that is not there or not the writer's to see, the same in both cases.

use phial_base::{LabelSet, LogicalId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::validate::Valid;
use phial_policy::Action;
use phial_store::vessel::Sealing;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// What a Binary takes over.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) patients: Vec<LogicalId>,
    pub(crate) labels: LabelSet,
    /// The record to ask for at each look.
    pub(crate) context: Option<(ResourceType, LogicalId)>,
}

impl Engine {
    /// What the record takes over from its security context; nothing when it is no Binary
    /// or has none. `planned` are records of the same transaction that are written before
    /// it.
    pub(crate) fn inherited<'p>(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        valid: &Valid,
        mut planned: impl Iterator<Item = &'p Sealing>,
    ) -> Result<Inherited, Failure> {
        if valid.resource_type().name() != "Binary" {
            return Ok(Inherited::default());
        }
        let Some(context) = valid.doc().root().member("securityContext") else {
            return Ok(Inherited::default());
        };
        let refused = |text: &str| {
            Failure::invalid(IssueCode::NotFound, "Binary.securityContext.reference", text)
        };
        let said = context.member("reference").and_then(|r| r.as_str()).unwrap_or_default();
        let RefKind::Relative { type_: ty, id, .. } = classify(&said) else {
            return Err(refused("name a record of this server: Type/id"));
        };
        if ty == valid.resource_type() {
            // So that asking for a context never asks for another.
            return Err(refused("a Binary can't be treated as another Binary"));
        }
        let id = LogicalId::new(id).map_err(|_| refused("this is no valid id"))?;
        if let Some(s) = planned.find(|s| s.ty == ty && s.id == id) {
            let (patients, labels) = (s.patients.clone(), s.labels);
            return Ok(Inherited { patients, labels, context: Some((ty, id)) });
        }
        let found = tenant.vessel.find(ty, &id).map_err(Self::store_failure(caller))?;
        let seen = match found {
            Some(found) if self.decide(tenant, caller, Action::Read, &found)?.is_ok() => {
                Some((found.header.patients, found.header.labels))
            }
            _ => None,
        };
        match seen {
            Some((patients, labels)) => Ok(Inherited { patients, labels, context: Some((ty, id)) }),
            // As with every reference to a patient: the record need not be there yet, and
            // nothing tells whether one is there that the writer may not see.
            None if ty.name() == "Patient" => Ok(Inherited {
                patients: vec![id.clone()],
                labels: LabelSet::NONE,
                context: Some((ty, id)),
            }),
            None => Err(refused("there is no such record, or none for you: write it first")),
        }
    }

    /// Whether the caller may see the record that a found Binary is to be treated as.
    pub(crate) fn sees_context(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        context: &(ResourceType, LogicalId),
    ) -> Result<bool, Failure> {
        let (ty, id) = context;
        match tenant.vessel.find(*ty, id).map_err(Self::store_failure(caller))? {
            Some(found) => Ok(self.decide(tenant, caller, Action::Read, &found)?.is_ok()),
            None => Ok(ty.name() == "Patient"),
        }
    }
}
