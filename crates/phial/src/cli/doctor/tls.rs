//! The certificate: how long it holds, for whom, and who made it.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use phial_store::home::Home;

use super::{Asked, Check, causes, days};
use crate::config::Config;
use crate::http::{Described, OFFERED, describe_certificate};

const CERTIFICATE: Asked = Asked("tls.certificate", "312(e)(1)");
const LIFE: Asked = Asked("tls.life", "312(e)(1)");
const NAMES: Asked = Asked("tls.names", "312(e)(1)");
const ISSUER: Asked = Asked("tls.issuer", "312(e)(1)");
const VERSIONS: Asked = Asked("tls.versions", "312(e)(2)(ii)");

/// Renewal is due when fewer days are left.
const SOON: i64 = 30;

pub(super) fn checks(home: &Home, config: &Config, now: Timestamp) -> Vec<Check> {
    let own = config.tls.certificate.is_some();
    let mut checks = vec![versions(&OFFERED.map(|v| v.version))];
    let read = match own || home.tls().join("server.pem").exists() {
        true => describe_certificate(&config.tls, &home.tls()).map(Some),
        false => Ok(None),
    };
    match read {
        Ok(Some(found)) => {
            checks.push(CERTIFICATE.ok("certificate and key are read, and fit"));
            checks.extend(about(&found, now));
        }
        Ok(None) => {
            let none = "there is none yet: the first start makes one for development";
            checks.push(CERTIFICATE.unknown(none, "name a certificate of your own: [tls]"));
        }
        Err(e) => {
            let todo = "mend it: the server does not start, and a running one keeps what it has";
            checks.push(CERTIFICATE.failure(causes(&e), todo));
        }
    }
    checks.push(issuer(own, &home.tls()));
    checks
}

fn about(found: &Described, now: Timestamp) -> Vec<Check> {
    let Some(about) = &found.about else {
        let todo = "look at it with openssl x509 -text";
        return vec![LIFE.unknown("the certificate has an unusual form", todo)];
    };
    let left = days(now, about.until);
    let until = format!("from {} until {}", about.from, about.until);
    let life = if about.until <= now {
        LIFE.failure(format!("it ended: {until}"), "renew it now: clients refuse it")
    } else if now < about.from {
        LIFE.failure(format!("it does not hold yet: {until}"), "look at the clock, or wait")
    } else if left < SOON {
        LIFE.warning(format!("{left} days left: {until}"), "renew it; it is taken without a stop")
    } else {
        LIFE.ok(format!("{left} days left: {until}"))
    };
    let local =
        |n: &str| n == "localhost" || n.parse().is_ok_and(|a: std::net::IpAddr| a.is_loopback());
    let names = about.names.join(", ");
    let names = if about.names.is_empty() {
        NAMES.failure("it names no host", "have one made with subject alternative names")
    } else if about.names.iter().all(|n| local(n)) {
        NAMES.warning(
            format!("only this machine: {names}"),
            "others can't verify the server: use a certificate with its name",
        )
    } else {
        NAMES.ok(names)
    };
    vec![life, names]
}

fn issuer(own: bool, dir: &Path) -> Check {
    match (own, fs::metadata(dir.join("ca.key")).is_ok()) {
        (true, false) => ISSUER.ok("a certificate of your own"),
        (true, true) => ISSUER.warning(
            "a certificate of your own, and the development CA's key is still in tls/",
            "delete tls/ca.key, and let no client trust tls/ca.pem",
        ),
        (false, _) => ISSUER.warning(
            "the development CA of this home, whose key lies beside it",
            "set tls.certificate and tls.key to your own",
        ),
    }
}

