//! Checkpoints of the audit log: signing them, and the copy beside the keys.
//!
//! It refuses to write over a copy that the log does not know: such a copy shows
//! that the log was cut, rolled back or exchanged, and is kept aside for `verify`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use phial_audit::{Checkpoint, NoteSigner, NoteVerifier};
use phial_base::TenantId;
use phial_base::step::Step;
use phial_crypto::VerifyingKey;

use super::audit_error;
use crate::durable::write_whole;
use crate::error::Error;
use crate::keystore::TenantKeys;

/// The log's name: unique, since it holds eight bytes of the key's hash.
pub(crate) fn origin_of(tenant: &TenantId, key: &VerifyingKey) -> String {
    let hash = phial_crypto::sha256(key.as_bytes());
    let short: Vec<u8> = hash.into_iter().take(8).collect();
    format!("phial/{tenant}/{}", hex::encode(short))
}

/// Who signs the tenant's checkpoints. Made anew each time, so that the key is held
/// no longer than the keystore allows.
pub(super) fn signer(keys: &TenantKeys) -> Result<NoteSigner, Error> {
    let key = keys.signing_key()?;
    let origin = origin_of(&keys.tenant, &key.public());
    NoteSigner::new(&origin, key).map_err(|e| audit_error(&e))
}

/// Puts `note` at `path`. A different note that `known` does not know is first moved
/// aside, under a name that tells its size.
pub(super) fn write_beside_keys(
    path: &Path,
    note: &str,
    verifier: &NoteVerifier,
    known: impl FnOnce(&str) -> Result<bool, Error>,
) -> Result<(), Error> {
    match std::fs::read_to_string(path) {
        Ok(old) if old == note => return Ok(()),
        Ok(old) => {
            // Anything that this key did not sign proves nothing and may go.
            if let Ok(c) = Checkpoint::verify(&old, verifier.name(), verifier)
                && !known(&old)?
            {
                let aside = aside(path, c.size, &old);
                if !aside.exists() {
                    write_whole(Step::CheckpointAside, &aside, old.as_bytes())?;
                }
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::InvalidData => {}
        Err(e) => return Err(e.into()),
    }
    write_whole(Step::CheckpointCopy, path, note.as_bytes())
}

/// `{tenant}.checkpoint` becomes `{tenant}.checkpoint.{size}-{hash}`.
fn aside(path: &Path, size: u64, note: &str) -> PathBuf {
    let hash: Vec<u8> = phial_crypto::sha256(note.as_bytes()).into_iter().take(4).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{size}-{}", hex::encode(hash)));
    PathBuf::from(name)
}

/// The copies beside the keys: the latest and any that were moved aside.
pub(crate) fn beside_keys(path: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut found = Vec::new();
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(found);
    };
    for file in std::fs::read_dir(dir)? {
        let file = file?.path();
        let Some(this) = file.file_name().and_then(|n| n.to_str()) else { continue };
        let aside = this
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.') && rest != ".new" && !rest.ends_with(".new"));
        if this == name || aside {
            let text = std::fs::read(&file)?;
            found.push((file, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    found.sort();
    Ok(found)
}
