//! Settings of what takes longer than a request: `[jobs]`, `[import]`.

use serde::{Deserialize, Serialize};

/// `[jobs]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Jobs {
    /// Hours for which the files of a job are kept once it is done. More than 168 needs a
    /// rationale.
    pub(crate) keep_hours: i64,
    /// MiB of the file system that exports leave free: below that they wait.
    pub(crate) spare_mib: u64,
    pub(crate) rationale: Option<String>,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs { keep_hours: 24, spare_mib: 512, rationale: None }
    }
}

/// `[import]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Import {
    /// Addresses under which `$import` may fetch. None: uploads alone.
    pub(crate) sources: Vec<String>,
    /// The most that one upload or source may have, mebibytes.
    pub(crate) max_mib: u64,
}

impl Default for Import {
    fn default() -> Self {
        Import { sources: Vec::new(), max_mib: 10_240 }
    }
}
