//! Whose certificate it is, as a client is registered with it (RFC 8705 section 2.1.2): a
//! distinguished name (RFC 4514), or a name beside it. One certificate, one name.
//!
//! Names are compared attribute by attribute and letter by letter, in their order; `CN` and
//! `2.5.4.3` are the same. It refuses to compare what it could not read whole.

use serde::{Deserialize, Serialize};

/// Attribute types that have a short name (RFC 4514 section 3, and those that are common).
const SHORT: [(&str, &str); 12] = [
    ("CN", "2.5.4.3"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
];

/// A distinguished name: relative names as RFC 4514 writes them, the most particular one
/// first; in each, attribute types (dotted) and values, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dn(Vec<Vec<(String, String)>>);

impl Dn {
    /// The name of these parts, in the order in which a certificate has them.
    #[must_use]
    pub fn new(mut parts: Vec<Vec<(String, String)>>) -> Self {
        for part in &mut parts {
            part.sort();
        }
        parts.reverse();
        Dn(parts)
    }

    /// Reads `CN=feed,OU=Laboratory,O=Clinic`. `None` for what has another form, and for
    /// values in hexadecimal (`#...`), which nobody writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut rest = text;
        loop {
            let (ty, after) = rest.split_once('=')?;
            let ty = ty.trim().to_ascii_uppercase();
            let oid = match SHORT.iter().find(|(short, _)| *short == ty) {
                Some((_, oid)) => (*oid).to_owned(),
                None if is_oid(&ty) => ty,
                None => return None,
            };
            let (value, end) = value(after)?;
            part.push((oid, value));
            match end.chars().next() {
                None => {
                    part.sort();
                    parts.push(part);
                    return Some(Dn(parts));
                }
                Some('+') => {}
                _ => {
                    part.sort();
                    parts.push(std::mem::take(&mut part));
                }
            }
            rest = end.get(1..)?;
        }
    }
}

fn is_oid(text: &str) -> bool {
    text.split('.').count() > 2
        && text.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A value without its escapes, and what begins with the character that ends it.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches(' ');
    if text.starts_with('#') {
        return None;
    }
    let mut out: Vec<u8> = Vec::new();
    // What is escaped stays at the end; blanks that are not don't.
    let mut keep = 0;
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, next) = chars.next()?;
                if next.is_ascii_hexdigit() {
                    let (_, second) = chars.next()?;
                    let pair: String = [next, second].iter().collect();
                    out.push(u8::from_str_radix(&pair, 16).ok()?);
                } else if ",+\"\\<>;=# ".contains(next) {
                    out.push(u8::try_from(next).ok()?);
                } else {
                    return None;
                }
                keep = out.len();
            }
            ',' | '+' => {
                end = at;
                break;
            }
            '"' | '<' | '>' | ';' | '\0' => return None,
            c => {
                let mut buffer = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                if c != ' ' {
                    keep = out.len();
                }
            }
        }
    }
    out.truncate(keep);
    let value = String::from_utf8(out).ok().filter(|v| !v.is_empty())?;
    Some((value, text.get(end..)?))
}

/// What a client's certificate is known by. The words are those of RFC 8705 without
/// `tls_client_auth_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum CertificateName {
    /// The subject's distinguished name.
    SubjectDn(String),
    /// A DNS name beside it.
    SanDns(String),
    /// A URI beside it.
    SanUri(String),
    /// An address beside it.
    SanIp(String),
    /// An e-mail address beside it.
    SanEmail(String),
}

/// What a certificate that a CA vouches for is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The subject; `None` when it can't be read whole.
    pub subject: Option<Dn>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// Addresses.
    pub ips: Vec<std::net::IpAddr>,
    /// E-mail addresses.
    pub emails: Vec<String>,
}

