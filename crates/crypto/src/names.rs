//! Keyed names: what records and keys are called where names can be read.
//! Without the tenant's id-key they say nothing, not even that two rows belong
//! to one type.
//!
//! | name | HMAC-SHA-256 under the id-key over (each item behind its u32 big-endian length), first 16 bytes |
//! |---|---|
//! | row id | `"record"`, resource type, logical id |
//! | key subject | `"key"`, domain, part, part, ... |
//!
//! Worked: `row_id(k, "Patient", "a")` MACs
//! `00000006 "record" 00000007 "Patient" 00000001 "a"`.
//!
//! The two differ in their first item, so a row of the record log can't be
//! joined with a row of the keystore by name.

use phial_base::RowId;

use crate::{SecretKey, hmac_sha256};

/// The row id of a record (design §3).
#[must_use]
pub fn row_id(id_key: &SecretKey, resource_type: &str, logical_id: &str) -> RowId {
    let parts: [&[u8]; 3] = [b"record", resource_type.as_bytes(), logical_id.as_bytes()];
    RowId(cut(hmac_sha256(id_key, &parts)))
}

/// The name under which the keystore looks a key up: of one patient (`domain`
/// `"patient"`), of a set of patients (`"joint"`, sorted by the caller), and so on.
#[must_use]
pub fn key_subject(id_key: &SecretKey, domain: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 2);
    all.push(b"key");
    all.push(domain.as_bytes());
    all.extend_from_slice(parts);
    cut(hmac_sha256(id_key, &all))
}

fn cut(mac: [u8; 32]) -> [u8; 16] {
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip(mac) {
        *to = from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32]).unwrap()
    }

    #[test]
    fn a_row_id_depends_on_key_type_and_id() {
        let id = row_id(&key(1), "Patient", "a");
        assert_eq!(id, row_id(&key(1), "Patient", "a"));
        assert_ne!(id, row_id(&key(2), "Patient", "a"));
        assert_ne!(id, row_id(&key(1), "Person", "a"));
        assert_ne!(id, row_id(&key(1), "Patient", "b"));
        assert_ne!(row_id(&key(1), "ab", "c"), row_id(&key(1), "a", "bc"));
    }

    #[test]
    fn the_keystore_can_not_be_joined_with_the_record_log() {
        let row = row_id(&key(1), "patient", "a").0;
        assert_ne!(row, key_subject(&key(1), "patient", &[b"a"]));
        assert_ne!(row, key_subject(&key(1), "record", &[b"patient", b"a"]));
        assert_ne!(
            key_subject(&key(1), "patient", &[b"a"]),
            key_subject(&key(1), "joint", &[b"a"])
        );
        assert_ne!(
            key_subject(&key(1), "joint", &[b"a", b"b"]),
            key_subject(&key(1), "joint", &[b"ab"])
        );
    }

    #[test]
    fn names_are_frozen() {
        assert_eq!(row_id(&key(1), "Patient", "a").to_string(), "7b9b65542fa527fc9eda1c3928ed1760");
        assert_eq!(
            hex::encode(key_subject(&key(1), "patient", &[b"a"])),
            "34c3ec7aef325ac3bf2ad86c58d8005a"
        );
    }
}