fn versions(offered: &[rustls::ProtocolVersion]) -> Check {
    use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
    let names: Vec<String> = offered.iter().map(|v| format!("{v:?}")).collect();
    let names = names.join(", ");
    if offered.iter().all(|v| [TLSv1_2, TLSv1_3].contains(v)) {
        VERSIONS.ok(format!("offered are {names}; there is no plaintext listener"))
    } else {
        VERSIONS
            .failure(format!("offered are {names}"), "use a release of Phial as it is published")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::super::tests::{home, of};
    use super::*;
    use phial_base::{Clock, SystemClock};
    use rcgen::{CertificateParams, KeyPair};

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    /// Checks over a certificate that names `names` and holds from `from` to `until`.
    fn check(names: &[&str], from: i64, until: i64) -> Vec<Check> {
        let (_dir, home) = home();
        let mut p =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .unwrap();
        p.not_before = time::OffsetDateTime::from_unix_timestamp(from).unwrap();
        p.not_after = time::OffsetDateTime::from_unix_timestamp(until).unwrap();
        let key = KeyPair::generate().unwrap();
        let (c, k) = (home.tls().join("own.pem"), home.tls().join("own.key"));
        fs::write(&c, p.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&k, key.serialize_pem()).unwrap();
        let mut config = Config::default();
        (config.tls.certificate, config.tls.key) = (Some(c), Some(k));
        checks(&home, &config, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn a_certificate_that_ended_or_ends_soon_is_named() {
        for (from, until, finding) in [
            (NOW - DAY, NOW + 100 * DAY, Finding::Ok),
            (NOW - DAY, NOW + 10 * DAY, Finding::Warning),
            (NOW - 9 * DAY, NOW - DAY, Finding::Failure),
            (NOW + DAY, NOW + 100 * DAY, Finding::Failure),
        ] {
            let checks = check(&["phial.example"], from, until);
            assert_eq!(of(&checks, "tls.life").0, finding);
            assert_eq!(of(&checks, "tls.certificate").0, Finding::Ok);
            assert_eq!(of(&checks, "tls.issuer").0, Finding::Ok);
        }
    }

    #[test]
    fn names_that_no_one_else_can_use_are_named() {
        let life = (NOW - DAY, NOW + 100 * DAY);
        for (names, finding) in [
            (&["phial.example", "localhost"][..], Finding::Ok),
            (&["localhost", "127.0.0.1"][..], Finding::Warning),
            (&[][..], Finding::Failure),
        ] {
            assert_eq!(of(&check(names, life.0, life.1), "tls.names").0, finding);
        }
    }

    #[test]
    fn a_pair_that_does_not_fit_fails_and_none_is_unknown() {
        let (_dir, home) = home();
        let now = SystemClock.now();
        let none = checks(&home, &Config::default(), now);
        assert_eq!(of(&none, "tls.certificate").0, Finding::Unknown);
        assert_eq!(of(&none, "tls.issuer").0, Finding::Warning);
        let mut config = Config::default();
        let key = KeyPair::generate().unwrap();
        let other = KeyPair::generate().unwrap();
        let (c, k) = (home.tls().join("own.pem"), home.tls().join("own.key"));
        let p = CertificateParams::new(vec!["phial.example".to_owned()]).unwrap();
        fs::write(&c, p.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&k, other.serialize_pem()).unwrap();
        (config.tls.certificate, config.tls.key) = (Some(c), Some(k));
        let (finding, seen) = of(&checks(&home, &config, now), "tls.certificate");
        assert!(finding == Finding::Failure && seen.contains("do not fit"), "{seen}");
    }

    #[test]
    fn the_development_ca_s_key_is_named() {
        let (_dir, home) = home();
        fs::write(home.tls().join("ca.key"), "x").unwrap();
        assert_eq!(issuer(true, &home.tls()).finding, Finding::Warning);
        assert_eq!(issuer(false, &home.tls()).finding, Finding::Warning);
    }

    #[test]
    fn an_old_version_of_tls_fails() {
        use rustls::ProtocolVersion::{TLSv1_1, TLSv1_2, TLSv1_3};
        assert_eq!(versions(&OFFERED.map(|v| v.version)).finding, Finding::Ok);
        assert_eq!(versions(&[TLSv1_3, TLSv1_2]).finding, Finding::Ok);
        assert_eq!(versions(&[TLSv1_2, TLSv1_1]).finding, Finding::Failure);
    }
}
