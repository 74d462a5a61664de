//! Checkpoints (C2SP tlog-checkpoint) as signed notes (C2SP signed-note), Ed25519.
//!
//! A note that this module writes, for the origin `phial.example/default`:
//!
//! ```text
//! phial.example/default
//! 3
//! rravvSdLcKFPsGelVXgmTbD6m1GvXgr6FZFY8yngbnc=
//!
//! — phial.example/default AbCdEgXj...
//! ```
//!
//! The signature covers the text up to and with the newline before the empty line. A
//! signature line is `— `, the key's name, a space, and base64 of key id (4 bytes) and
//! signature (64). Key id: the first 4 bytes of SHA-256(name ‖ 0A ‖ 01 ‖ public key).
//! Lines by other keys (witnesses) are kept out of the way, not refused.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phial_crypto::{SigningKey, VerifyingKey, sha256};

use crate::Error;
use crate::tree::Hash;

const ED25519: u8 = 1;
const NOTE: &str = "signed note";
const CHECKPOINT: &str = "checkpoint";
const VKEY: &str = "verifier key";
/// More signature lines than this are refused, as the specification advises.
const MAX_SIGNATURES: usize = 100;
const MAX_NOTE: usize = 1_000_000;

/// What a checkpoint says: the log, its size, its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// The name of a key in notes: not empty, no space, no `+`.
fn check_name(name: &str) -> Result<(), Error> {
    let bad = name.is_empty() || name.chars().any(|c| c == '+' || c.is_whitespace());
    if bad { Err(Error::KeyName) } else { Ok(()) }
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut data = name.as_bytes().to_vec();
    data.extend([b'\n', ED25519]);
    data.extend(key.as_bytes());
    let [a, b, c, d, ..] = sha256(&data);
    [a, b, c, d]
}

/// Signs notes under a name.
#[derive(Debug)]
pub struct NoteSigner {
    name: String,
    id: [u8; 4],
    key: SigningKey,
}

impl NoteSigner {
    /// The signer of this name; for checkpoints the name is the origin.
    ///
    /// # Errors
    /// [`Error::KeyName`].
    pub fn new(name: &str, key: SigningKey) -> Result<Self, Error> {
        check_name(name)?;
        Ok(NoteSigner { name: name.to_owned(), id: key_id(name, &key.public()), key })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who verifies what this signs.
    #[must_use]
    pub fn verifier(&self) -> NoteVerifier {
        NoteVerifier { name: self.name.clone(), id: self.id, key: self.key.public() }
    }

    /// The signature line over `text`, which ends in a newline.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        let mut blob = self.id.to_vec();
        blob.extend(self.key.sign(text.as_bytes()));
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(blob))
    }
}

/// Verifies the notes of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl NoteVerifier {
    /// The verifier of this key under this name.
    ///
    /// # Errors
    /// [`Error::KeyName`].
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, Error> {
        check_name(name)?;
        Ok(NoteVerifier { name: name.to_owned(), id: key_id(name, &key), key })
    }

    /// Reads the text form `name+hexid+base64(01 ‖ public key)`.
    ///
    /// # Errors
    /// [`Error::Malformed`] also when the id is not the key's.
    pub fn from_vkey(text: &str) -> Result<Self, Error> {
        let bad = || Error::malformed(VKEY);
        let mut parts = text.trim_end().splitn(3, '+');
        let mut part = || parts.next().ok_or_else(bad);
        let (name, id, key) = (part()?, part()?, part()?);
        let key = STANDARD.decode(key).map_err(|_| bad())?;
        let key = match key.split_first() {
            Some((&ED25519, key)) => VerifyingKey::from_bytes(key).map_err(|_| bad())?,
            _ => return Err(bad()),
        };
        let verifier = NoteVerifier::new(name, key).map_err(|_| bad())?;
        if hex::encode(verifier.id) == id { Ok(verifier) } else { Err(bad()) }
    }

    /// The text form, without a newline.
    #[must_use]
    pub fn vkey(&self) -> String {
        let mut blob = vec![ED25519];
        blob.extend(self.key.as_bytes());
        format!("{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(blob))
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Checks `note` and gives the text that this key signed.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is no signed note, [`Error::NotSigned`] without a line
    /// of this key, [`Error::BadSignature`] when that line does not verify.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, Error> {
        let (text, lines) = split_note(note)?;
        let mut found = false;
        for line in lines.lines() {
            let (name, id, signature) = signature_line(line)?;
            if name == self.name && id == self.id {
                found = true;
                self.key.verify(text.as_bytes(), &signature).map_err(|_| Error::BadSignature)?;
            }
        }
        if found { Ok(text) } else { Err(Error::NotSigned) }
    }
}

/// The signed text and the signature lines.
fn split_note(note: &str) -> Result<(&str, &str), Error> {
    let bad = || Error::malformed(NOTE);
    if note.len() > MAX_NOTE || note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(bad());
    }
    let at = note.rfind("\n\n").ok_or_else(bad)?;
    let (text, lines) = note.split_at_checked(at + 1).ok_or_else(bad)?;
    let lines = lines.strip_prefix('\n').ok_or_else(bad)?;
    let count = lines.lines().count();
    if text.len() < 2 || !lines.ends_with('\n') || count == 0 || count > MAX_SIGNATURES {
        return Err(bad());
    }
    Ok((text, lines))
}

fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), Error> {
    let bad = || Error::malformed(NOTE);
    let rest = line.strip_prefix("\u{2014} ").ok_or_else(bad)?;
    let (name, blob) = rest.split_once(' ').ok_or_else(bad)?;
    check_name(name).map_err(|_| bad())?;
    let blob = STANDARD.decode(blob).map_err(|_| bad())?;
    let (id, signature) = blob.split_first_chunk::<4>().ok_or_else(bad)?;
    if signature.is_empty() {
        return Err(bad());
    }
    Ok((name, *id, signature.to_vec()))
}

