//! Watching the durable steps of one home, making one of them fail, and keeping what
//! a crash at that very moment would have left.
//!
//! It refuses to share: each watched directory has its own trace and its own fault,
//! so tests run side by side. Steps of one home are held one at a time, so that a copy
//! is of one moment.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

use phial_base::step::{self, Part, Point, Step, Verdict, Watch};

/// One of the two ways in which a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Nothing was saved.
    NotSaved,
    /// It was saved but reported as failed.
    SavedButFailed,
}

impl How {
    /// Both.
    pub const BOTH: [How; 2] = [How::NotSaved, How::SavedButFailed];
}

struct Armed {
    step: Step,
    part: Part,
    /// How many times it is still let pass.
    pass: usize,
    how: How,
    copy_to: PathBuf,
    hit: bool,
    /// A copy is due when the point's work is done.
    copy_after: bool,
}

struct Watched {
    root: PathBuf,
    trace: Vec<(Step, Part)>,
    armed: Option<Armed>,
    busy: Option<ThreadId>,
    depth: usize,
    stray: Vec<String>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());
static FREE: Condvar = Condvar::new();

thread_local! {
    /// How many points this thread is inside of.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of<'a>(all: &'a mut [Watched], path: &Path) -> Option<&'a mut Watched> {
    all.iter_mut().find(|w| path.starts_with(&w.root))
}

/// A file-system copy by another process: closing a file here would drop this
/// process's locks on it, SQLite's included.
fn copy(from: &Path, to: &Path) {
    if !from.exists() {
        return;
    }
    // What can't be copied is missing in the copy, and the test finds that.
    let _ = Command::new("cp").arg("-a").arg(from).arg(to).status();
}

struct Watcher;

impl Watch for Watcher {
    fn before(&self, point: &Point<'_>) -> Verdict {
        INSIDE.set(INSIDE.get() + 1);
        let me = std::thread::current().id();
        let mut all = watched();
        loop {
            let Some(w) = of(&mut all, point.path) else { return Verdict::Do };
            if w.busy.is_none_or(|who| who == me) {
                break;
            }
            all = FREE.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(w) = of(&mut all, point.path) else { return Verdict::Do };
        w.busy = Some(me);
        w.depth += 1;
        w.trace.push((point.step, point.part));
        let Some(armed) = w.armed.as_mut() else { return Verdict::Do };
        if armed.hit || armed.step != point.step || armed.part != point.part {
            return Verdict::Do;
        }
        if armed.pass > 0 {
            armed.pass -= 1;
            return Verdict::Do;
        }
        armed.hit = true;
        let (root, to) = (w.root.clone(), armed.copy_to.clone());
        match armed.how {
            How::NotSaved => {
                drop(all);
                copy(&root, &to);
                Verdict::Fail
            }
            How::SavedButFailed => {
                armed.copy_after = true;
                Verdict::DoThenFail
            }
        }
    }

    fn after(&self, point: &Point<'_>) {
        INSIDE.set(INSIDE.get().saturating_sub(1));
        let mut all = watched();
        let Some(w) = of(&mut all, point.path) else { return };
        if w.busy != Some(std::thread::current().id()) {
            return;
        }
        let due = match w.armed.as_mut() {
            Some(a) if a.copy_after && (a.step, a.part) == (point.step, point.part) => {
                a.copy_after = false;
                Some((w.root.clone(), a.copy_to.clone()))
            }
            _ => None,
        };
        if let Some((root, to)) = due {
            drop(all);
            copy(&root, &to);
            all = watched();
        }
        if let Some(w) = of(&mut all, point.path) {
            w.depth = w.depth.saturating_sub(1);
            if w.depth == 0 {
                w.busy = None;
                FREE.notify_all();
            }
        }
    }
}

/// Told by the fault-injecting VFS of each write to a write-ahead log or journal: a
/// commit that is no durable step shows so.
pub(crate) fn wrote(path: &str) {
    if INSIDE.get() == 0
        && (path.ends_with("-wal") || path.ends_with("-journal"))
        && let Some(w) = of(&mut watched(), Path::new(path))
    {
        w.stray.push(path.to_owned());
    }
}

/// One watched directory, until dropped.
#[derive(Debug)]
pub struct Points {
    root: PathBuf,
}

impl Points {
    /// Watches every durable step below `root`, an absolute path without links.
    ///
    /// # Errors
    /// When someone else watches this process's steps.
    pub fn over(root: &Path) -> anyhow::Result<Self> {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        static WATCHER: Watcher = Watcher;
        anyhow::ensure!(*INSTALLED.get_or_init(|| step::watch(&WATCHER)), "steps are watched");
        watched().push(Watched {
            root: root.to_owned(),
            trace: Vec::new(),
            armed: None,
            busy: None,
            depth: 0,
            stray: Vec::new(),
        });
        Ok(Points { root: root.to_owned() })
    }

    fn with<R: Default>(&self, look: impl FnOnce(&mut Watched) -> R) -> R {
        watched().iter_mut().find(|w| w.root == self.root).map_or_else(R::default, look)
    }

    /// Every point met since the last call, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<(Step, Part)> {
        self.with(|w| std::mem::take(&mut w.trace))
    }

    /// Makes the point fail once, after it was passed `pass` times, and copies the
    /// directory to `copy_to` as it is at that moment: what a crash there leaves.
    pub fn arm(&self, step: Step, part: Part, pass: usize, how: How, copy_to: &Path) {
        self.with(|w| {
            let copy_to = copy_to.to_owned();
            let armed = Armed { step, part, pass, how, copy_to, hit: false, copy_after: false };
            w.armed = Some(armed);
        });
    }

    /// Whether the armed point was met.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.with(|w| w.armed.as_ref().is_some_and(|a| a.hit))
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        self.with(|w| w.armed = None);
    }

    /// Write-ahead logs that were written outside every step.
    #[must_use]
    pub fn stray(&self) -> Vec<String> {
        self.with(|w| std::mem::take(&mut w.stray))
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        watched().retain(|w| w.root != self.root);
        FREE.notify_all();
    }
}
