//! Addresses that notifications may go to: `https` URLs of one strict form, read here
//! once and written back in one way, so that no two readers of a URL disagree about
//! whom it names.
//!
//! It refuses everything that RFC 3986 allows and an endpoint does not need: user
//! names, queries, fragments, escapes, dot segments. A URL carries no PHI, and there is
//! no place in it to carry any.

use std::fmt;

/// The longest address, bytes.
const LONGEST: usize = 512;

/// An `https` URL without query, in canonical form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Reads an address. `None` when it has not the form
    /// `https://HOST[:PORT][/PATH]` with a path of unreserved characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let rest = text.strip_prefix("https://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => (rest.get(..at)?, rest.get(at..)?),
            None => (rest, "/"),
        };
        let (host, port) = host_and_port(authority)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let segments = path.strip_prefix('/')?.split('/');
        let last = segments.clone().count();
        for (n, segment) in segments.enumerate() {
            let empty = segment.is_empty() && n + 1 < last;
            if empty || !segment.bytes().all(plain) || matches!(segment, "." | "..") {
                return None;
            }
        }
        Some(Endpoint { host, port, path: path.to_owned() })
    }

    /// The host, and the port when it is not 443: what the allow-list holds.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether the allow-list names this host and port.
    #[must_use]
    pub fn is_among(&self, allowed: &[String]) -> bool {
        allowed.iter().any(|a| {
            host_and_port(a).is_some_and(|(host, port)| host == self.host && port == self.port)
        })
    }

    /// Whether `other` is this address or lies below it.
    #[must_use]
    pub fn covers(&self, other: &Endpoint) -> bool {
        self.host == other.host
            && self.port == other.port
            && other
                .path
                .strip_prefix(self.path.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

/// Whether the text is `HOST` or `HOST:PORT`, as the allow-list holds them.
#[must_use]
pub fn is_host(text: &str) -> bool {
    host_and_port(text).is_some()
}

/// Reads `HOST[:PORT]`: a name of letters, digits, hyphens and dots, or an IPv6 address
/// in brackets. Lower case, port 443 by default.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return None;
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port {
        None => 443,
        Some(p) if p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()) => {
            p.parse().ok().filter(|p| *p > 0)?
        }
        Some(_) => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Endpoint::parse(text).map(|e| e.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn an_address_has_one_form() {
        check("https://ehr.example.org/hook", Some("https://ehr.example.org/hook"));
        check("https://EHR.example.org", Some("https://ehr.example.org/"));
        check("https://ehr.example.org:443/a/b-1_c~", Some("https://ehr.example.org/a/b-1_c~"));
        check("https://127.0.0.1:8444/x", Some("https://127.0.0.1:8444/x"));
        check("https://[::1]:8444/x/", Some("https://[::1]:8444/x/"));
        for bad in [
            "http://ehr.example.org/hook",
            "HTTPS://ehr.example.org/hook",
            "https://",
            "https:///x",
            "https://user@ehr.example.org/",
            "https://user:pw@ehr.example.org/",
            "https://ehr.example.org/hook?patient=1",
            "https://ehr.example.org/hook#x",
            "https://ehr.example.org/a%2fb",
            "https://ehr.example.org/a//b",
            "https://ehr.example.org/a/../b",
            "https://ehr.example.org/./b",
            "https://ehr.example.org\\@other.example/",
            "https://ehr.example.org:0/",
            "https://ehr.example.org:99999/",
            "https://ehr.example.org:/",
            "https://-a.example/",
            "https://a..b/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://ehr.example.org/hook\r\nX: y",
            "https://ehr.example.org/é",
        ] {
            check(bad, None);
        }
        check(&format!("https://a/{}", "x".repeat(600)), None);
    }

    #[test]
    fn a_prefix_ends_between_segments_and_the_allow_list_is_exact() {
        let covers =
            |a: &str, b: &str| Endpoint::parse(a).unwrap().covers(&Endpoint::parse(b).unwrap());
        assert!(covers("https://a.example/x", "https://a.example/x"));
        assert!(covers("https://a.example/x", "https://a.example/x/y"));
        assert!(covers("https://a.example/x/", "https://a.example/x/y"));
        assert!(covers("https://a.example", "https://a.example/x"));
        for (a, b) in [
            ("https://a.example/x", "https://a.example/xy"),
            ("https://a.example/x/y", "https://a.example/x"),
            ("https://a.example/x", "https://b.example/x"),
            ("https://a.example/x", "https://a.example:444/x"),
            ("https://a.example/x", "https://a.example.b/x"),
        ] {
            assert!(!covers(a, b), "{a} {b}");
        }
        let e = Endpoint::parse("https://a.example:8444/x").unwrap();
        let among = |l: &str| e.is_among(&[l.to_owned()]);
        assert!(among("a.example:8444") && among("A.example:8444"));
        assert!(!among("a.example") && !among("*.example:8444") && !among(""));
    }
}
