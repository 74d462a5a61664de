//! Root key → tenant key → patient key → record, and what rotation and
//! destruction mean for it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use phial_base::{KeyHandle, SeededRng, TenantId, Version};
use phial_crypto::{
    Error, KeyFile, KeyKind, KeyLabel, RecordKey, RecordName, SecretKey, Text, locate, row_id,
    seal_record, unlock_record, unwrap, unwrap_under_root, wrap, wrap_under_root,
};

const TEXT: &[u8] = br#"{"family":"Aldner"}"#;

fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

fn root(directory: &Path, seed: u64) -> KeyFile {
    KeyFile::create(&directory.join("root.key"), &[], &SeededRng::new(seed)).unwrap()
}

fn label(kind: KeyKind, version: u32) -> KeyLabel {
    KeyLabel {
        tenant: TenantId::default_tenant(),
        kind,
        handle: KeyHandle([kind as u8; 16]),
        version,
    }
}

#[test]
fn rotating_root_and_tenant_key_leaves_records_as_they_are() {
    let rng = SeededRng::new(1);
    let (old_home, new_home) = (private(), private());
    let (old_root, new_root) = (root(old_home.path(), 2), root(new_home.path(), 3));
    let (tenant_key, patient, locator_key, ids) = (
        SecretKey::random(&rng),
        SecretKey::random(&rng),
        SecretKey::random(&rng),
        SecretKey::random(&rng),
    );
    let tenant_label = label(KeyKind::Tenant, 1);
    let patient_label = label(KeyKind::Patient, 1);
    let wrapped_tenant = wrap_under_root(&old_root, &tenant_label, &tenant_key).unwrap();
    let wrapped_patient = wrap(&tenant_key, &patient_label, &patient, &rng);

    let tenant = TenantId::default_tenant();
    let row = row_id(&ids, "Patient", "a");
    let name = RecordName { tenant: &tenant, row, version: Version(1) };
    let key = RecordKey { handle: patient_label.handle, version: 1, key: &patient };
    let blob = seal_record(
        &name,
        &key,
        &locator_key,
        Text::plain(b"header"),
        &[(17, Text::plain(TEXT))],
        &rng,
    )
    .unwrap();

    // Rotate both: keys are wrapped anew, the blob is not touched.
    let opened = unwrap_under_root(&old_root, &tenant_label, &wrapped_tenant).unwrap();
    let next_tenant_key = SecretKey::random(&rng);
    let next_label = label(KeyKind::Tenant, 2);
    let rewrapped_tenant = wrap_under_root(&new_root, &next_label, &next_tenant_key).unwrap();
    let held = unwrap(&opened, &patient_label, &wrapped_patient).unwrap();
    let rewrapped_patient = wrap(&next_tenant_key, &patient_label, &held, &rng);

    let tenant_key = unwrap_under_root(&new_root, &next_label, &rewrapped_tenant).unwrap();
    let patient = unwrap(&tenant_key, &patient_label, &rewrapped_patient).unwrap();
    let locator = locate(&blob, &name, &locator_key).unwrap();
    assert_eq!((locator.handle, locator.version), (patient_label.handle, 1));
    let record = unlock_record(blob, &name, &locator, &patient).unwrap();
    assert_eq!(record.header().text(), b"header");
    assert_eq!(record.open(17).unwrap().text(), TEXT);

    // What the old keys wrapped is not openable with the new ones, nor the reverse.
    assert!(unwrap(&tenant_key, &patient_label, &wrapped_patient).is_err());
    let got = unwrap_under_root(&new_root, &tenant_label, &wrapped_tenant);
    assert!(matches!(got, Err(Error::WrongRoot)));
    let got = unwrap_under_root(&new_root, &tenant_label, &rewrapped_tenant);
    assert!(got.is_err());
}

#[test]
fn without_the_root_key_file_no_key_opens() {
    let home = private();
    let root = root(home.path(), 4);
    let tenant_label = label(KeyKind::Tenant, 1);
    let key = SecretKey::random(&SeededRng::new(5));
    let wrapped = wrap_under_root(&root, &tenant_label, &key).unwrap();
    assert_eq!(unwrap_under_root(&root, &tenant_label, &wrapped).unwrap(), key);
    std::fs::remove_file(home.path().join("root.key")).unwrap();
    assert!(unwrap_under_root(&root, &tenant_label, &wrapped).is_err());
    assert!(wrap_under_root(&root, &tenant_label, &key).is_err());
}

#[test]
fn a_label_with_the_right_root_but_another_context_is_refused() {
    let home = private();
    let root = root(home.path(), 6);
    let key = SecretKey::random(&SeededRng::new(7));
    let wrapped = wrap_under_root(&root, &label(KeyKind::Tenant, 1), &key).unwrap();
    for other in [label(KeyKind::Tenant, 2), label(KeyKind::Control, 1)] {
        assert!(unwrap_under_root(&root, &other, &wrapped).is_err());
    }
}

#[test]
fn no_error_shows_a_key_or_a_text() {
    let rng = SeededRng::new(8);
    let (patient, other, locator_key) =
        (SecretKey::random(&rng), SecretKey::random(&rng), SecretKey::random(&rng));
    let tenant = TenantId::default_tenant();
    let row = row_id(&other, "Patient", "a");
    let name = RecordName { tenant: &tenant, row, version: Version(1) };
    let key = RecordKey { handle: KeyHandle([1; 16]), version: 1, key: &patient };
    let blob = seal_record(
        &name,
        &key,
        &locator_key,
        Text::plain(b"header"),
        &[(17, Text::plain(TEXT))],
        &rng,
    )
    .unwrap();
    let locator = locate(&blob, &name, &locator_key).unwrap();
    let record = unlock_record(blob.clone(), &name, &locator, &patient).unwrap();
    let wrapped = wrap(&patient, &label(KeyKind::Patient, 1), &other, &rng);
    let errors = [
        locate(&blob, &name, &other).unwrap_err(),
        unlock_record(blob.clone(), &name, &locator, &other).unwrap_err(),
        record.open(99).unwrap_err(),
        unwrap(&patient, &label(KeyKind::Patient, 2), &wrapped).unwrap_err(),
        SecretKey::from_bytes(TEXT).unwrap_err(),
    ];
    let secrets = [
        hex::encode(patient.expose()),
        hex::encode(other.expose()),
        hex::encode(locator_key.expose()),
        row.to_string(),
        "Aldner".to_owned(),
        format!("{:?}", TEXT),
        format!("{:?}", patient.expose()),
    ];
    for error in errors {
        let shown = format!("{error} {error:?}");
        assert!(secrets.iter().all(|s| !shown.contains(s.as_str())), "{shown}");
    }
}