impl Checkpoint {
    /// The body that is signed: origin, size and root, a line each.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = String::with_capacity(self.origin.len() + 70);
        // Writing to a String never fails.
        let _ = writeln!(text, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root));
        text
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        let body = self.body();
        let line = signer.line(&body);
        format!("{body}\n{line}")
    }

    /// Reads a body. Extension lines after the third are allowed and not kept.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_body(body: &str) -> Result<Self, Error> {
        let bad = || Error::malformed(CHECKPOINT);
        let mut lines = body.strip_suffix('\n').ok_or_else(bad)?.split('\n');
        let mut line = || lines.next().filter(|l| !l.is_empty()).ok_or_else(bad);
        let (origin, size, root) = (line()?, line()?, line()?);
        // Decimal without leading zeros or a sign: one size has one text.
        let plain = size == "0" || !size.starts_with('0');
        if !plain || !size.bytes().all(|b| b.is_ascii_digit()) || lines.any(str::is_empty) {
            return Err(bad());
        }
        let size = size.parse().map_err(|_| bad())?;
        let root = STANDARD.decode(root).map_err(|_| bad())?.try_into().map_err(|_| bad())?;
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }

    /// Checks `note` by `verifier`'s key and reads the checkpoint, whose origin must be
    /// `origin`.
    ///
    /// # Errors
    /// Those of [`NoteVerifier::open`]; [`Error::Malformed`]; [`Error::OtherOrigin`].
    pub fn verify(note: &str, origin: &str, verifier: &NoteVerifier) -> Result<Self, Error> {
        let checkpoint = Checkpoint::from_body(verifier.open(note)?)?;
        if checkpoint.origin == origin { Ok(checkpoint) } else { Err(Error::OtherOrigin) }
    }
}

#[cfg(test)]
mod tests {
    use phial_crypto::SecretKey;

    use super::*;

    fn signer(name: &str, seed: u8) -> NoteSigner {
        let key = SigningKey::from_seed(&SecretKey::from_bytes(&[seed; 32]).unwrap()).unwrap();
        NoteSigner::new(name, key).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "phial.example/default".into(), size: 3, root: [0xab; 32] }
    }

    #[test]
    fn a_checkpoint_is_frozen() {
        let note = checkpoint().sign(&signer("phial.example/default", 1));
        assert_eq!(note, include_str!("../tests/frozen/checkpoint.txt"));
        let vkey = signer("phial.example/default", 1).verifier().vkey();
        assert_eq!(vkey, include_str!("../tests/frozen/vkey.txt").trim_end());
    }

    #[test]
    fn the_specifications_own_example_opens() {
        // golang.org/x/mod/sumdb/note, the example key and note.
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let verifier = NoteVerifier::from_vkey(vkey).unwrap();
        assert_eq!(verifier.vkey(), vkey);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1\
                    FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert_eq!(verifier.open(&format!("{text}\n{line}")).unwrap(), text);
        let other = format!("{}\n{line}", text.replace("your", "the"));
        assert!(matches!(verifier.open(&other), Err(Error::BadSignature)));
    }

    #[test]
    fn witnesses_may_sign_too() {
        let (log, witness) = (signer("phial.example/default", 1), signer("w", 2));
        let mut note = checkpoint().sign(&log);
        let line = witness.line(&checkpoint().body());
        note.push_str(&line);
        for key in [log.verifier(), witness.verifier()] {
            let read = Checkpoint::verify(&note, "phial.example/default", &key).unwrap();
            assert_eq!(read, checkpoint());
        }
    }

    #[test]
    fn another_key_or_origin_is_refused() {
        let note = checkpoint().sign(&signer("phial.example/default", 1));
        let open = |origin, v: &NoteVerifier| Checkpoint::verify(&note, origin, v);
        let right = signer("phial.example/default", 1).verifier();
        let other_key = signer("phial.example/default", 2).verifier();
        assert!(matches!(open("phial.example/default", &other_key), Err(Error::NotSigned)));
        assert!(matches!(open("phial.example/other", &right), Err(Error::OtherOrigin)));
    }

    #[test]
    fn any_changed_character_is_refused() {
        let key = signer("phial.example/default", 1);
        let note = checkpoint().sign(&key);
        for (at, c) in note.char_indices() {
            let changed = if c == 'x' { 'y' } else { 'x' };
            let (head, tail) = note.split_at(at);
            let bad = format!("{head}{changed}{}", tail.strip_prefix(c).unwrap());
            let opened = Checkpoint::verify(&bad, "phial.example/default", &key.verifier());
            assert!(opened.is_err(), "at {at}");
        }
    }

    #[test]
    fn odd_bodies_are_refused() {
        let root = STANDARD.encode([1; 32]);
        let good = format!("o\n10\n{root}\n");
        assert!(Checkpoint::from_body(&good).is_ok());
        assert!(Checkpoint::from_body(&format!("{good}extension\n")).is_ok());
        for bad in [
            format!("o\n010\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\n"),
            "o\n1\nAAAA\n".to_owned(),
            format!("o\n18446744073709551616\n{root}\n"),
        ] {
            assert!(Checkpoint::from_body(&bad).is_err(), "{bad:?}");
        }
        for name in ["", "a b", "a+b", "a\u{a0}b"] {
            let key = SigningKey::from_seed(&SecretKey::from_bytes(&[1; 32]).unwrap()).unwrap();
            assert!(NoteSigner::new(name, key).is_err());
        }
    }
}
