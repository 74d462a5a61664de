//! The frozen bytes of format 1, and what a store of blobs must not show.

use phial_base::SeededRng;

use super::*;

fn held(n: u8) -> Arc<HeldKey> {
    let key = SecretKey::from_bytes(&[n; 32]).unwrap();
    Arc::new(HeldKey { handle: KeyHandle([0x22; 16]), version: 3, key })
}

fn locator() -> SecretKey {
    SecretKey::from_bytes(&[2; 32]).unwrap()
}

fn store(dir: &std::path::Path, tenant: &str) -> Blobs {
    Blobs::of(&TenantId::new(tenant).unwrap(), dir.join("blobs"), None)
}

fn put(blobs: &Blobs, text: &[u8], seed: u64) -> Staged {
    let mut incoming = blobs.receive(&locator(), &held(1), &SeededRng::new(seed)).unwrap();
    for piece in text.chunks(7777) {
        incoming.write(piece).unwrap();
    }
    incoming.finish().unwrap()
}

fn open(blobs: &Blobs, blob: &BlobRef, key: u8) -> Result<Option<OpenBlob>, Error> {
    blobs.open(blob, &locator(), |_| Ok(Some(held(key))))
}

#[test]
fn a_blob_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path(), "clinic-7");
    let staged = put(&blobs, b"hello", 9);
    staged.publish().unwrap();
    // These bytes were also made by a second implementation, from the description alone.
    let name = "7b9999cfff29df5798f8843dcbd07472";
    assert_eq!(hex::encode(staged.blob().name.0), name);
    let bytes =
        std::fs::read(dir.path().join("blobs").join(name.get(..2).unwrap()).join(name)).unwrap();
    assert_eq!(bytes.len(), 4247);
    assert_eq!(
        hex::encode(&bytes[..HEAD]),
        "01016c765e1499fb09727bcfe297c52ca6327cced93bf30736a8a60962dd4df3b6d7f5ea3fe1c6b31c3cc3fdaf52e7ba9035e7ef57d91a30e035cf454c64"
    );
    let hash = "fd88b08936373d7cc8c8ea9c329d9d9e4dde857852fe30790ae8155ce6b06693";
    assert_eq!(hex::encode(phial_crypto::sha256(&bytes)), hash);
    assert_eq!(hex::encode(staged.hash()), hash);
    let opened = open(&blobs, staged.blob(), 1).unwrap().unwrap();
    assert_eq!(&**opened.text(0, u64::MAX).unwrap(), b"hello");
    assert_eq!(hex::encode(staged.blob().sha1), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
}

#[test]
fn a_blob_is_not_there_before_it_has_its_name_and_goes_when_it_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path(), "clinic-7");
    let staged = put(&blobs, b"text", 1);
    let name = staged.blob().name;
    assert!(blobs.names().unwrap().is_empty());
    assert!(matches!(open(&blobs, staged.blob(), 1), Err(Error::Unavailable(_))));
    drop(staged);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/new")).unwrap().count(), 0);
    // One whose process ended is swept.
    std::mem::forget(put(&blobs, b"text", 2));
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/new")).unwrap().count(), 1);
    blobs.sweep().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/new")).unwrap().count(), 0);
    // What is not there can be deleted, as often as one likes.
    blobs.remove(&[name, name]).unwrap();
    let staged = put(&blobs, b"text", 3);
    staged.publish().unwrap();
    drop(staged);
    assert_eq!(blobs.names().unwrap().len(), 1, "one that has its name stays");
}

#[test]
fn text_is_read_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path(), "clinic-7");
    let text: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ n >> 9) as u8).collect();
    let staged = put(&blobs, &text, 4);
    staged.publish().unwrap();
    let opened = open(&blobs, staged.blob(), 1).unwrap().unwrap();
    assert_eq!(opened.text_len(), 3_000_000);
    for (at, end) in
        [(0, 1), (0, 3_000_000), (65_535, 65_537), (1_048_575, 1_048_580), (2_999_999, u64::MAX)]
    {
        let got = opened.text(at, end).unwrap();
        let from = usize::try_from(at).unwrap();
        assert!(!got.is_empty() && got.len() <= 1 << 20 && text[from..].starts_with(&got), "{at}");
        assert!(at + got.len() as u64 <= end, "{at}");
    }
    assert!(opened.text(3_000_000, u64::MAX).unwrap().is_empty());
    assert!(opened.text(7, 7).unwrap().is_empty());
}

#[test]
fn another_key_tenant_or_name_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path(), "clinic-7");
    let (a, b) = (put(&blobs, b"one text", 5), put(&blobs, b"another.", 6));
    a.publish().unwrap();
    b.publish().unwrap();
    assert!(open(&blobs, a.blob(), 1).unwrap().is_some());
    assert!(open(&blobs, a.blob(), 9).is_err(), "another key");
    assert!(open(&store(dir.path(), "clinic-8"), a.blob(), 1).is_err(), "another tenant");
    let wrong = BlobRef { len: 9, ..*a.blob() };
    assert!(open(&blobs, &wrong, 1).is_err(), "another length than its record says");
    let none = blobs.open(a.blob(), &locator(), |_| Ok(None)).unwrap();
    assert!(none.is_none(), "a key that was destroyed");
    let path = |s: &Staged| {
        let name = hex::encode(s.blob().name.0);
        dir.path().join("blobs").join(name.get(..2).unwrap()).join(name)
    };
    std::fs::copy(path(&b), path(&a)).unwrap();
    assert!(open(&blobs, a.blob(), 1).is_err(), "another blob under its name");
    let under = |h: u8| blobs.under(&[KeyHandle([h; 16])].into(), &locator()).unwrap();
    assert_eq!(under(0x22), [b.blob().name], "what lies under a wrong name is under no key");
    assert!(under(0x23).is_empty());
}
