//! What of a permitted record is opened and shown: all of it, or the part that
//! `_elements` or `_summary` asks for.

use phial_base::ClassSet;
use phial_fhir::issue::IssueCode;
use phial_fhir::split::classes_in;
use phial_fhir::subset::{Subset, subset};
use phial_fhir::{Doc, Limits};
use phial_policy::Permit;
use phial_store::Error as StoreError;
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::condition::form;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

/// A record's JSON, and the classes that are in it.
pub(crate) struct View {
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) given: ClassSet,
}

impl Engine {
    /// Opens what the permit allows and the caller asked for. Segments in which the part
    /// can't lie stay sealed.
    pub(crate) fn view(
        tenant: &Tenant,
        caller: &Caller,
        permit: &Permit,
        found: &Unopened,
        part: Option<&Subset>,
    ) -> Result<View, Failure> {
        let failed = Self::store_failure(caller);
        let Some(part) = part else {
            let opened = tenant.vessel.open_record(permit, found).map_err(failed)?;
            return Ok(View { given: opened.given, body: opened.into_body() });
        };
        let ty = found.header.ty;
        let wanted = part.classes(ty);
        let opened = tenant.vessel.open_part(permit, found, wanted).map_err(&failed)?;
        let parse = |bytes: &[u8]| {
            // What was stored passed stricter limits, and is parsed to leave things out.
            let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
            Doc::parse(bytes, &limits)
                .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))
        };
        let body = Zeroizing::new(subset(&parse(opened.body())?, ty, part));
        let given = classes_in(&parse(&body)?, ty).and(opened.given);
        Ok(View { body, given })
    }
}

/// The part of one record that the query of its URL asks for.
///
/// # Errors
/// As [`asked_part`], and for `_summary=count`: one record is not counted.
pub fn part_of_one(query: &str) -> Result<Option<Subset>, Failure> {
    if query.is_empty() {
        return Ok(None);
    }
    let pairs = form(query);
    if pairs.iter().any(|(name, value)| name == "_summary" && value == "count") {
        let text = "one record is not counted";
        return Err(Failure::invalid(IssueCode::NotSupported, "_summary", text));
    }
    asked_part(&pairs)
}

/// The part that the parameters ask for.
///
/// # Errors
/// [`Failure::Invalid`] when they ask for something that is no part.
pub(crate) fn asked_part(pairs: &[(String, String)]) -> Result<Option<Subset>, Failure> {
    Subset::of(pairs).map_err(|issue| Failure::Invalid(Refusal { issues: vec![issue] }))
}
