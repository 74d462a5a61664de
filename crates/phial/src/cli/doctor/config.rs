//! Is the configuration readable, and is every departure explained?

use std::os::unix::fs::PermissionsExt;

use phial_store::home::Home;

use super::{Asked, Check};
use crate::config::{Config, ConfigError};

const FILE: Asked = Asked("config.file", "308(a)(1)(ii)(B)");
const MODE: Asked = Asked("config.mode", "312(a)(1)");
const DEPARTURES: Asked = Asked("config.departures", "306(d)(3)");

pub(super) fn checks(home: &Home, read: &Result<Config, ConfigError>) -> Vec<Check> {
    let path = home.config();
    let file = match read {
        Ok(_) => FILE.ok("phial.toml is read, no key is unknown"),
        Err(e) => FILE.failure(
            e.to_string().replace('\n', " "),
            "mend phial.toml: the server does not start, and a running one keeps what it has",
        ),
    };
    let mode = match std::fs::metadata(&path) {
        Ok(m) if m.permissions().mode() & 0o022 != 0 => MODE.failure(
            format!("phial.toml has mode {:04o}", m.permissions().mode() & 0o7777),
            "chmod go-w phial.toml: others could weaken the safeguards",
        ),
        Ok(_) => MODE.ok("only its owner writes phial.toml"),
        Err(_) => MODE.unknown("phial.toml can't be looked at", "see config.file"),
    };
    vec![file, mode, departures(read)]
}

fn departures(read: &Result<Config, ConfigError>) -> Check {
    let todo = "write down why, or go back to the default: docs/operations.md";
    match read.as_ref().map(Config::departures) {
        Ok(Ok(all)) if all.is_empty() => DEPARTURES.ok("no setting departs from a safe default"),
        Ok(Ok(all)) => {
            let each: Vec<String> = all
                .iter()
                .map(|d| format!("{} = {} because \"{}\"", d.setting, d.value, d.rationale))
                .collect();
            DEPARTURES.warning(each.join("; "), "confirm at each risk analysis that it still holds")
        }
        Ok(Err(e)) => DEPARTURES.failure(e.to_string(), todo),
        Err(ConfigError::Rule(e)) if e.contains("rationale") => DEPARTURES.failure(e.clone(), todo),
        Err(_) => DEPARTURES.unknown("phial.toml can't be used", "mend it first: config.file"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::super::tests::{home, of};
    use super::*;

    fn check(toml: &str) -> Vec<Check> {
        let (_dir, home) = home();
        std::fs::write(home.config(), toml).unwrap();
        checks(&home, &Config::read(&home.config()))
    }

    #[test]
    fn a_file_that_can_t_be_used_is_named() {
        assert_eq!(of(&check(""), "config.file").0, Finding::Ok);
        let bad = of(&check("[http]\nphi_in_url = 1\n"), "config.file");
        assert!(bad.0 == Finding::Failure && bad.1.contains("phi_in_url"), "{bad:?}");
        let (_dir, home) = home();
        std::fs::remove_file(home.config()).unwrap();
        let none = checks(&home, &Config::read(&home.config()));
        assert_eq!(of(&none, "config.file").0, Finding::Failure);
        assert_eq!(of(&none, "config.mode").0, Finding::Unknown);
    }

    #[test]
    fn a_departure_without_a_rationale_fails_and_one_with_it_is_shown() {
        let without = check("[session]\nidle_minutes = 90\n");
        assert_eq!(of(&without, "config.departures").0, Finding::Failure);
        let with = check("[session]\nidle_minutes = 90\nrationale = \"night shift\"\n");
        let (finding, seen) = of(&with, "config.departures");
        assert_eq!(finding, Finding::Warning);
        assert!(seen.contains("90") && seen.contains("night shift"), "{seen}");
        assert_eq!(of(&check(""), "config.departures").0, Finding::Ok);
        assert_eq!(of(&check("[x"), "config.departures").0, Finding::Unknown);
    }

    #[test]
    fn a_file_that_others_may_write_fails() {
        let (_dir, home) = home();
        let read = Config::read(&home.config());
        for (mode, finding) in [(0o666, Finding::Failure), (0o644, Finding::Ok)] {
            let modes = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(home.config(), modes).unwrap();
            assert_eq!(of(&checks(&home, &read), "config.mode").0, finding);
        }
    }
}
