//! Which kinds of jobs this program does, and who stands behind their owners' names.

use jiff::SignedDuration;
use phial_base::{Purpose, Subject, SubjectId, TenantId};
use phial_engine::Engine;
use phial_engine::job::{Runner, Subjects, Work};
use phial_engine::operation::export::ExportWork;
use phial_engine::operation::ndjson::ImportWork;
use phial_identity::Accounts;
use phial_identity::oauth::Clients;
use phial_policy::PolicySet;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;

use crate::config::Config;
use crate::sources::Listed;

/// The runner of this process. It does nothing until it is run.
pub(crate) fn runner(engine: &Engine, config: &Config) -> Runner {
    let keep = SignedDuration::from_hours(config.jobs.keep_hours);
    let copies = SignedDuration::from_hours(24 * config.keys.backup_retention_days);
    let sources = Box::new(Listed::new(&config.import.sources, config.import.max_mib));
    let works: Vec<Box<dyn Work>> = vec![
        Box::new(ExportWork::new(keep, copies, config.jobs.spare_mib << 20)),
        Box::new(ImportWork::new(sources, keep, copies)),
    ];
    let subjects = Box::new(Owners { policy: engine.policy().clone() });
    Runner::new(engine.clone(), subjects, works)
}

struct Owners {
    policy: PolicySet,
}

impl Subjects for Owners {
    fn subject(
        &self,
        control: &ControlLog,
        tenant: &TenantId,
        id: &SubjectId,
        purpose: Purpose,
    ) -> Result<Option<Subject>, StoreError> {
        match Accounts::new(control, &self.policy).acting(tenant, id, purpose) {
            Ok(subject) => Ok(subject),
            Err(phial_identity::Error::Store(e)) => Err(e),
            // An account that can't be read is nobody.
            Err(_) => Ok(None),
        }
    }

    fn client_stands(&self, control: &ControlLog, client: &str) -> Result<bool, StoreError> {
        match Clients::new(control).find(client) {
            Ok(found) => Ok(found.is_some_and(|c| c.active)),
            Err(phial_identity::Error::Store(e)) => Err(e),
            Err(_) => Ok(false),
        }
    }
}
