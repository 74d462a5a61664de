//! What the links of a transaction's entries mean
//! (<https://hl7.org/fhir/R4/http.html#trules>, <https://hl7.org/fhir/R4/bundle.html#references>):
//! `fullUrl`s in every form, this server's own URLs, conditional references.

use std::collections::HashMap;

use phial_base::{LogicalId, Version};
use phial_fhir::Link;
use phial_fhir::issue::IssueCode;
use phial_fhir::reference::{RefKind, classify};

use super::plan::Plan;
use super::settle::Settled;
use super::{Method, Write};
use crate::failure::Failure;

/// What the entries are called by `fullUrl`, and what they are stored as: `Type/id`.
#[derive(Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    pub(super) fn add(&mut self, write: &Write, id: &LogicalId) {
        if let Some(url) = &write.full_url {
            self.0.insert(url.clone(), format!("{}/{}", write.ty.name(), id.as_str()));
        }
    }

    pub(super) fn of(settled: &[Settled]) -> Self {
        let mut names = Names::default();
        for s in settled {
            names.add(&s.write, &s.id);
        }
        names
    }

    /// What a link means without looking anything up. `None` leaves it as it is.
    pub(super) fn plain(&self, write: &Write, link: Link<'_>) -> Option<String> {
        let text = link.text();
        if let Some(name) = self.0.get(text) {
            return Some(name.clone());
        }
        let Link::Reference(text) = link else { return None };
        // A relative reference is relative to the entry's own URL first.
        if let RefKind::Relative { .. } = classify(text)
            && let Some(root) = write.full_url.as_deref().and_then(root_of)
            && let Some(name) = self.0.get(&format!("{root}/{text}"))
        {
            return Some(name.clone());
        }
        let own = write.base.as_deref().and_then(|b| text.strip_prefix(b)?.strip_prefix('/'));
        own.filter(|rest| matches!(classify(rest), RefKind::Relative { .. })).map(str::to_owned)
    }
}

/// The base of a RESTful URL: what stands before `Type/id`.
fn root_of(url: &str) -> Option<&str> {
    let (rest, id) = url.rsplit_once('/')?;
    let (base, ty) = rest.rsplit_once('/')?;
    let known = matches!(classify(&format!("{ty}/{id}")), RefKind::Relative { .. });
    (known && base.contains("://")).then_some(base)
}

impl Plan<'_> {
    /// What a link is stored as, when not as it was sent.
    pub(crate) fn referred(
        &self,
        s: &Settled,
        link: Link<'_>,
        failed: &mut Option<Failure>,
    ) -> Option<String> {
        if let Some(name) = self.names.plain(&s.write, link) {
            return Some(name);
        }
        let Link::Reference(reference) = link else { return None };
        // A version of an entry is the one that this transaction makes of it.
        if let Some((head, _)) = reference.split_once("/_history/")
            && let Some(name) = self.names.plain(&s.write, Link::Reference(head))
        {
            return match self.version_of(&name) {
                Ok(Some(version)) => Some(format!("{name}/_history/{version}")),
                Ok(None) => None,
                Err(failure) => {
                    failed.get_or_insert(failure);
                    None
                }
            };
        }
        match classify(reference) {
            RefKind::Conditional { type_, query } => {
                match self.resolve(type_, query, &s.write.place) {
                    Ok(id) => Some(format!("{}/{}", type_.name(), id.as_str())),
                    Err(f) => {
                        failed.get_or_insert(f);
                        None
                    }
                }
            }
            RefKind::UrnUuid(_) if s.write.full_url.is_some() => {
                failed.get_or_insert_with(|| {
                    Failure::invalid(
                        IssueCode::NotFound,
                        s.write.place.clone(),
                        "a urn:uuid reference names no entry of this bundle",
                    )
                });
                None
            }
            _ => None,
        }
    }

    /// The version that the entry of this name will be.
    fn version_of(&self, name: &str) -> Result<Option<Version>, Failure> {
        let named = |s: &&Settled| name == format!("{}/{}", s.write.ty.name(), s.id.as_str());
        let Some(s) = self.settled.iter().find(named) else { return Ok(None) };
        let old = self.engine_find(s)?;
        Ok(match (s.existing || s.write.method == Method::Delete, old) {
            (true, old) => old.map(|o| o.version),
            (false, old) => Some(old.map_or(Version(1), |o| o.version.next())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phial_fhir::definitions::ResourceType;

    #[test]
    fn every_form_of_a_reference_to_an_entry_is_known() {
        let ty = |t| ResourceType::from_name(t).unwrap();
        let mut write = Write::new(Method::Create, ty("Patient"), None);
        let mut names = Names::default();
        for (url, id) in [("urn:uuid:a", "1"), ("http://other.example/fhir/Patient/9", "2")] {
            write.full_url = Some(url.to_owned());
            names.add(&write, &LogicalId::new(id).unwrap());
        }
        let mut from = Write::new(Method::Create, ty("Observation"), None);
        from.full_url = Some("http://other.example/fhir/Observation/5".to_owned());
        from.base = Some("https://here.example/fhir".into());
        let check = |link, wanted: Option<&str>| {
            assert_eq!(names.plain(&from, link).as_deref(), wanted, "{link:?}");
        };
        check(Link::Reference("urn:uuid:a"), Some("Patient/1"));
        check(Link::Uri("urn:uuid:a"), Some("Patient/1"));
        check(Link::Reference("Patient/9"), Some("Patient/2"));
        check(Link::Reference("http://other.example/fhir/Patient/9"), Some("Patient/2"));
        check(Link::Reference("https://here.example/fhir/Patient/7"), Some("Patient/7"));
        check(
            Link::Reference("https://here.example/fhir/Patient/7/_history/2"),
            Some("Patient/7/_history/2"),
        );
        check(Link::Uri("https://here.example/fhir/Patient/7"), None);
        check(Link::Reference("https://here.example/fhirx/Patient/7"), None);
        check(Link::Reference("https://here.example/fhir/metadata"), None);
        check(Link::Reference("Patient/8"), None);
        check(Link::Reference("#a"), None);
    }
}
