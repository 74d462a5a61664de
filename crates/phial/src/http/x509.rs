//! The little of a certificate that is used here: from when until when it holds, whose it
//! is, and for which names (RFC 5280, 4.1.2.4 to 4.1.2.6 and 4.2.1.6).
//!
//! It reads local files of the operator's own, and what clients show. It decides nothing
//! about trust: that is for rustls and for clients.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use phial_identity::oauth::{Called, Dn};

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
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17, subjectAltName.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// The parts of a certificate that are read.
struct Parts<'a> {
    validity: Der<'a>,
    subject: Der<'a>,
    /// Names beside the subject, by their tag.
    alternatives: Vec<(u8, &'a [u8])>,
}

fn parts(der: &[u8]) -> Option<Parts<'_>> {
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
    let validity = tbs.expect(SEQUENCE)?;
    let subject = tbs.expect(SEQUENCE)?;
    let _key = tbs.expect(SEQUENCE)?;
    let mut alternatives = Vec::new();
    while let Some((tag, value)) = tbs.element() {
        if tag == EXTENSIONS {
            let mut all = Der(value).expect(SEQUENCE)?;
            while let Some((_, extension)) = all.element() {
                alternatives.extend(alternative_names(extension));
            }
        }
    }
    Some(Parts { validity, subject, alternatives })
}

/// Reads a certificate in DER; `None` when it has another form.
pub(crate) fn about(der: &[u8]) -> Option<About> {
    let mut parts = parts(der)?;
    let (from, until) = (time(parts.validity.element()?)?, time(parts.validity.element()?)?);
    let name = |(tag, name): &(u8, &[u8])| match tag {
        0x82 => Some(String::from_utf8_lossy(name).into_owned()),
        0x87 => address(name).map(|a| a.to_string()),
        _ => None,
    };
    Some(About { from, until, names: parts.alternatives.iter().filter_map(name).collect() })
}

/// Whose it is; nobody's when it has another form.
pub(crate) fn called(der: &[u8]) -> Called {
    let Some(parts) = parts(der) else { return Called::default() };
    let mut called = Called { subject: subject(parts.subject), ..Called::default() };
    for (tag, name) in parts.alternatives {
        let text = || std::str::from_utf8(name).ok().map(str::to_owned);
        match tag {
            0x81 => called.emails.extend(text()),
            0x82 => called.dns.extend(text()),
            0x86 => called.uris.extend(text()),
            0x87 => called.ips.extend(address(name)),
            _ => {}
        }
    }
    called
}

/// A distinguished name, if all of it can be read and it is not empty.
fn subject(mut name: Der<'_>) -> Option<Dn> {
    let mut all = Vec::new();
    while !name.0.is_empty() {
        let mut set = name.expect(SET)?;
        let mut part = Vec::new();
        while !set.0.is_empty() {
            let mut pair = set.expect(SEQUENCE)?;
            let ty = oid(pair.expect(OID)?.0)?;
            part.push((ty, words(pair.element()?)?));
        }
        all.push(part);
    }
    (!all.is_empty()).then(|| Dn::new(all))
}

/// An object identifier in dots.
fn oid(bytes: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number: u64 = 0;
    let mut open = false;
    for byte in bytes {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        open = byte & 0x80 != 0;
        if !open {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
    (!open && !text.is_empty()).then(|| text.join("."))
}

/// The text of one of the kinds that names have.
fn words((tag, value): (u8, &[u8])) -> Option<String> {
    match tag {
        // UTF-8, and kinds that are ASCII.
        0x0c => String::from_utf8(value.to_vec()).ok(),
        0x13 | 0x14 | 0x16 => value.is_ascii().then(|| String::from_utf8(value.to_vec()).ok())?,
        // UTF-16, big-endian.
        0x1e => {
            let (pairs, rest) = value.as_chunks::<2>();
            let all = pairs.iter().map(|p| u16::from_be_bytes(*p)).collect::<Vec<_>>();
            rest.is_empty().then(|| String::from_utf16(&all).ok())?
        }
        _ => None,
    }
}

fn alternative_names(extension: &[u8]) -> Vec<(u8, &[u8])> {
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
    found.extend(std::iter::from_fn(|| names.element()));
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

    #[test]
    fn whose_it_is_is_read_in_the_order_of_the_rfc() {
        let mut p = CertificateParams::new(vec!["feed.example".to_owned()]).unwrap();
        let mut dn = rcgen::DistinguishedName::new();
        dn.push(rcgen::DnType::CountryName, "US");
        dn.push(rcgen::DnType::OrganizationName, "Clinic, Inc.");
        dn.push(rcgen::DnType::CommonName, "feed");
        p.distinguished_name = dn;
        p.subject_alt_names.extend([
            SanType::IpAddress(IpAddr::from([10, 0, 0, 7])),
            SanType::URI("urn:feed".try_into().unwrap()),
            SanType::Rfc822Name("feed@clinic.example".try_into().unwrap()),
        ]);
        let made = p.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = called(made.der());
        assert_eq!(found.subject, Dn::parse("CN=feed,O=Clinic\\, Inc.,C=US"));
        assert_eq!(
            (&*found.dns, &*found.uris),
            (&["feed.example".into()][..], &["urn:feed".into()][..])
        );
        assert_eq!(found.ips, [IpAddr::from([10, 0, 0, 7])]);
        assert_eq!(found.emails, ["feed@clinic.example"]);
        assert_eq!(called(b"nonsense"), Called::default());
        assert_eq!(
            oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]).unwrap(),
            "1.2.840.113549.1.9.1"
        );
        assert_eq!((oid(&[]), oid(&[0x2a, 0x86])), (None, None));
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
            let _ = called(&der);
        }
    }
}
