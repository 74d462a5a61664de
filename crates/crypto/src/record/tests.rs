//! Attacks on sealed records, and the frozen bytes of suite 2.

use phial_base::{Rng, SeededRng};
use proptest::prelude::*;

use super::*;
use crate::encode::push_u24;
use crate::{Error, MAX_PART_BYTES, Text, pack, sha256};

const ROW: RowId = RowId([0x11; 16]);
const HANDLE: KeyHandle = KeyHandle([0x22; 16]);

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A record with its keys and name, to be sealed and attacked.
struct Case {
    tenant: TenantId,
    row: RowId,
    version: Version,
    handle: KeyHandle,
    key_version: u32,
    key: SecretKey,
    locator_key: SecretKey,
}

fn case() -> Case {
    Case {
        tenant: tenant("clinic-7"),
        row: ROW,
        version: Version(3),
        handle: HANDLE,
        key_version: 2,
        key: key(1),
        locator_key: key(2),
    }
}

impl Case {
    fn name(&self) -> RecordName<'_> {
        RecordName { tenant: &self.tenant, row: self.row, version: self.version }
    }

    fn try_seal(&self, header: &[u8], parts: &[(PartId, &[u8])]) -> Result<Vec<u8>, Error> {
        self.seal_with(header, parts, &SeededRng::new(1))
    }

    fn seal_with(
        &self,
        header: &[u8],
        parts: &[(PartId, &[u8])],
        rng: &SeededRng,
    ) -> Result<Vec<u8>, Error> {
        let key = RecordKey { handle: self.handle, version: self.key_version, key: &self.key };
        let parts: Vec<_> = parts.iter().map(|(n, text)| (*n, Text::plain(text))).collect();
        seal_record(&self.name(), &key, &self.locator_key, Text::plain(header), &parts, rng)
    }

    fn seal(&self, header: &[u8], parts: &[(PartId, &[u8])]) -> Vec<u8> {
        self.try_seal(header, parts).unwrap()
    }

    fn unlock(&self, blob: &[u8]) -> Result<OpenRecord, Error> {
        let locator = locate(blob, &self.name(), &self.locator_key)?;
        unlock_record(blob.to_vec(), &self.name(), &locator, &self.key)
    }

    /// Everything that the record holds, or the first refusal.
    fn open_all(&self, blob: &[u8]) -> Result<Opened, Error> {
        let record = self.unlock(blob)?;
        let parts = record
            .parts()
            .map(|p| Ok((p, record.open(p)?.text().to_vec())))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok((record.header().text().to_vec(), parts))
    }
}

type Opened = (Vec<u8>, Vec<(PartId, Vec<u8>)>);

const NAME: &[u8] = br#""name":[{"family":"Aldner","given":["Celia"]}],"gender":"female""#;
const CODE: &[u8] =
    br#""code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"}]}"#;
/// The smallest size of a blob.
const FIRST: usize = SIZE_BUCKETS[0];
/// Too short to be compressed.
const MIXED: &[u8] = b"q7Zp";

