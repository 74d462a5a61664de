//! The little of a certificate that an operator must know: from when until when it
//! holds, and for which names (RFC 5280, 4.1.2.5 and 4.2.1.6).
//!
//! It reads local files of the operator's own. It decides nothing about trust: that is
//! for rustls and for clients.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// From when it holds.
    pub(crate) from: Timestamp,
    /// Until when it holds.
    pub(crate) until: Timestamp,
    /// DNS names and addresses that it stands for.
    pub(crate) names: Vec<String>,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// Reads a certificate in DER; `None` when it has another form.
pub(crate) fn about(der: &[u8]) -> Option<About> {
    let certificate = Der(der).expect(SEQUENCE)?.0;
    let mut tbs = Der(certificate).expect(SEQUENCE)?;
    let (mut tag, mut value) = tbs.element()?;
    if tag == 0xa0 {
        // The version; then the serial number.
        (tag, value) = tbs.element()?;
    }
    let _serial = (tag == 0x02).then_some(value)?;
    let _algorithm = tbs.expect(SEQUENCE)?;
    let _issuer = tbs.expect(SEQUENCE)?;
    let mut validity = tbs.expect(SEQUENCE)?;
    let (from, until) = (time(validity.element()?)?, time(validity.element()?)?);
    let _subject = tbs.expect(SEQUENCE)?;
    let _key = tbs.expect(SEQUENCE)?;
    let mut names = Vec::new();
    while let Some((tag, value)) = tbs.element() {
        if tag == EXTENSIONS {
            let mut all = Der(value).expect(SEQUENCE)?;
            while let Some((_, extension)) = all.element() {
                names.extend(alternative_names(extension));
            }
        }
    }
    Some(About { from, until, names })
}

fn alternative_names(extension: &[u8]) -> Vec<String> {
    let mut parts = Der(extension);
    let mut found = Vec::new();
    if parts.element().is_none_or(|(_, oid)| oid != SUBJECT_ALT_NAME) {
        return found;
    }
    // Perhaps a flag "critical" stands before the value.
    let Some((_, value)) = std::iter::from_fn(|| parts.element()).find(|(tag, _)| *tag == 0x04)
    else {
        return found;
    };
    let Some(mut names) = Der(value).expect(SEQUENCE) else { return found };
    while let Some((tag, name)) = names.element() {
        match tag {
            0x82 => found.push(String::from_utf8_lossy(name).into_owned()),
            0x87 => found.extend(address(name).map(|a| a.to_string())),
            _ => {}
        }
    }
    found
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// `YYMMDDHHMMSSZ`, where years below 50 are of this century, or `YYYYMMDDHHMMSSZ`.
fn time((tag, value): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let text = match tag {
        UTC_TIME => {
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0usize, |n, b| (n << 8) | usize::from(*b));
                (length, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The content of the next element, which has this tag.
    fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        self.element().filter(|(found, _)| *found == tag).map(|(_, value)| Der(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(from: i64, until: i64) -> Vec<u8> {
        let mut p = CertificateParams::new(vec!["phial.example".to_owned()]).unwrap();
        p.subject_alt_names.push(SanType::IpAddress(IpAddr::from([10, 0, 0, 7])));
        p.not_before = time::OffsetDateTime::from_unix_timestamp(from).unwrap();
        p.not_after = time::OffsetDateTime::from_unix_timestamp(until).unwrap();
        p.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn life_and_names_are_read() {
        // The second ends after 2049, where the form of times changes.
        for (from, until) in [(1_700_000_000, 1_800_000_000), (1_700_000_000, 2_600_000_000)] {
            let found = about(&certificate(from, until)).unwrap();
            assert_eq!(found.from.as_second(), from);
            assert_eq!(found.until.as_second(), until);
            assert_eq!(found.names, ["phial.example", "10.0.0.7"]);
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_none_are_no_certificate(cut in 0usize..400, flip in 0usize..400) {
            let mut der = certificate(1_700_000_000, 1_800_000_000);
            let at = flip % der.len();
            der[at] ^= 0x10;
            der.truncate(cut);
            // It may read or not; it may not fail otherwise.
            let _ = about(&der);
        }
    }
}