impl CertificateName {
    /// Reads `subject_dn=CN=feed,O=Clinic`, `san_dns=feed.example` and their like.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a certificate's name is subject_dn=..., san_dns=..., san_uri=..., \
                            san_ip=... or san_email=...";
        let (kind, value) = text.split_once('=').ok_or(FORM)?;
        let value = value.to_owned();
        let name = match kind {
            "subject_dn" => CertificateName::SubjectDn(value),
            "san_dns" => CertificateName::SanDns(value),
            "san_uri" => CertificateName::SanUri(value),
            "san_ip" => CertificateName::SanIp(value),
            "san_email" => CertificateName::SanEmail(value),
            _ => return Err(FORM),
        };
        name.check().map(|()| name)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let plain = |v: &str| {
            (1..=512).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic() && b != b'*')
        };
        match self {
            CertificateName::SubjectDn(text) if Dn::parse(text).is_none() => {
                Err("a distinguished name is written as in RFC 4514: CN=feed,O=Clinic")
            }
            CertificateName::SubjectDn(_) => Ok(()),
            CertificateName::SanIp(text) if text.parse::<std::net::IpAddr>().is_err() => {
                Err("this is no address")
            }
            CertificateName::SanDns(v)
            | CertificateName::SanUri(v)
            | CertificateName::SanEmail(v)
                if !plain(v) =>
            {
                Err("a name beside the subject is plain text without a wildcard")
            }
            _ => Ok(()),
        }
    }

    /// Whether a certificate is called so.
    #[must_use]
    pub fn is(&self, called: &Called) -> bool {
        match self {
            CertificateName::SubjectDn(text) => {
                let ours = Dn::parse(text);
                ours.is_some() && ours == called.subject
            }
            CertificateName::SanDns(v) => called.dns.iter().any(|n| n.eq_ignore_ascii_case(v)),
            CertificateName::SanUri(v) => called.uris.iter().any(|n| n == v),
            CertificateName::SanIp(v) => {
                v.parse::<std::net::IpAddr>().is_ok_and(|v| called.ips.contains(&v))
            }
            CertificateName::SanEmail(v) => called.emails.iter().any(|n| n == v),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dn(parts: &[&[(&str, &str)]]) -> Dn {
        let part = |p: &&[(&str, &str)]| {
            p.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        Dn::new(parts.iter().map(part).collect())
    }

    #[test]
    fn a_name_is_read_as_rfc_4514_writes_it() {
        let plain = dn(&[&[("2.5.4.6", "US")], &[("2.5.4.10", "Clinic")], &[("2.5.4.3", "feed")]]);
        for text in [
            "CN=feed,O=Clinic,C=US",
            "cn = feed , o= Clinic ,2.5.4.6=US",
            "2.5.4.3=feed,O=Clinic,C=US",
        ] {
            assert_eq!(Dn::parse(text), Some(plain.clone()), "{text}");
        }
        // Another order is another name, as is another letter.
        for text in ["O=Clinic,CN=feed,C=US", "CN=Feed,O=Clinic,C=US", "CN=feed,O=Clinic"] {
            assert_ne!(Dn::parse(text), Some(plain.clone()), "{text}");
        }
        // RFC 4514, section 4.
        let several = dn(&[&[("2.5.4.11", "Sales"), ("2.5.4.3", "J.  Smith")]]);
        assert_eq!(Dn::parse("OU=Sales+CN=J.  Smith"), Some(several));
        let comma = dn(&[&[("2.5.4.3", "James \"Jim\" Smith, III")]]);
        assert_eq!(Dn::parse("CN=James \\\"Jim\\\" Smith\\, III"), Some(comma));
        let accent = dn(&[&[("2.5.4.3", "Lu\u{10d}i\u{107}")]]);
        assert_eq!(Dn::parse("CN=Lu\\C4\\8Di\\C4\\87"), Some(accent));
        let blank = dn(&[&[("2.5.4.3", "a ")]]);
        assert_eq!(Dn::parse("CN=a\\ "), Some(blank));
        for bad in
            ["", "feed", "CN=", "CN=a,", "CN=#0401", "XX=a", "CN=a;O=b", "CN=a\\", "CN=a\\zz"]
        {
            assert_eq!(Dn::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_known_by_the_one_name_that_is_registered() {
        let called = Called {
            subject: Dn::parse("CN=feed,O=Clinic"),
            dns: vec!["feed.example".to_owned()],
            uris: vec!["urn:feed".to_owned()],
            ips: vec!["10.0.0.7".parse().unwrap()],
            emails: vec!["feed@clinic.example".to_owned()],
        };
        for (text, good) in [
            ("subject_dn=CN=feed,O=Clinic", true),
            ("subject_dn=CN=feed,O=Other", false),
            ("subject_dn=CN=feed", false),
            ("san_dns=FEED.example", true),
            ("san_dns=example", false),
            ("san_uri=urn:feed", true),
            ("san_uri=urn:Feed", false),
            ("san_ip=10.0.0.7", true),
            ("san_ip=10.0.0.8", false),
            ("san_email=feed@clinic.example", true),
            ("san_email=other@clinic.example", false),
        ] {
            assert_eq!(CertificateName::parse(text).unwrap().is(&called), good, "{text}");
        }
        let unread = Called::default();
        assert!(!CertificateName::parse("subject_dn=CN=feed").unwrap().is(&unread));
        for bad in
            ["feed", "cn=feed", "subject_dn=feed", "san_ip=x", "san_dns=*.example", "san_uri="]
        {
            assert!(CertificateName::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_read_or_refused(text in ".{0,60}") {
            let _ = Dn::parse(&text);
            let _ = CertificateName::parse(&text);
        }

        #[test]
        fn a_value_that_is_escaped_is_read_back(value in "[ -~]{1,30}") {
            let escaped: String = value.bytes().map(|b| format!("\\{b:02x}")).collect();
            let read = Dn::parse(&format!("CN={escaped}"));
            prop_assert_eq!(read, Some(dn(&[&[("2.5.4.3", &value)]])));
        }
    }
}
