//! The sealed entry: the bytes that are stored, hashed into the tree and exported.
//!
//! Suite 1, final. Numbers are big-endian, lengths LEB128:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | suite, 1 |
//! | 16 | handle of the audit period key |
//! | n | length of the sealed core |
//! | .. | core, `phial_crypto::seal_small` under the period key |
//! | n | number of patient parts |
//! | | and for each part: |
//! | 16 | handle of the patient's audit key |
//! | n | length of the sealed part |
//! | .. | part, `seal_small` under the patient's audit key |
//!
//! The associated data of core and parts is: `phial audit entry`, the suite, the tenant,
//! the node's id, the entry's number on that node, the period key's handle, and for a
//! part its index and the handle of its own key. So no part can be moved to another
//! entry, place or node. The core says how many parts there are.
//!
//! Worked example: the entry frozen in `tests/frozen/read.hex`, 289 bytes: a physician's
//! read of one Observation of one patient.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | `01` | suite |
//! | 1 | `a0` × 16 | period key handle |
//! | 17 | `ab 01` | 171 bytes of sealed core follow |
//! | 19 | 25, 130, 16 | the core: format and random, ciphertext, tag |
//! | 190 | `01` | one part |
//! | 191 | `c8 12` .. | the patient's audit key handle, 16 |
//! | 207 | `51` | 81 bytes of sealed part follow |
//! | 208 | 25, 40, 16 | the part: format and random, ciphertext, tag |
//!
//! Who may read what: the core (who, what row, classes, outcome) opens with the period
//! key; ids of a patient and of the patient's records open only with that patient's
//! audit key. Row ids are opaque and stay in the core. When an audit key is destroyed
//! at the end of retention the part is closed for good, the entry and its proofs stay.

use std::collections::HashMap;

use phial_base::{KeyHandle, LogicalId, Rng, TenantId};
use phial_crypto::{SecretKey, open_small, seal_small};

use crate::codec;
use crate::entry::{Entry, NodeId};
use crate::{Error, chain};

/// The suite that this build writes.
pub const SUITE: u8 = 1;

/// The most bytes a sealed entry may have: a leaf of C2SP tlog-tiles has at most
/// 65,535, of which the chain takes [`chain::LINK_LEN`]. See [`Entry::split`].
pub const MAX_SEALED: usize = 65_535 - chain::LINK_LEN;

const ENTRY: &str = "sealed audit entry";
const DOMAIN: &[u8] = b"phial audit entry";

/// Where an entry stands; bound by its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tenant.
    pub tenant: TenantId,
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number on that node, counted from 1.
    pub number: u64,
}

/// Gives the audit keys that the reader holds. Implementations call `open` with the key
/// when it is held and not at all when it is not.
pub trait AuditKeys {
    /// The period key with this handle.
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`] when keys cannot be looked up at all.
    fn period(&self, handle: KeyHandle, open: &mut dyn FnMut(&SecretKey)) -> Result<(), Error>;

    /// The patient's audit key with this handle.
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`] when keys cannot be looked up at all.
    fn patient(&self, handle: KeyHandle, open: &mut dyn FnMut(&SecretKey)) -> Result<(), Error>;
}

/// Keys held in memory.
#[derive(Default)]
pub struct HeldKeys {
    /// Period keys.
    pub periods: HashMap<KeyHandle, SecretKey>,
    /// Patients' audit keys.
    pub patients: HashMap<KeyHandle, SecretKey>,
}

impl AuditKeys for HeldKeys {
    fn period(&self, handle: KeyHandle, open: &mut dyn FnMut(&SecretKey)) -> Result<(), Error> {
        self.periods.get(&handle).map(open);
        Ok(())
    }

    fn patient(&self, handle: KeyHandle, open: &mut dyn FnMut(&SecretKey)) -> Result<(), Error> {
        self.patients.get(&handle).map(open);
        Ok(())
    }
}

