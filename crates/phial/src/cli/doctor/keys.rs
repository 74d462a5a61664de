//! Where the root key lies and how old keys are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use phial_crypto::KeyFile;
use phial_store::health;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::open::Options;

use super::{Asked, Check, age, causes, days};
use crate::config::Config;

const PLACE: Asked = Asked("keys.root-place", "312(a)(2)(iv)");
const VOLUME: Asked = Asked("keys.root-volume", "312(a)(2)(iv)");
const ROOT_AGE: Asked = Asked("keys.root-age", "312(a)(2)(iv)");
const TENANT_AGE: Asked = Asked("keys.tenant-age", "312(a)(2)(iv)");
const STORE: Asked = Asked("keys.keystore", "312(a)(2)(iv)");

/// Keys are usually changed once a year.
const YEAR: i64 = 366;

pub(super) fn root(home: &Home, config: &Config, now: Timestamp) -> Vec<Check> {
    let path = config.keys.root_file.clone().unwrap_or_else(|| home.root_key());
    let forbidden = home.forbidden_for_keys();
    let forbidden: Vec<&Path> = forbidden.iter().map(PathBuf::as_path).collect();
    let place = match KeyFile::open(&path, &forbidden) {
        Ok(_) => PLACE.ok("the root key is there, private, and not among the data"),
        Err(e) => PLACE.failure(e.to_string(), "nothing can be opened without it: put it right"),
    };
    let device = |p: &Path| fs::metadata(p).map(|m| m.dev()).ok();
    let volume = volume(device(&path), device(&home.root().join("data")));
    let root_age = match fs::metadata(&path).and_then(|m| m.modified()) {
        Err(_) => ROOT_AGE.unknown("the root key's file can't be read", "see keys.root-place"),
        Ok(at) => match Timestamp::try_from(at) {
            Ok(at) if days(at, now) <= YEAR => ROOT_AGE.ok(format!("{} old", age(at, now))),
            Ok(at) => ROOT_AGE.warning(
                format!("{} old, as its file says", age(at, now)),
                "plan another root key, and at once when someone with access to it leaves",
            ),
            Err(_) => ROOT_AGE.unknown("its file's time is none", "touch it to its true age"),
        },
    };
    vec![place, volume, root_age]
}

fn volume(key: Option<u64>, data: Option<u64>) -> Check {
    match (key, data) {
        (Some(k), Some(d)) if k == d => VOLUME.warning(
            "the root key lies on the same file system as the data (key-file provider, for \
             development)",
            "set keys.root_file to another volume with other backups and other readers",
        ),
        (Some(_), Some(_)) => VOLUME.ok("the root key lies on another file system than the data"),
        _ => VOLUME.unknown("root key or data can't be looked at", "see keys.root-place"),
    }
}

pub(super) fn tenants(
    home: &Home,
    keystore: Result<&Arc<Keystore>, &anyhow::Error>,
    now: Timestamp,
    options: &Options,
) -> Vec<Check> {
    let tenants = match keystore.map(|k| k.tenants()) {
        Ok(Ok(tenants)) => tenants,
        Ok(Err(e)) => return broken(e.to_string()),
        Err(e) => return broken(causes(e)),
    };
    let store = STORE.ok(format!("the keystore opens; tenants: {}", tenants.len()));
    let mut ages = Vec::new();
    let mut old = false;
    for tenant in &tenants {
        match health::tenant_key(home, tenant, options) {
            Ok(k) => {
                old |= days(k.made, now) > YEAR;
                ages.push(format!("{tenant}: version {}, {} old", k.version, age(k.made, now)));
            }
            Err(e) => return vec![STORE.failure(format!("{tenant}: {e}"), REPAIR), unseen()],
        }
    }
    let seen = ages.join("; ");
    let age = match old {
        true => TENANT_AGE.warning(seen, "phial keys rotate: no record is rewritten"),
        false => TENANT_AGE.ok(seen),
    };
    vec![store, age]
}

const REPAIR: &str = "restore keys/ from its backup; the hint of `phial verify` says more";

fn broken(why: String) -> Vec<Check> {
    vec![STORE.failure(why, REPAIR), unseen()]
}

fn unseen() -> Check {
    TENANT_AGE.unknown("the keystore can't be read", "see keys.keystore")
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::super::tests::{home, of};
    use super::*;
    use phial_base::{Clock, SystemClock, SystemRng};

    fn later(days: i64) -> Timestamp {
        SystemClock.now() + jiff::SignedDuration::from_hours(24 * days)
    }

    fn of_root(home: &Home, config: &Config, now: Timestamp, id: &str) -> Finding {
        of(&root(home, config, now), id).0
    }

    fn of_tenants(home: &Home, now: Timestamp, id: &str) -> (Finding, String) {
        let rng: Arc<dyn phial_base::Rng> = Arc::new(SystemRng::new());
        let options = Options::default();
        let opened = crate::app::open_keystore(home, &Config::default(), &rng, &options);
        of(&tenants(home, opened.as_ref(), now, &options), id)
    }

    #[test]
    fn a_root_key_among_the_data_fails_and_so_does_none() {
        let (_dir, home) = home();
        let mut config = Config::default();
        assert_eq!(of_root(&home, &config, later(0), "keys.root-place"), Finding::Ok);
        let among = home.root().join("data").join("root.key");
        fs::copy(home.root_key(), &among).unwrap();
        config.keys.root_file = Some(among);
        assert_eq!(of_root(&home, &config, later(0), "keys.root-place"), Finding::Failure);
        config.keys.root_file = Some("/nowhere/root.key".into());
        assert_eq!(of_root(&home, &config, later(0), "keys.root-place"), Finding::Failure);
        assert_eq!(of_root(&home, &config, later(0), "keys.root-age"), Finding::Unknown);
    }

    #[test]
    fn one_volume_for_all_is_worth_a_warning() {
        assert_eq!(volume(Some(1), Some(1)).finding, Finding::Warning);
        assert_eq!(volume(Some(1), Some(2)).finding, Finding::Ok);
        assert_eq!(volume(None, Some(2)).finding, Finding::Unknown);
    }

    #[test]
    fn old_keys_are_named() {
        let (_dir, home) = home();
        let config = Config::default();
        for (days, finding) in [(0, Finding::Ok), (400, Finding::Warning)] {
            assert_eq!(of_root(&home, &config, later(days), "keys.root-age"), finding);
            assert_eq!(of_tenants(&home, later(days), "keys.tenant-age").0, finding);
        }
    }

    #[test]
    fn a_keystore_that_does_not_open_fails() {
        let (_dir, home) = home();
        assert_eq!(of_tenants(&home, later(0), "keys.keystore").0, Finding::Ok);
        fs::remove_file(home.keystore()).unwrap();
        assert_eq!(of_tenants(&home, later(0), "keys.keystore").0, Finding::Failure);
        assert_eq!(of_tenants(&home, later(0), "keys.tenant-age").0, Finding::Unknown);
    }
}
