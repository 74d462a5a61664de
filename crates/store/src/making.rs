//! Making a home, and tenants in it. Whatever step it is interrupted at, the same call
//! again finishes it; until then neither a home nor a tenant counts as one. It refuses
//! to make anything anew that was whole before: a store that vanished from a home must
//! be missed, not replaced by an empty one.

use std::path::Path;
use std::sync::Arc;

use phial_base::step::Step;
use phial_base::{Clock, Rng, TenantId};
use phial_crypto::{KeyFile, RootProvider};

use crate::durable::write_whole;
use crate::error::Error;
use crate::home::{Home, HomeLock};
use crate::keystore::Keystore;
use crate::open::Options;
use crate::sessions::Sessions;
use crate::tickets::Tickets;
use crate::vessel::Vessel;

/// A home that is being made.
#[derive(Debug)]
pub struct Making {
    home: Home,
    taken_up: bool,
    _lock: HomeLock,
}

impl Making {
    /// Makes the directories, and the configuration file when there is none.
    ///
    /// # Errors
    /// [`Error::NotAHome`] when the directory holds anything else or is a home already;
    /// [`Error::HomeLocked`] when another process is making one there.
    pub fn begin(root: &Path, config: &str) -> Result<Self, Error> {
        let (home, taken_up) = Home::begin(root)?;
        let lock = home.lock_exclusive()?;
        if !home.config().exists() {
            write_whole(Step::HomeConfig, &home.config(), config.as_bytes())?;
        }
        Ok(Making { home, taken_up, _lock: lock })
    }

    /// Where things will lie.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Makes the root key at `root_file`, the keystore, the default tenant and the
    /// sessions, and last says that the home is whole.
    ///
    /// # Errors
    /// [`Error`] when a step fails; the same calls again go on from there.
    pub fn finish(
        self,
        root_file: &Path,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Home, Error> {
        let home = &self.home;
        let forbidden = home.forbidden_for_keys();
        let forbidden: Vec<&Path> = forbidden.iter().map(std::path::PathBuf::as_path).collect();
        // A key that an interrupted making left is the one to go on with: what is in the
        // keystore, if anything is, is wrapped under it.
        let root: Arc<dyn RootProvider> = if self.taken_up && root_file.exists() {
            Arc::new(KeyFile::take_up(root_file, &forbidden)?)
        } else {
            Arc::new(KeyFile::create(root_file, &forbidden, rng.as_ref())?)
        };
        let keystore = Arc::new(Keystore::create(
            &home.keystore(),
            root,
            Arc::clone(&clock),
            Arc::clone(&rng),
            options,
        )?);
        let tenant = TenantId::default_tenant();
        match add_tenant(home, &keystore, &tenant, clock, Arc::clone(&rng), options) {
            // Whole already, in a home that is not yet.
            Ok(()) | Err(Error::TenantExists) => {}
            Err(e) => return Err(e),
        }
        Sessions::create(home, Arc::clone(&keystore), Arc::clone(&rng), options)?;
        Tickets::open(home, keystore, rng, options)?;
        home.finish()?;
        Ok(self.home.clone())
    }
}

/// Gives a home another tenant: keys and empty stores of its own.
///
/// # Errors
/// [`Error::TenantExists`] when there is one that is whole; otherwise the same call
/// again goes on where this one failed.
pub fn add_tenant(
    home: &Home,
    keystore: &Arc<Keystore>,
    tenant: &TenantId,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    options: &Options,
) -> Result<(), Error> {
    keystore.create_tenant(tenant)?;
    Vessel::create(home, tenant, Arc::clone(keystore), clock, rng, options)
}
