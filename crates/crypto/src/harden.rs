//! What a process can do so that its memory does not end up in a file.
//!
//! Refuses nothing: the caller is told what was possible and decides.

/// What was possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// The core file size limit is 0, soft and hard: no core file is written,
    /// and the limit can't be raised again without privilege.
    pub no_core_files: bool,
    /// The process is not dumpable: no core through a pipe handler, and no other
    /// process of the same user may attach or read its memory.
    pub not_dumpable: bool,
}

impl Hardening {
    /// Whether everything was possible.
    #[must_use]
    pub fn complete(self) -> bool {
        self.no_core_files && self.not_dumpable
    }
}

/// Turns core dumps off for this process and its children. Call it first thing
/// in `main`.
#[must_use]
pub fn harden_process() -> Hardening {
    Hardening { no_core_files: no_core_files(), not_dumpable: not_dumpable() }
}

#[cfg(unix)]
fn no_core_files() -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Ask afterwards: a sandbox may accept the call and ignore it.
    setrlimit(Resource::Core, none).is_ok() && getrlimit(Resource::Core).current == Some(0)
}

#[cfg(not(unix))]
fn no_core_files() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> bool {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
        && dumpable_behavior().is_ok_and(|b| b == DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> bool {
    false
}