fn vector(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn suite_2_is_frozen() {
    let c = case();
    let blob = c.seal(b"hdr", &[(16, b"12345")]);
    let frozen = vector(include_str!("../../tests/vectors/record-2.hex"));
    assert_eq!(hex::encode(&blob), hex::encode(&frozen));
    assert_eq!(c.open_all(&frozen).unwrap(), (b"hdr".to_vec(), vec![(16, b"12345".to_vec())]));
}

#[test]
fn blocks_and_their_dictionaries_are_frozen() {
    // Only opening is frozen: another zstd may compress to other bytes.
    let c = case();
    let frozen = vector(include_str!("../../tests/vectors/record-2-block.hex"));
    let opened = c.open_all(&frozen);
    let parts = [(16, CODE), (17, NAME), (23, CODE)];
    let fresh = hex::encode(c.seal(NAME, &parts));
    assert_eq!(
        opened.ok(),
        Some((NAME.to_vec(), parts.iter().map(|(n, t)| (*n, t.to_vec())).collect())),
        "dictionaries are part of the format and one was changed. Before any data exists the \
         vector may be replaced by {fresh}",
    );
    let sums: Vec<String> = crate::DICTIONARIES.iter().map(|d| hex::encode(sha256(d))).collect();
    assert_eq!(
        sums.join("\n"),
        include_str!("../../tests/vectors/dictionaries.sha256").trim(),
        "a dictionary is part of the format and was changed",
    );
}

#[test]
fn the_layout_is_the_documented_one() {
    let c = case();
    let long = noise(2000);
    let second = bucket(105 + 16 + 27 + 6 + 2001);
    for (parts, size, h, covered) in [
        (&[(16, &b"12345"[..])][..], FIRST, FIRST - 111, 6),
        (&[(17, &long), (16, b"12345")], second, second - 105 - 6 - 2001, 6),
    ] {
        let blob = c.seal(b"hdr", parts);
        assert_eq!(blob.len(), size);
        assert_eq!(blob[0], 2);
        let mut salt = [0u8; 32];
        SeededRng::new(1).fill(&mut salt);
        assert_eq!(blob[1..33], salt);

        // Locator, by hand.
        let info: [&[u8]; 4] = [b"phial locator\x02", &[0x11; 16], &[0, 0, 0, 3], &salt];
        let locator_key = key_from(&key(2), &info);
        let mut aad = Vec::new();
        for item in [&[2][..], b"clinic-7", &[0x11; 16], &[0, 0, 0, 3]] {
            push_item(&mut aad, item);
        }
        let locator = opened(&locator_key, &aad, &blob[65..89], &blob[89..105]);
        assert_eq!(locator[..16], [0x22; 16]);
        assert_eq!(locator[16..19], [0, 0, 2]);
        assert_eq!(locator[19..22], u32::try_from(h).unwrap().to_be_bytes()[1..]);
        assert_eq!(locator[22..], u16::try_from(covered).unwrap().to_be_bytes());

        // Keys, by hand.
        let mut both = [0u8; 64];
        aead::hkdf(&salt, &[1; 32], &[b"phial record\x02", &[0, 0, 0, 3]], &mut both);
        assert_eq!(blob[33..65], both[..32]);
        let record_key = SecretKey::from_bytes(&both[32..]).unwrap();
        let part_key = |part: u8| {
            let mut out = [0u8; 32];
            let info: [&[u8]; 3] = [b"phial part\x02", &[part], &[0, 0, 0, 3]];
            aead::expand(record_key.expose(), &info, &mut out);
            out
        };
        let part_aad = |part: u8| {
            let mut aad = Vec::new();
            let items: [&[u8]; 7] = [
                &[2],
                b"clinic-7",
                &[0x22; 16],
                &[0, 0, 0, 2],
                &[0x11; 16],
                &[0, 0, 0, 3],
                &[part],
            ];
            for item in items {
                push_item(&mut aad, item);
            }
            aad
        };

        // Head and parts, by hand.
        let rest = &blob[105 + h..];
        let mut head_aad = part_aad(0);
        push_item(&mut head_aad, &rest[..covered]);
        let head_key = aead::Key::new(&part_key(0));
        let head =
            opened(&head_key, &head_aad, &blob[105..105 + h - 16], &blob[105 + h - 16..105 + h]);
        let mut text = rest[..covered].to_vec();
        aead::stream(&part_key(16), &mut text);
        assert_eq!(text, b"\x0012345");
        let end = if parts.len() == 1 {
            assert_eq!(head[..8], [1, 16, 6, 4, 0, b'h', b'd', b'r']);
            8
        } else {
            assert_eq!(head[..4], [2, 17, 0xd1, 0x0f]);
            assert_eq!(head[20..27], [16, 6, 4, 0, b'h', b'd', b'r']);
            let other = opened(
                &aead::Key::new(&part_key(17)),
                &part_aad(17),
                &rest[covered..],
                &head[4..20],
            );
            assert_eq!(other, [&[0], &long[..]].concat());
            27
        };
        assert!(head[end..].iter().all(|b| *b == 0));
        assert_eq!(head.len(), h - 16);
    }
}

fn key_from(key: &SecretKey, info: &[&[u8]]) -> aead::Key {
    aead::Key::expanded(key.expose(), info)
}

fn opened(key: &aead::Key, aad: &[u8], text: &[u8], tag: &[u8]) -> Vec<u8> {
    let mut out = vec![0u8; text.len()];
    assert!(key.open([0; 12], aad, text, tag, &mut out).is_ok());
    out
}

#[test]
fn every_flipped_bit_is_refused() {
    let c = case();
    let blob = c.seal(b"header", &[(1, b""), (16, CODE), (25, &noise(1100)), (26, MIXED)]);
    assert!(c.open_all(&blob).is_ok());
    for bit in 0..blob.len() * 8 {
        let mut bad = blob.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(c.open_all(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let c = case();
    let blob = c.seal(b"header", &[(16, CODE)]);
    for len in 0..blob.len() {
        assert!(c.open_all(&blob[..len]).is_err(), "length {len}");
    }
    for size in SIZE_BUCKETS.iter().filter(|s| **s > blob.len()) {
        for filler in [0, 0xaa] {
            let mut longer = blob.clone();
            longer.resize(*size, filler);
            assert!(c.open_all(&longer).is_err(), "length {size}");
        }
    }
    // Cut to a bucket that is allowed.
    let large = c.seal(b"header", &[(16, &[7; 100]), (17, &noise(1000))]);
    for size in SIZE_BUCKETS.iter().filter(|s| **s < large.len()) {
        assert!(c.open_all(&large[..*size]).is_err(), "length {size}");
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0u8; len];
    SeededRng::new(99).fill(&mut out);
    out
}

#[test]
fn another_tenant_row_version_or_key_is_refused() {
    let blob = case().seal(b"header", &[(16, CODE)]);
    let others = [
        Case { tenant: tenant("clinic-8"), ..case() },
        Case { tenant: tenant("clinic"), ..case() },
        Case { row: RowId([0x12; 16]), ..case() },
        Case { version: Version(2), ..case() },
        Case { version: Version(4), ..case() },
        Case { locator_key: key(9), ..case() },
    ];
    for other in &others {
        let got = locate(&blob, &other.name(), &other.locator_key);
        assert!(matches!(got, Err(Error::Refused("record locator"))));
    }
    // Were the locator known from elsewhere, the head would still refuse.
    let locator = locate(&blob, &case().name(), &case().locator_key).unwrap();
    for other in others.iter().take(5) {
        assert!(unlock_record(blob.clone(), &other.name(), &locator, &case().key).is_err());
    }
    let got = unlock_record(blob.clone(), &case().name(), &locator, &key(9));
    assert!(matches!(got, Err(Error::WrongKey)));
    for bad in [
        Locator { handle: KeyHandle([9; 16]), ..locator },
        Locator { version: 3, ..locator },
        Locator { head: locator.head - 1, ..locator },
        Locator { head: locator.head + 1, ..locator },
        Locator { head: 0, ..locator },
        Locator { head: 15, ..locator },
        Locator { head: u32::MAX, ..locator },
        Locator { covered: locator.covered + 1, ..locator },
        Locator { covered: 0, ..locator },
        Locator { covered: u16::MAX, ..locator },
    ] {
        assert!(unlock_record(blob.clone(), &case().name(), &bad, &case().key).is_err());
    }
}

#[test]
fn a_locator_names_the_key() {
    let locator = locate(&case().seal(b"", &[]), &case().name(), &case().locator_key).unwrap();
    assert_eq!((locator.handle, locator.version), (HANDLE, 2));
}

#[test]
fn swapped_parts_are_refused() {
    let c = case();
    // Covered parts: the head refuses.
    let blob = c.seal(b"h", &[(16, b"abcde"), (17, b"fghij")]);
    let n = blob.len();
    let mut swapped = blob.clone();
    swapped[n - 12..].rotate_left(6);
    assert!(matches!(c.unlock(&swapped), Err(Error::Refused("record head"))));
    // A part of another version of the same record, same key.
    let newer =
        Case { version: Version(4), ..case() }.seal(b"h", &[(16, b"abcde"), (17, b"fghij")]);
    let mut mixed = blob.clone();
    mixed[n - 6..].copy_from_slice(&newer[n - 6..]);
    assert!(matches!(c.unlock(&mixed), Err(Error::Refused("record head"))));
    // Parts with tags of their own: each refuses for itself.
    let (a, b) = (noise(1500), noise(1501));
    let blob = c.seal(b"h", &[(16, &a[..1500]), (17, &b[1..])]);
    let n = blob.len();
    let mut swapped = blob.clone();
    swapped[n - 3002..].rotate_left(1501);
    let record = c.unlock(&swapped).unwrap();
    assert!(matches!(record.open(16), Err(Error::Refused("record part"))));
    assert!(matches!(record.open(17), Err(Error::Refused("record part"))));
}

#[test]
fn parts_of_two_seals_of_one_version_do_not_mix() {
    let c = case();
    let long = noise(1500);
    let seal =
        |seed| c.seal_with(b"h", &[(16, b"same"), (17, &long)], &SeededRng::new(seed)).unwrap();
    let (a, b) = (seal(1), seal(2));
    let n = a.len();
    // Every boundary between fields: salt, commitment, locator, its tag, head, its tag,
    // covered, other.
    for at in [1, 33, 65, 89, 105, n - 1506 - 16, n - 1506, n - 1501] {
        let mut mixed = a.clone();
        mixed[at..].copy_from_slice(&b[at..]);
        // Nothing but the suite stands before the first.
        assert_eq!(c.open_all(&mixed).is_err(), at > 1, "cut at {at}");
    }
}

#[test]
fn one_part_opens_without_the_others() {
    let c = case();
    let notes = noise(1100);
    let mut blob = c.seal(b"h", &[(26, &notes), (16, CODE)]);
    let last = blob.len() - 1;
    blob[last] ^= 1;
    let record = c.unlock(&blob).unwrap();
    assert_eq!(record.open(16).unwrap().text(), CODE);
    assert!(matches!(record.open(26), Err(Error::Refused("record part"))));
    assert!(matches!(record.open(20), Err(Error::NoSuchPart(20))));
    assert!(matches!(record.open(0), Err(Error::NoSuchPart(0))));
}

#[test]
fn each_part_has_a_key_of_its_own() {
    // What is opened with the key of one part says nothing of another.
    let c = case();
    let blob = c.seal(b"h", &[(16, &[0; 5]), (17, &[0; 5])]);
    let n = blob.len();
    assert_ne!(blob[n - 12..n - 6], blob[n - 6..]);
}

/// Seals `head` as it stands, so that a head can be sealed that `seal_record`
/// would never write.
fn seal_head(c: &Case, head: &[u8], rest: &[u8]) -> Vec<u8> {
    let (secrets, commitment) = Secrets::new(&c.name(), c.handle, c.key_version, &c.key, &[5; 32]);
    let mut locator = c.handle.0.to_vec();
    push_u24(&mut locator, usize::try_from(c.key_version).unwrap());
    push_u24(&mut locator, head.len() + aead::TAG);
    locator.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
    let locator_tag = locator_key(&c.locator_key, &c.name(), &[5; 32]).seal(
        aead::ZERO,
        &locator_aad(&c.name()),
        &mut locator,
    );
    let mut head = head.to_vec();
    let tag = secrets.seal(HEAD, &secrets.head_aad(rest), &mut head);
    let fields: [&[u8]; 7] = [&[SUITE], &[5; 32], &commitment, &locator, &locator_tag, &head, &tag];
    let mut blob = fields.concat();
    blob.extend_from_slice(rest);
    blob
}

/// A head for a blob of the smallest size, zero-padded.
fn head(start: &[u8], rest: usize) -> Vec<u8> {
    let mut head = start.to_vec();
    head.resize(FIRST - FIXED - aead::TAG - rest, 0);
    head
}

#[test]
fn a_sealed_head_that_does_not_add_up_is_refused() {
    let c = case();
    let good = head(&[0, 2, 0, b'h'], 0);
    assert_eq!(c.open_all(&seal_head(&c, &good, &[])).unwrap(), (b"h".to_vec(), vec![]));

    let mut padding = good.clone();
    *padding.last_mut().unwrap() = 1;
    let entry = |part: u8, len: u8| [part, len];
    let two = |a: &[u8], b: &[u8]| [&[2], a, b, &[2, 0, b'h']].concat();
    let one = |a: &[u8]| [&[1], a, &[2, 0, b'h']].concat();
    for (why, text, rest) in [
        ("padding that is not zero", padding, 0),
        ("bytes that no part owns", head(&[0, 2, 0, b'h'], 3), 3),
        ("a part beyond the end", head(&one(&entry(16, 9)), 0), 0),
        ("a part longer than what is left", head(&one(&entry(16, 4)), 3), 3),
        ("a part numbered 0", head(&one(&entry(0, 3)), 3), 3),
        ("a part twice", head(&two(&entry(16, 1), &entry(16, 2)), 3), 3),
        ("a cut manifest", vec![1, 16], FIRST - 123),
        ("a cut tag", [&[1, 16, 0x80, 0x08][..], &[7; 15]].concat(), FIRST - 140),
        ("a header beyond the end", head(&[0, 0xff, 0x7f, 0], 0), 0),
        ("an overlong varint", head(&[0, 0x82, 0, 0, b'h'], 0), 0),
        ("no header method", head(&[0, 0], 0), 0),
        ("an unknown header method", head(&[0, 2, 9, b'h'], 0), 0),
        ("nothing", vec![], FIRST - 121),
    ] {
        let blob = seal_head(&c, &text, &vec![0; rest]);
        assert_eq!(blob.len(), FIRST, "{why}");
        assert!(c.unlock(&blob).is_err(), "{why}");
    }
}

#[test]
fn reserved_repeated_and_oversized_parts_are_not_sealed() {
    let c = case();
    assert!(matches!(c.try_seal(b"", &[(0, b"x")]), Err(Error::BadPart(0))));
    assert!(matches!(c.try_seal(b"", &[(16, b"x"), (16, b"y")]), Err(Error::BadPart(16))));
    let rotated = Case { key_version: 1 << 24, ..case() };
    let got = rotated.try_seal(b"", &[]);
    assert!(matches!(got, Err(Error::TooLarge { what: "key version", .. })));
    let large = vec![0u8; MAX_PART_BYTES + 1];
    assert!(matches!(c.try_seal(b"", &[(16, &large)]), Err(Error::TooLarge { what: "part", .. })));
    assert!(matches!(c.try_seal(&large, &[]), Err(Error::TooLarge { what: "header", .. })));
}

#[test]
fn a_record_may_have_every_part_number() {
    let c = case();
    let texts: Vec<(PartId, Vec<u8>)> = (1..=255).map(|n| (n, vec![n; 3])).collect();
    let parts: Vec<(PartId, &[u8])> = texts.iter().map(|(n, t)| (*n, t.as_slice())).collect();
    assert_eq!(c.open_all(&c.seal(b"", &parts)).unwrap(), (vec![], texts.clone()));
    // More than the head can cover.
    let long: Vec<(PartId, Vec<u8>)> =
        texts.into_iter().map(|(n, _)| (n, noise(1000 + usize::from(n) % 30))).collect();
    let parts: Vec<(PartId, &[u8])> = long.iter().map(|(n, t)| (*n, t.as_slice())).collect();
    let blob = c.seal(b"", &parts);
    let locator = locate(&blob, &c.name(), &c.locator_key).unwrap();
    assert!(locator.covered > 64_000);
    assert_eq!(c.open_all(&blob).unwrap(), (vec![], long.clone()));
}

#[test]
fn sizes_fall_into_buckets() {
    assert!(SIZE_BUCKETS.len() <= 8 && SIZE_BUCKETS.is_sorted());
    for (bytes, size) in [
        (0, FIRST),
        (FIRST, FIRST),
        (FIRST + 1, SIZE_BUCKETS[1]),
        (LARGEST_BUCKET, LARGEST_BUCKET),
        (LARGEST_BUCKET + 1, 2 * LARGEST_BUCKET),
        (2 * LARGEST_BUCKET + 1, 3 * LARGEST_BUCKET),
    ] {
        assert_eq!(bucket(bytes), size);
    }
    let c = case();
    // 105 fixed, 16 tag, 1 + 2 manifest, 1 + 1 header, 1 method.
    let overhead = 105 + 16 + 3 + 2 + 1;
    for text in [0, 1, FIRST - overhead - 1, FIRST - overhead, 900, 1023, 40_000] {
        // Two bytes of length from 127 on, three from 16383 on; a tag from 1,023 on.
        let more = match text {
            0..127 => 0,
            127..1023 => 1,
            1023..16383 => 17,
            _ => 18,
        };
        let blob = c.seal(b"", &[(16, &noise(text))]);
        assert_eq!(blob.len(), bucket(overhead + more + text), "{text}");
    }
}

#[test]
fn nothing_but_the_suite_is_visible() {
    // An empty record is mostly padding; the padding must not show.
    let c = case();
    for blob in [
        c.seal(b"", &[]),
        c.seal(&[0; 40], &[(16, &[0; 5000])]),
        c.seal(b"", &[(16, &noise(3000))]),
    ] {
        assert!(!blob.windows(5).any(|w| w.iter().all(|b| *b == w[0])));
        let ones: u32 = blob.iter().map(|b| b.count_ones()).sum();
        let bits = blob.len() as f64 * 8.0;
        // Six standard deviations.
        assert!((f64::from(ones) - bits / 2.0).abs() < 3.0 * bits.sqrt());
        assert!(!blob.windows(16).any(|w| w == ROW.0 || w == HANDLE.0));
    }
}

#[test]
fn two_seals_share_no_bytes_of_key_or_text() {
    let c = case();
    let rng = SeededRng::new(5);
    let seal = || c.seal_with(b"h", &[(16, CODE)], &rng).unwrap();
    let (a, b) = (seal(), seal());
    let same = a.iter().zip(&b).skip(1).filter(|(x, y)| x == y).count();
    // Some hundred bytes, 1 in 256 equal by chance.
    assert!(same < 20, "{same}");
}

#[test]
fn debug_shows_numbers_of_parts_only() {
    let c = case();
    let blob = c.seal(b"header", &[(16, CODE)]);
    let record = c.unlock(&blob).unwrap();
    assert_eq!(format!("{record:?}"), "OpenRecord { parts: [16], .. }");
    assert_eq!(record.blob(), blob);
}

#[test]
fn an_unknown_suite_is_named() {
    let c = case();
    let mut blob = c.seal(b"", &[]);
    blob[0] = 1;
    let got = c.open_all(&blob);
    assert!(matches!(got, Err(Error::UnknownFormat { what: "record", found: 1 })));
}

#[test]
fn a_part_that_unpacks_to_too_much_is_refused() {
    let c = case();
    let mut bomb = vec![2, 0b1110_0000];
    bomb.extend_from_slice(&(1u64 << 40).to_le_bytes());
    bomb.extend_from_slice(&[1, 0, 0]);
    let (secrets, _) = Secrets::new(&c.name(), c.handle, c.key_version, &c.key, &[5; 32]);
    secrets.cover(16, &mut bomb);
    let start = [1, 16, u8::try_from(bomb.len()).unwrap(), 1, 0];
    let blob = seal_head(&c, &head(&start, bomb.len()), &bomb);
    assert!(matches!(c.unlock(&blob).unwrap().open(16), Err(Error::TooLarge { .. })));
}

#[test]
fn large_parts_round_trip_and_refuse_random_flips() {
    let c = case();
    let texts = [noise(70_000), b"abc ".repeat(50_000), CODE.repeat(3)];
    let parts: Vec<(PartId, &[u8])> =
        texts.iter().zip(20..).map(|(t, n)| (n, t.as_slice())).collect();
    let header = NAME.repeat(30);
    let blob = c.seal(&header, &parts);
    let (opened_header, opened) = c.open_all(&blob).unwrap();
    assert_eq!(opened_header, header);
    assert!(opened.iter().zip(&texts).all(|((_, a), b)| a == b));
    // Headers compress too, in their own right.
    assert!(pack::packed_len(None, Text::plain(&header)) < header.len());

    let rng = SeededRng::new(8);
    for _ in 0..60 {
        let mut at = [0u8; 8];
        rng.fill(&mut at);
        let bit = usize::try_from(u64::from_be_bytes(at) % (blob.len() as u64 * 8)).unwrap();
        let mut bad = blob.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(c.open_all(&bad).is_err(), "bit {bit}");
    }
}

fn any_parts() -> impl Strategy<Value = Vec<(PartId, Vec<u8>)>> {
    let text = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        "[a-z\":{}, ]{0,800}".prop_map(String::into_bytes),
    ];
    proptest::collection::btree_map(1u8..=255, text, 0..8)
        .prop_map(|m| m.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_record_round_trips(
        header in proptest::collection::vec(any::<u8>(), 0..600),
        parts in any_parts(),
        version in 1u32..,
        key_version in 0u32..1 << 24,
        row in any::<[u8; 16]>(),
        handle in any::<[u8; 16]>(),
    ) {
        let c = Case {
            row: RowId(row),
            version: Version(version),
            handle: KeyHandle(handle),
            key_version,
            ..case()
        };
        let borrowed: Vec<(PartId, &[u8])> = parts.iter().map(|(n, t)| (*n, t.as_slice())).collect();
        let blob = c.seal(&header, &borrowed);
        prop_assert!(SIZE_BUCKETS.contains(&blob.len()) || blob.len().is_multiple_of(LARGEST_BUCKET));
        prop_assert_eq!(c.open_all(&blob).unwrap(), (header, parts));
    }

    #[test]
    fn any_two_flipped_bits_are_refused(
        parts in any_parts(),
        a in any::<proptest::sample::Index>(),
        b in any::<proptest::sample::Index>(),
    ) {
        let c = case();
        let borrowed: Vec<(PartId, &[u8])> = parts.iter().map(|(n, t)| (*n, t.as_slice())).collect();
        let mut blob = c.seal(b"h", &borrowed);
        let (a, b) = (a.index(blob.len() * 8), b.index(blob.len() * 8));
        prop_assume!(a != b);
        blob[a / 8] ^= 1 << (a % 8);
        blob[b / 8] ^= 1 << (b % 8);
        prop_assert!(c.open_all(&blob).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..700),
        size in proptest::sample::select(SIZE_BUCKETS),
    ) {
        let c = case();
        prop_assert!(c.open_all(&bytes).is_err());
        let mut bytes = bytes;
        bytes.resize(size, 0);
        bytes[0] = SUITE;
        prop_assert!(c.open_all(&bytes).is_err());
    }
}
