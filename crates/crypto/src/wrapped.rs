//! Wrapped keys: a key of the hierarchy, sealed under the root key or under a
//! tenant key. Refuses a wrapped key that is not the one asked for: tenant, kind,
//! handle and version travel inside the sealed payload, since not every root
//! provider has AAD.
//!
//! # Payload, format 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format, `01` |
//! | 1 | 1 | kind ([`KeyKind`]) |
//! | 2 | 16 | handle |
//! | 18 | 4 | version, big-endian |
//! | 22 | 1 | length t of the tenant name |
//! | 23 | t | tenant name |
//! | 23+t | 32 | the key |
//!
//! Under a tenant key the payload is a small sealed thing (see `small`, format 1)
//! with the one AAD item `"phial wrapped key"`. Under the root key it is whatever
//! the provider makes of it; the context given to the provider is the payload's
//! bytes 0..23+t.
//!
//! Worked: tenant `default` (7 bytes): payload 23 + 7 + 32 = 62, wrapped under a
//! tenant key 62 + 41 = 103 bytes.

use phial_base::{KeyHandle, Rng, TenantId};
use zeroize::Zeroizing;

use crate::encode::Reader;
use crate::{Error, RootProvider, SecretKey, constant_time_eq, open_small, seal_small};

const FORMAT: u8 = 1;
const AAD: &[&[u8]] = &[b"phial wrapped key"];
const WHAT: &str = "wrapped key";

/// What a key is for. The numbers are part of the format: never reorder, only
/// append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// The tenant key, which wraps all others of the tenant.
    Tenant = 1,
    /// Makes row ids and keystore names.
    RowIds = 2,
    /// Seals the locators of records.
    Locator = 3,
    /// Seals records about no patient.
    Common = 4,
    /// Seals one patient's records.
    Patient = 5,
    /// Seals the records about one set of several patients.
    Joint = 6,
    /// Seals the cores of a period's audit entries.
    AuditPeriod = 7,
    /// Seals one patient's parts of audit entries.
    AuditPatient = 8,
    /// Encrypts the pages of one generation of the local index.
    IndexPages = 9,
    /// Seals control records.
    Control = 10,
    /// The Ed25519 seed that signs checkpoints.
    Signing = 11,
    /// Seals paging tokens.
    Paging = 12,
    /// Seals sessions.
    Sessions = 13,
    /// Seals the files of one job.
    Spool = 14,
}

impl KeyKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [KeyKind; 14] = [
        KeyKind::Tenant,
        KeyKind::RowIds,
        KeyKind::Locator,
        KeyKind::Common,
        KeyKind::Patient,
        KeyKind::Joint,
        KeyKind::AuditPeriod,
        KeyKind::AuditPatient,
        KeyKind::IndexPages,
        KeyKind::Control,
        KeyKind::Signing,
        KeyKind::Paging,
        KeyKind::Sessions,
        KeyKind::Spool,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == n)
    }
}

/// Which key it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyLabel {
    /// Whose.
    pub tenant: TenantId,
    /// What for.
    pub kind: KeyKind,
    /// Its random name.
    pub handle: KeyHandle,
    /// Its version, counted from 1.
    pub version: u32,
}

