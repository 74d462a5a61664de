//! The canary scanner: each way of writing is found, and sealed bytes are not.

use std::path::Path;

use base64::Engine as _;
use phial_base::{Rng, SeededRng};
use phial_testkit::canary::{Encoding, Report, Scanner};

const NEEDLES: [&str; 4] =
    ["Quintanilla-Oyelaran", "742 Evergreen Terrace", "999-41-6172", "Åsa Björk"];

fn scan(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    Scanner::new(&NEEDLES).unwrap().bytes(Path::new("given"), bytes, &mut report);
    report
}

fn finds(bytes: &[u8], needle: usize, encoding: Encoding) -> bool {
    let report = scan(bytes);
    !report.is_clean() && report.hits.iter().any(|h| h.needle == needle && h.encoding == encoding)
}

fn noise(n: usize) -> Vec<u8> {
    let mut b = vec![0u8; n];
    SeededRng::new(n as u64).fill(&mut b);
    b
}

#[test]
fn plain_text_is_found_in_any_case() {
    for (i, needle) in NEEDLES.iter().enumerate() {
        for text in [(*needle).to_owned(), needle.to_lowercase(), needle.to_uppercase()] {
            let mut bytes = noise(5000);
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend(noise(300));
            assert!(finds(&bytes, i, Encoding::Plain), "{i}");
        }
    }
}

#[test]
fn utf_16_is_found_in_both_orders() {
    for (i, needle) in NEEDLES.iter().enumerate() {
        let le: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = needle.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(finds(&le, i, Encoding::Utf16Le));
        assert!(finds(&be, i, Encoding::Utf16Be));
    }
}

#[test]
fn hexadecimal_is_found_in_any_case() {
    for (i, needle) in NEEDLES.iter().enumerate() {
        assert!(finds(hex::encode(needle).as_bytes(), i, Encoding::Hex));
        assert!(finds(hex::encode_upper(needle).as_bytes(), i, Encoding::Hex));
    }
}

#[test]
fn base64_is_found_in_every_alignment_and_alphabet() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    for (i, needle) in NEEDLES.iter().enumerate() {
        for before in ["", "a", "ab", "abc", "\u{fb}\u{ff}>?"] {
            for after in ["", "z", "\u{ff}~?"] {
                let text = format!("{before}{needle}{after}");
                assert!(finds(STANDARD.encode(&text).as_bytes(), i, Encoding::Base64), "{before}");
                assert!(finds(URL_SAFE_NO_PAD.encode(&text).as_bytes(), i, Encoding::Base64));
            }
        }
    }
}

#[test]
fn zstd_frames_are_opened_wherever_they_stand() {
    let plain = format!("{}{}", "some text ".repeat(50), NEEDLES[1]);
    let mut bytes = noise(777);
    bytes.extend(zstd::encode_all(plain.as_bytes(), 3).unwrap());
    bytes.extend(noise(50));
    let report = scan(&bytes);
    assert!(report.hits.iter().any(|h| h.packed && h.needle == 1 && h.offset == 777));
}

#[test]
fn random_bytes_are_clean_even_of_short_needles() {
    let short: Vec<String> = (0..500).map(|i| format!("N{i:03}")).collect();
    let scanner = Scanner::new(&short).unwrap();
    let mut report = Report::default();
    scanner.bytes(Path::new("noise"), &noise(4 << 20), &mut report);
    assert!(report.is_clean(), "{report}");
    let text = short.join(" ");
    scanner.bytes(Path::new("text"), text.as_bytes(), &mut report);
    assert!(!report.is_clean());
}

#[test]
fn a_tree_is_searched_names_included() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    std::fs::write(dir.path().join("a/b/sealed"), noise(9000)).unwrap();
    let scanner = Scanner::new(&NEEDLES).unwrap();
    assert!(scanner.scan(&[dir.path()]).unwrap().is_clean());
    std::fs::write(dir.path().join("a/b/Quintanilla-Oyelaran.json"), b"{}").unwrap();
    assert!(!scanner.scan(&[dir.path()]).unwrap().is_clean());
}

#[test]
fn an_unsealed_database_fails_the_scan() {
    let dir = tempfile::tempdir().unwrap();
    let c = rusqlite::Connection::open(dir.path().join("open.db")).unwrap();
    c.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE patient (name TEXT)").unwrap();
    c.execute("INSERT INTO patient VALUES (?)", [NEEDLES[0]]).unwrap();
    let report = Scanner::new(&NEEDLES).unwrap().scan(&[dir.path()]).unwrap();
    assert!(!report.is_clean());
    assert!(!report.to_string().contains(NEEDLES[0]), "the report must not repeat the needle");
}

#[test]
fn a_needle_too_short_to_mean_anything_is_refused() {
    assert!(Scanner::new(&["abc"]).is_err());
}

#[test]
fn gzip_members_are_opened_wherever_they_stand() {
    use std::io::Write as _;
    let plain = format!("{}{}", "some text ".repeat(50), NEEDLES[1]);
    let mut member = flate2::write::GzEncoder::new(noise(777), flate2::Compression::best());
    member.write_all(plain.as_bytes()).unwrap();
    let mut bytes = member.finish().unwrap();
    bytes.extend(noise(50));
    let report = scan(&bytes);
    assert!(report.hits.iter().any(|h| h.packed && h.needle == 1 && h.offset == 777));
}
