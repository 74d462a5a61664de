//! One-time codes by time: RFC 6238 over RFC 4226, as every authenticator app knows them:
//! SHA-1, six digits, thirty seconds.
//!
//! It owns codes and how an app is told the secret. It refuses a code whose step was used
//! before, which is the caller's to remember: [`accepts`] names the step.

use jiff::Timestamp;
use phial_crypto::{constant_time_eq, hmac_sha1};
use zeroize::Zeroizing;

/// Seconds of a step.
const STEP: i64 = 30;
/// Steps before and after now whose codes are taken: clocks differ.
const WINDOW: i64 = 1;
/// Bytes of a secret: the length of the hash (RFC 4226 §4, R6).
pub const SECRET: usize = 20;

/// The code of a step.
fn code(secret: &[u8], step: i64) -> u32 {
    let mac = hmac_sha1(secret, &step.to_be_bytes());
    let at = usize::from(mac.last().copied().unwrap_or(0) & 0x0f);
    let four = mac.get(at..at + 4).and_then(|s| <[u8; 4]>::try_from(s).ok()).unwrap_or_default();
    (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000
}

/// The step whose code this is, near now; `None` when it is no such code. All steps of
/// the window are looked at, whichever fits.
#[must_use]
pub fn accepts(secret: &[u8], typed: &str, now: Timestamp) -> Option<i64> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let current = now.as_second().div_euclid(STEP);
    let mut found = None;
    for step in current - WINDOW..=current + WINDOW {
        let expected = Zeroizing::new(format!("{:06}", code(secret, step)));
        if constant_time_eq(expected.as_bytes(), digits.as_bytes()) {
            found = Some(step);
        }
    }
    found
}

/// Base32 (RFC 4648 §6) without padding, in groups of four for people who type it.
#[must_use]
pub fn spoken(secret: &[u8]) -> Zeroizing<String> {
    let plain = base32(secret);
    let mut out = Zeroizing::new(String::with_capacity(plain.len() * 5 / 4 + 1));
    for (i, c) in plain.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Base32 (RFC 4648 §6) without padding.
#[must_use]
pub fn base32(bytes: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = Zeroizing::new(String::with_capacity(bytes.len() * 8 / 5 + 1));
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xffff;
        count += 8;
        while count >= 5 {
            count -= 5;
            let index = usize::try_from(bits >> count & 31).unwrap_or(0);
            out.push(ALPHABET.get(index).copied().map_or('A', char::from));
        }
    }
    if count > 0 {
        let index = usize::try_from(bits << (5 - count) & 31).unwrap_or(0);
        out.push(ALPHABET.get(index).copied().map_or('A', char::from));
    }
    out
}

/// What an app scans: the `otpauth` address.
#[must_use]
pub fn address(secret: &[u8], issuer: &str, account: &str) -> Zeroizing<String> {
    let plain = |text: &str| -> String {
        // `@` may stand as it is; all else that names may have may, too.
        text.chars().filter(|c| c.is_ascii_alphanumeric() || "-._@".contains(*c)).collect()
    };
    let (issuer, account) = (plain(issuer), plain(account));
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}",
        base32(secret).as_str()
    ))
}

/// A QR code (ISO/IEC 18004) of `text` as squares: rows of dark and light.
#[must_use]
pub fn squares(text: &str) -> Vec<Vec<bool>> {
    let Ok(code) = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Medium) else {
        return Vec::new();
    };
    (0..code.size()).map(|y| (0..code.size()).map(|x| code.get_module(x, y)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfcs() {
        // RFC 4226, appendix D.
        let secret = b"12345678901234567890";
        let expected = [
            755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871,
            520_489,
        ];
        for (step, expected) in (0..).zip(expected) {
            assert_eq!(code(secret, step), expected);
        }
        // RFC 6238, appendix B: eight digits there, the last six here.
        for (second, expected) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_234_567_890, 5_924),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(code(secret, second / 30), expected);
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_its_neighbours() {
        let secret = [9u8; SECRET];
        let at = |s| Timestamp::from_second(s).unwrap();
        let typed = format!("{:06}", code(&secret, 100));
        for (second, good) in
            [(2969, false), (2970, true), (3000, true), (3059, true), (3060, false)]
        {
            assert_eq!(accepts(&secret, &typed, at(second)).is_some(), good, "{second}");
        }
        assert_eq!(accepts(&secret, &typed, at(3000)), Some(100));
        let (head, tail) = typed.split_at(3);
        let spaced = format!(" {head} {tail} ");
        assert_eq!(accepts(&secret, &spaced, at(3000)), Some(100));
        for bad in ["", "12345", "1234567", "abcdef"] {
            assert_eq!(accepts(&secret, bad, at(3000)), None);
        }
    }

    #[test]
    fn base32_is_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()).as_str(), text);
        }
        assert_eq!(spoken(b"fooba").as_str(), "MZXW 6YTB");
    }

    #[test]
    fn an_app_is_told_secret_and_names() {
        let address = address(b"foobar", "Phial", "dr.ana@clinic");
        assert_eq!(
            address.as_str(),
            "otpauth://totp/Phial:dr.ana@clinic?secret=MZXW6YTBOI&issuer=Phial"
        );
        let squares = squares(&address);
        assert!(squares.len() >= 21 && squares.iter().all(|row| row.len() == squares.len()));
    }
}