impl KeyLabel {
    fn encode(&self, room: usize) -> Vec<u8> {
        let tenant = self.tenant.as_str().as_bytes();
        let mut out = Vec::with_capacity(23 + tenant.len() + room);
        out.push(FORMAT);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.handle.0);
        out.extend_from_slice(&self.version.to_be_bytes());
        // A tenant name has at most 32 bytes.
        out.push(u8::try_from(tenant.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(tenant);
        out
    }
}

/// Wraps `key`, which is `label`, under the root key.
///
/// # Errors
/// The provider's.
pub fn wrap_under_root(
    root: &dyn RootProvider,
    label: &KeyLabel,
    key: &SecretKey,
) -> Result<Vec<u8>, Error> {
    root.wrap(&label.encode(0), &payload(label, key))
}

/// Opens a key wrapped by [`wrap_under_root`].
///
/// # Errors
/// The provider's, and [`Error::WrongLabel`] when the key is not `label`.
pub fn unwrap_under_root(
    root: &dyn RootProvider,
    label: &KeyLabel,
    wrapped: &[u8],
) -> Result<SecretKey, Error> {
    read(label, &root.unwrap(&label.encode(0), wrapped)?)
}

/// Wraps `key`, which is `label`, under the tenant key.
#[must_use]
pub fn wrap(tenant_key: &SecretKey, label: &KeyLabel, key: &SecretKey, rng: &dyn Rng) -> Vec<u8> {
    seal_small(tenant_key, AAD, &payload(label, key), rng)
}

/// Opens a key wrapped by [`wrap`].
///
/// # Errors
/// [`Error::Refused`] for another tenant key or altered bytes, and
/// [`Error::WrongLabel`] when the key is not `label`.
pub fn unwrap(
    tenant_key: &SecretKey,
    label: &KeyLabel,
    wrapped: &[u8],
) -> Result<SecretKey, Error> {
    let payload = open_small(tenant_key, AAD, wrapped).map_err(|e| match e {
        Error::UnknownFormat { found, .. } => Error::UnknownFormat { what: WHAT, found },
        Error::Malformed(_) => Error::Malformed(WHAT),
        _ => Error::Refused(WHAT),
    })?;
    read(label, &payload)
}

fn payload(label: &KeyLabel, key: &SecretKey) -> Zeroizing<Vec<u8>> {
    // Room for the key from the start: growing would leave a copy behind.
    let mut out = Zeroizing::new(label.encode(32));
    out.extend_from_slice(key.expose());
    out
}

fn read(label: &KeyLabel, payload: &[u8]) -> Result<SecretKey, Error> {
    let format = Reader::new(payload).byte().ok_or(Error::Malformed(WHAT))?;
    if format != FORMAT {
        return Err(Error::UnknownFormat { what: WHAT, found: format });
    }
    let expected = label.encode(0);
    let mut r = Reader::new(payload);
    let found = r.take(expected.len()).ok_or(Error::WrongLabel)?;
    if !constant_time_eq(found, &expected) {
        return Err(Error::WrongLabel);
    }
    SecretKey::from_bytes(r.rest()).map_err(|_| Error::Malformed(WHAT))
}

#[cfg(test)]
mod tests {
    use phial_base::SeededRng;

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32]).unwrap()
    }

    fn label() -> KeyLabel {
        KeyLabel {
            tenant: TenantId::new("clinic-7").unwrap(),
            kind: KeyKind::Patient,
            handle: KeyHandle([3; 16]),
            version: 2,
        }
    }

    /// Labels that differ from [`label`] in one field.
    fn others() -> Vec<KeyLabel> {
        let mut all = vec![
            KeyLabel { tenant: TenantId::new("clinic-8").unwrap(), ..label() },
            KeyLabel { tenant: TenantId::new("clinic-77").unwrap(), ..label() },
            KeyLabel { tenant: TenantId::new("clinic").unwrap(), ..label() },
            KeyLabel { handle: KeyHandle([4; 16]), ..label() },
            KeyLabel { version: 1, ..label() },
            KeyLabel { version: 3, ..label() },
        ];
        for kind in KeyKind::ALL.into_iter().filter(|k| *k != KeyKind::Patient) {
            all.push(KeyLabel { kind, ..label() });
        }
        all
    }

    /// A root provider without AAD: only the payload can tell keys apart.
    struct NoAad(SecretKey);

    impl RootProvider for NoAad {
        fn name(&self) -> &'static str {
            "no-aad"
        }
        fn key_id(&self) -> String {
            "1".into()
        }
        fn wrap(&self, _: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error> {
            Ok(seal_small(&self.0, &[], payload, &SeededRng::new(9)))
        }
        fn unwrap(&self, _: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
            open_small(&self.0, &[], wrapped)
        }
    }

    #[test]
    fn numbers_of_kinds_are_frozen() {
        for (i, kind) in KeyKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i + 1);
            assert_eq!(KeyKind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(KeyKind::from_number(0), None);
        assert_eq!(KeyKind::from_number(15), None);
    }

    #[test]
    fn format_1_is_frozen() {
        let wrapped = wrap(&key(1), &label(), &key(2), &SeededRng::new(1));
        assert_eq!(
            hex::encode(&wrapped),
            "01532deabf88729cb43995ab5a9cd49bf9b90a079904dc06450748b91b396b2a3d11805a3854c1d2\
             3a5aeb792ae154123e38c0a7eeec13a0bc074680898217c2dc438b0bc6ebd88135b7a510a9b96511\
             ba1a48eab80a947bdac224429709915bb3572fc189ae438a"
        );
        assert_eq!(unwrap(&key(1), &label(), &wrapped).unwrap(), key(2));
        assert_eq!(
            hex::encode(payload(&label(), &key(2))),
            "01050303030303030303030303030303030300000002\
             08636c696e69632d37\
             0202020202020202020202020202020202020202020202020202020202020202"
        );
    }

    #[test]
    fn a_key_of_another_tenant_kind_handle_or_version_is_refused() {
        let wrapped = wrap(&key(1), &label(), &key(2), &SeededRng::new(1));
        for other in others() {
            let got = unwrap(&key(1), &other, &wrapped);
            assert!(matches!(got, Err(Error::WrongLabel)), "{other:?}");
        }
    }

    #[test]
    fn a_root_provider_without_aad_still_refuses_swapped_keys() {
        let root = NoAad(key(5));
        let wrapped = wrap_under_root(&root, &label(), &key(2)).unwrap();
        assert_eq!(unwrap_under_root(&root, &label(), &wrapped).unwrap(), key(2));
        for other in others() {
            let got = unwrap_under_root(&root, &other, &wrapped);
            assert!(matches!(got, Err(Error::WrongLabel)), "{other:?}");
        }
    }

    #[test]
    fn another_tenant_key_and_altered_bytes_are_refused() {
        let wrapped = wrap(&key(1), &label(), &key(2), &SeededRng::new(1));
        assert!(matches!(unwrap(&key(3), &label(), &wrapped), Err(Error::Refused(_))));
        for bit in 0..wrapped.len() * 8 {
            let mut bad = wrapped.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&key(1), &label(), &bad).is_err(), "bit {bit}");
        }
        assert!(unwrap(&key(1), &label(), &[]).is_err());
    }

    #[test]
    fn an_ordinary_sealed_value_is_no_wrapped_key() {
        let text = payload(&label(), &key(2));
        let sealed = seal_small(&key(1), &[b"other use"], &text, &SeededRng::new(1));
        assert!(unwrap(&key(1), &label(), &sealed).is_err());
    }
}