fn put_len(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn with_core_aad<T>(place: &Place, period: KeyHandle, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let number = place.number.to_be_bytes();
    let tenant = place.tenant.as_str().as_bytes();
    then(&[DOMAIN, &[SUITE], tenant, &place.node, &number, &period.0])
}

fn with_part_aad<T>(
    place: &Place,
    period: KeyHandle,
    index: usize,
    handle: KeyHandle,
    then: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let number = place.number.to_be_bytes();
    let tenant = place.tenant.as_str().as_bytes();
    let index = (index as u64).to_be_bytes();
    then(&[DOMAIN, &[SUITE], tenant, &place.node, &number, &period.0, &index, &handle.0])
}

/// Seals `entry` for `place`: the core under the period key, and for each patient a part
/// under the key that `patient_keys` gives.
///
/// # Errors
/// [`Error::NoPatientKey`] when a patient has no id or no key, [`Error::PatientIndex`]
/// when a target names a patient that is not listed, [`Error::TooLarge`] above
/// [`MAX_SEALED`].
pub fn seal_entry<'k>(
    entry: &Entry,
    place: &Place,
    period: &(KeyHandle, &SecretKey),
    patient_keys: &dyn Fn(&LogicalId) -> Option<(KeyHandle, &'k SecretKey)>,
    rng: &dyn Rng,
) -> Result<Vec<u8>, Error> {
    let (period_handle, period_key) = *period;
    let core = codec::encode_core(entry)?;
    let core = with_core_aad(place, period_handle, |aad| seal_small(period_key, aad, &core, rng));
    let mut out = Vec::with_capacity(24 + core.len() + 120 * entry.patients.len());
    out.push(SUITE);
    out.extend_from_slice(&period_handle.0);
    put_len(&mut out, core.len());
    out.extend_from_slice(&core);
    put_len(&mut out, entry.patients.len());
    // Positions of each patient's records, so that the parts cost one pass in all.
    let mut targets: Vec<Vec<usize>> = vec![Vec::new(); entry.patients.len()];
    for (at, target) in entry.what.iter().enumerate() {
        for patient in &target.patients {
            if let Some(list) = targets.get_mut(*patient as usize) {
                list.push(at);
            }
        }
    }
    for (index, (patient, targets)) in entry.patients.iter().zip(&targets).enumerate() {
        let id = patient.id.as_ref().ok_or(Error::NoPatientKey)?;
        let (handle, key) = patient_keys(id).ok_or(Error::NoPatientKey)?;
        let part = codec::encode_part(entry, id, targets)?;
        let part = with_part_aad(place, period_handle, index, handle, |aad| {
            seal_small(key, aad, &part, rng)
        });
        out.extend_from_slice(&handle.0);
        put_len(&mut out, part.len());
        out.extend_from_slice(&part);
    }
    if out.len() > MAX_SEALED {
        return Err(Error::TooLarge { size: out.len(), limit: MAX_SEALED });
    }
    Ok(out)
}

/// A sealed entry taken apart, nothing opened.
struct Parsed<'a> {
    period: KeyHandle,
    core: &'a [u8],
    parts: Vec<(KeyHandle, &'a [u8])>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Error::malformed(ENTRY))?;
        self.0 = rest;
        Ok(head)
    }

    fn handle(&mut self) -> Result<KeyHandle, Error> {
        KeyHandle::from_slice(self.take(16)?).map_err(|_| Error::malformed(ENTRY))
    }

    /// LEB128 of at most four bytes, in its shortest form.
    fn len(&mut self) -> Result<usize, Error> {
        let mut n = 0usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            n |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = shift == 0 || byte != 0;
                return if shortest { Ok(n) } else { Err(Error::malformed(ENTRY)) };
            }
        }
        Err(Error::malformed(ENTRY))
    }
}

fn parse<'a>(
    bytes: &'a [u8],
    part: &mut dyn FnMut(KeyHandle, &'a [u8]),
) -> Result<(KeyHandle, &'a [u8]), Error> {
    let mut r = Reader(bytes);
    match r.take(1)?.first() {
        Some(&SUITE) => {}
        Some(&version) => return Err(Error::UnknownVersion { what: ENTRY, version }),
        None => return Err(Error::malformed(ENTRY)),
    }
    let period = r.handle()?;
    let n = r.len()?;
    let core = r.take(n)?;
    for _ in 0..r.len()? {
        let handle = r.handle()?;
        let n = r.len()?;
        part(handle, r.take(n)?);
    }
    if r.0.is_empty() { Ok((period, core)) } else { Err(Error::malformed(ENTRY)) }
}

fn take_apart(bytes: &[u8]) -> Result<Parsed<'_>, Error> {
    let mut parts = Vec::new();
    let (period, core) = parse(bytes, &mut |handle, part| parts.push((handle, part)))?;
    Ok(Parsed { period, core, parts })
}

/// Whether `bytes` have the shape of a sealed entry. Needs no key.
///
/// # Errors
/// [`Error::Malformed`], [`Error::UnknownVersion`].
pub(crate) fn check_shape(bytes: &[u8]) -> Result<(), Error> {
    parse(bytes, &mut |_, _| {}).map(|_| ())
}

/// The handles of the keys that a sealed entry needs: its period's and its patients'.
/// Needs no key; says which keys to fetch before opening many entries, and finds the
/// entries of one patient without opening any.
///
/// # Errors
/// [`Error::Malformed`], [`Error::UnknownVersion`].
pub fn key_handles(bytes: &[u8]) -> Result<(KeyHandle, Vec<KeyHandle>), Error> {
    let parsed = take_apart(bytes)?;
    Ok((parsed.period, parsed.parts.into_iter().map(|(handle, _)| handle).collect()))
}

/// Opens what the keys at hand open. A patient whose key is not held keeps `id: None`,
/// and so do the patient's records.
///
/// # Errors
/// [`Error::NoPeriodKey`] without the period key; [`Error::Malformed`],
/// [`Error::UnknownVersion`] or [`Error::Crypto`] when the bytes are not what was sealed
/// for `place`; [`Error::KeysUnavailable`] from `keys`.
pub fn open_entry(bytes: &[u8], place: &Place, keys: &dyn AuditKeys) -> Result<Entry, Error> {
    let parsed = take_apart(bytes)?;
    let mut opened = None;
    keys.period(parsed.period, &mut |key| {
        opened = Some(with_core_aad(place, parsed.period, |aad| open_small(key, aad, parsed.core)));
    })?;
    let core = opened.ok_or(Error::NoPeriodKey(parsed.period))??;
    let mut entry = codec::decode_core(&core)?;
    if entry.patients.len() != parsed.parts.len() {
        return Err(Error::malformed(ENTRY));
    }
    for (index, (handle, part)) in parsed.parts.into_iter().enumerate() {
        let mut opened = None;
        keys.patient(handle, &mut |key| {
            opened = Some(with_part_aad(place, parsed.period, index, handle, |aad| {
                open_small(key, aad, part)
            }));
        })?;
        if let Some(part) = opened {
            codec::decode_part(&part?, index, handle, &mut entry)?;
        } else if let Some(slot) = entry.patients.get_mut(index) {
            slot.handle = Some(handle);
        }
    }
    Ok(entry)
}
