//! Patches, as a client sends them and as those apply them who see a part.

use phial_base::{ClassSet, DataClass, LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::patch::Unpatched;
use phial_fhir::validate::validate;
use phial_fhir::{Doc, Limits, Node, Patch};

use crate::Bytes;

const CLOSED: &str = "a part of a patch's answer hangs on what is not seen";

/// Two bytes that say which classes are seen, a resource, and a patch in either form. What
/// comes of it parses; by whoever sees all it is what plain application gives, and by
/// whoever sees a part, the answer is the same with everything unseen taken away.
pub fn patch(data: &[u8]) {
    let mut from = Bytes(data);
    let bits = u16::from(from.byte()) << 8 | u16::from(from.byte());
    let (resource, text) = (from.piece(), from.rest());
    let parse = |bytes: &[u8]| Doc::parse(bytes, &Limits::default()).ok();
    let (Some(resource), Some(text)) = (parse(resource), parse(text)) else { return };
    let read = [Patch::json(&text), Patch::parameters(&text), Patch::resource(&text)];
    let named = resource.root().member("resourceType").and_then(Node::as_str);
    let ty = named.and_then(|n| ResourceType::from_name(&n));
    for patch in read {
        let patch = match patch {
            Ok(patch) => patch,
            Err(issues) => {
                assert!(!issues.is_empty(), "refused without a reason");
                continue;
            }
        };
        if let Ok(done) = patch.apply(&resource) {
            parse(done.text().as_bytes()).expect("what a patch gives is JSON");
        }
        let Some(ty) = ty.filter(|_| validate(resource.clone()).is_ok()) else { continue };
        let seen = DataClass::ALL.into_iter().zip(0..12).fold(
            ClassSet::of(DataClass::Administrative),
            |set, (class, n)| {
                if bits >> n & 1 == 1 { set.with(class) } else { set }
            },
        );
        part(&patch, &resource, ty, seen);
    }
}

/// What is told of a patch by someone who sees these classes: the same for the resource
/// and for what is left of it when the values of the others are changed.
fn part(patch: &Patch, resource: &Doc, ty: ResourceType, seen: ClassSet) {
    let answer = |doc: &Doc| -> Result<(ClassSet, String), String> {
        let patched = patch.apply_seeing(doc, ty, seen).map_err(|e| match e {
            Unpatched::Invalid(issues) => format!("{issues:?}"),
            Unpatched::Unfit(issue) => format!("unfit {issue}"),
            Unpatched::Withheld(issue) => format!("withheld {issue}"),
        })?;
        let id = LogicalId::new("a").map_err(|e| e.to_string())?;
        let touched = patched.touched();
        let done = patched
            .finish(&id, Version(2), "2026-01-01T00:00:00Z", &mut |_| None)
            .map_err(|issues| format!("{issues:?}"))?;
        Ok((touched, done.text().to_owned()))
    };
    let (first, again) = (answer(resource), answer(resource));
    assert_eq!(first, again, "{CLOSED}");
    if let Ok((touched, text)) = first {
        let after = Doc::parse(text.as_bytes(), &Limits::default()).expect("it was stored");
        if touched.is_empty() {
            let kept = |doc: &Doc| phial_fhir::split::classes_in(doc, ty);
            assert_eq!(kept(&after).minus(seen), kept(resource).minus(seen), "{CLOSED}");
        }
    }
}
