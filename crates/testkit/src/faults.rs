//! An SQLite VFS that fails when told to.
//!
//! It owns one VFS, [`VFS`], a layer over the default one; every file opened
//! through it first asks the rules of all living [`Faults`] handles. It refuses
//! to guess: an operation without a matching rule goes to the real file
//! unchanged, shared memory included, so WAL databases work as they do without it.
#![expect(
    unsafe_code,
    reason = "a VFS is a table of C functions; this file is the audited exception"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libsqlite3_sys as ffi;

/// The name under which the VFS is registered; give it to the store's options.
pub const VFS: &str = "phial-faults";
const VFS_C: &CStr = c"phial-faults";

/// What is asked of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Opening it.
    Open,
    /// Reading from it.
    Read,
    /// Writing to it.
    Write,
    /// Making what was written durable.
    Sync,
    /// Cutting it.
    Truncate,
    /// Mapping the shared memory that belongs to a WAL.
    Shm,
    /// Removing it.
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NoSpace,
    Io,
}

/// How an operation fails, from when and how often.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    kind: Kind,
    after: u64,
    times: Option<u64>,
    done_anyway: bool,
}

impl Failure {
    const fn of(kind: Kind) -> Self {
        Failure { kind, after: 0, times: None, done_anyway: false }
    }

    /// The disk is full (`SQLITE_FULL`).
    #[must_use]
    pub const fn no_space() -> Self {
        Self::of(Kind::NoSpace)
    }

    /// The device answers with an error (`SQLITE_IOERR_*`).
    #[must_use]
    pub const fn io() -> Self {
        Self::of(Kind::Io)
    }

    /// Lets the next `n` matching operations pass first.
    #[must_use]
    pub const fn after(mut self, n: u64) -> Self {
        self.after = n;
        self
    }

    /// Fails `n` times, then never again. Without this: until cleared.
    #[must_use]
    pub const fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    /// Does what was asked and reports a failure nevertheless.
    #[must_use]
    pub const fn but_done(mut self) -> Self {
        self.done_anyway = true;
        self
    }

    const fn code(&self, op: Op) -> c_int {
        match (self.kind, op) {
            (_, Op::Open) => ffi::SQLITE_CANTOPEN,
            (Kind::NoSpace, _) => ffi::SQLITE_FULL,
            (Kind::Io, Op::Read) => ffi::SQLITE_IOERR_READ,
            (Kind::Io, Op::Write) => ffi::SQLITE_IOERR_WRITE,
            (Kind::Io, Op::Sync) => ffi::SQLITE_IOERR_FSYNC,
            (Kind::Io, Op::Truncate) => ffi::SQLITE_IOERR_TRUNCATE,
            (Kind::Io, Op::Shm) => ffi::SQLITE_IOERR_SHMMAP,
            (Kind::Io, Op::Delete) => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

struct Rule {
    owner: u64,
    path_part: String,
    op: Op,
    failure: Failure,
}

#[derive(Default)]
struct Registry {
    rules: Vec<Rule>,
    done: BTreeMap<(String, Op), u64>,
    failed: BTreeMap<u64, u64>,
}

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
    REGISTRY
        .get_or_init(|| Mutex::new(Registry::default()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

enum Verdict {
    Pass,
    Fail(c_int),
    DoThenFail(c_int),
}

fn judge(path: &str, op: Op) -> Verdict {
    if op == Op::Write {
        crate::points::wrote(path);
    }
    let mut guard = registry();
    let registry = &mut *guard;
    *registry.done.entry((path.to_owned(), op)).or_default() += 1;
    for rule in &mut registry.rules {
        if rule.op != op || !path.contains(&rule.path_part) {
            continue;
        }
        if rule.failure.after > 0 {
            rule.failure.after -= 1;
            continue;
        }
        match &mut rule.failure.times {
            Some(0) => continue,
            Some(n) => *n -= 1,
            None => {}
        }
        *registry.failed.entry(rule.owner).or_default() += 1;
        let code = rule.failure.code(op);
        return if rule.failure.done_anyway {
            Verdict::DoThenFail(code)
        } else {
            Verdict::Fail(code)
        };
    }
    Verdict::Pass
}

/// The rules that one test made. They end with it.
#[derive(Debug)]
pub struct Faults {
    owner: u64,
}

impl Faults {
    /// Registers the VFS with SQLite, once a process, and makes a handle
    /// without rules.
    ///
    /// # Errors
    /// When SQLite refuses to register it.
    pub fn install() -> anyhow::Result<Self> {
        static REGISTERED: OnceLock<c_int> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let code = *REGISTERED.get_or_init(register);
        anyhow::ensure!(code == ffi::SQLITE_OK, "sqlite refused the vfs with code {code}");
        Ok(Faults { owner: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// From now on `op` on files whose path contains `path_part` fails so.
    pub fn fail(&self, path_part: &str, op: Op, failure: Failure) {
        registry().rules.push(Rule {
            owner: self.owner,
            path_part: path_part.to_owned(),
            op,
            failure,
        });
    }

    /// Everything that changes a file whose path contains `path_part` fails so:
    /// what a full or a broken disk does.
    pub fn fail_writes(&self, path_part: &str, failure: Failure) {
        for op in [Op::Write, Op::Sync, Op::Truncate] {
            self.fail(path_part, op, failure);
        }
    }

    /// Forgets the rules of this handle.
    pub fn clear(&self) {
        registry().rules.retain(|r| r.owner != self.owner);
    }

    /// How often this handle's rules made something fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        registry().failed.get(&self.owner).copied().unwrap_or(0)
    }

    /// How often `op` was asked, in this process, of files whose path contains
    /// `path_part`.
    #[must_use]
    pub fn count(&self, path_part: &str, op: Op) -> u64 {
        registry()
            .done
            .iter()
            .filter(|((path, o), _)| *o == op && path.contains(path_part))
            .map(|(_, n)| n)
            .sum()
    }

    /// [`Faults::count`] of [`Op::Sync`].
    #[must_use]
    pub fn syncs(&self, path_part: &str) -> u64 {
        self.count(path_part, Op::Sync)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What SQLite sees as an open file. The real file follows directly behind it
/// in the same allocation, which SQLite makes by `szOsFile`, aligned to 8 bytes.
#[repr(C)]
struct File {
    methods: *const ffi::sqlite3_io_methods,
    path: *mut String,
}

/// The pointer that a registered VFS keeps to the one below.
fn below(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: SQLite calls with the structure that `register` made, whose
    // application data is the default VFS; both live as long as the process.
    unsafe { (*vfs).pAppData.cast() }
}

/// The real file behind a wrapped one.
fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the allocation is `size_of::<File>()` plus the real VFS's own
    // `szOsFile`, so one `File` further on is still inside it.
    unsafe { file.cast::<File>().add(1).cast() }
}

fn path_of(file: *mut ffi::sqlite3_file) -> &'static str {
    // SAFETY: `open` stored a boxed string that `close` alone frees, and SQLite
    // never uses a file after closing it; no caller here keeps the reference.
    unsafe { (*file.cast::<File>()).path.as_ref().map_or("", String::as_str) }
}

/// Calls a method of the real file; a method it lacks answers with an I/O error.
macro_rules! forward {
    ($file:expr, $method:ident $(, $arg:expr)*) => {{
        let inner = real($file);
        // SAFETY: `inner` was opened by the real VFS (`open` succeeded, else SQLite
        // has no file to call with), so its method table is set; the arguments are
        // SQLite's own and passed on unchanged.
        unsafe {
            match (*inner).pMethods.as_ref().and_then(|m| m.$method) {
                Some(call) => call(inner $(, $arg)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

macro_rules! judged {
    ($file:expr, $op:expr, $call:expr) => {
        match judge(path_of($file), $op) {
            Verdict::Pass => $call,
            Verdict::Fail(code) => code,
            Verdict::DoThenFail(code) => {
                $call;
                code
            }
        }
    };
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = forward!(file, xClose);
    // SAFETY: the string was boxed by `open`; it is freed here, once, and the
    // pointer is cleared.
    unsafe {
        let wrapped = &mut *file.cast::<File>();
        if !wrapped.path.is_null() {
            drop(Box::from_raw(wrapped.path));
            wrapped.path = std::ptr::null_mut();
        }
        wrapped.methods = std::ptr::null();
    }
    code
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    n: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    judged!(file, Op::Read, forward!(file, xRead, to, n, at))
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    n: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    judged!(file, Op::Write, forward!(file, xWrite, from, n, at))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    judged!(file, Op::Truncate, forward!(file, xTruncate, size))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    judged!(file, Op::Sync, forward!(file, xSync, flags))
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    forward!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    forward!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    forward!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    forward!(file, xCheckReservedLock, out)
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    op: c_int,
    arg: *mut c_void,
) -> c_int {
    forward!(file, xFileControl, op, arg)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    forward!(file, xSectorSize)
}

unsafe extern "C" fn characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    forward!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    judged!(file, Op::Shm, forward!(file, xShmMap, page, size, extend, out))
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    forward!(file, xShmLock, offset, n, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    let inner = real(file);
    // SAFETY: as in `forward!`.
    unsafe {
        if let Some(call) = (*inner).pMethods.as_ref().and_then(|m| m.xShmBarrier) {
            call(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    forward!(file, xShmUnmap, delete)
}

/// Version 2 of the table: shared memory, but no memory-mapped reads, which
/// would pass by the rules.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn name_of(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: SQLite passes names as strings that end in a zero byte.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` is an allocation of our `szOsFile` bytes. SQLite closes a
    // file whose method table is set, so it stays unset until the open is good.
    unsafe {
        (*file.cast::<File>()).methods = std::ptr::null();
        (*file.cast::<File>()).path = std::ptr::null_mut();
        (*real(file)).pMethods = std::ptr::null();
    }
    let path = name_of(name);
    if let Verdict::Fail(code) | Verdict::DoThenFail(code) = judge(&path, Op::Open) {
        return code;
    }
    let lower = below(vfs);
    // SAFETY: `lower` is the default VFS, with its own pointer as first argument;
    // the real file's allocation is large enough.
    let code = unsafe {
        match (*lower).xOpen {
            Some(call) => call(lower, name, real(file), flags, out_flags),
            None => ffi::SQLITE_CANTOPEN,
        }
    };
    if code != ffi::SQLITE_OK {
        // SAFETY: a real file that failed to open but has methods must be closed.
        unsafe {
            let inner = real(file);
            if let Some(call) = (*inner).pMethods.as_ref().and_then(|m| m.xClose) {
                call(inner);
            }
        }
        return code;
    }
    // SAFETY: as above; `close` takes the string back.
    unsafe {
        (*file.cast::<File>()).path = Box::into_raw(Box::new(path));
        (*file.cast::<File>()).methods = &raw const METHODS;
    }
    code
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    let lower = below(vfs);
    let call = || {
        // SAFETY: the default VFS called with its own pointer and SQLite's arguments.
        unsafe {
            match (*lower).xDelete {
                Some(call) => call(lower, name, sync_dir),
                None => ffi::SQLITE_IOERR_DELETE,
            }
        }
    };
    match judge(&name_of(name), Op::Delete) {
        Verdict::Pass => call(),
        Verdict::Fail(code) => code,
        Verdict::DoThenFail(code) => {
            call();
            code
        }
    }
}

/// Passes a VFS method to the default VFS.
macro_rules! forward_vfs {
    ($vfs:expr, $method:ident, $none:expr $(, $arg:expr)*) => {{
        let lower = below($vfs);
        // SAFETY: the default VFS called with its own pointer and SQLite's arguments.
        unsafe {
            match (*lower).$method {
                Some(call) => call(lower $(, $arg)*),
                None => $none,
            }
        }
    }};
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    forward_vfs!(vfs, xAccess, ffi::SQLITE_IOERR_ACCESS, name, flags, out)
}

unsafe extern "C" fn full_path(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    n: c_int,
    out: *mut c_char,
) -> c_int {
    forward_vfs!(vfs, xFullPathname, ffi::SQLITE_CANTOPEN, name, n, out)
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, n: c_int, out: *mut c_char) -> c_int {
    forward_vfs!(vfs, xRandomness, 0, n, out)
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    forward_vfs!(vfs, xSleep, 0, micros)
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    forward_vfs!(vfs, xCurrentTime, ffi::SQLITE_ERROR, out)
}

unsafe extern "C" fn last_error(vfs: *mut ffi::sqlite3_vfs, n: c_int, out: *mut c_char) -> c_int {
    forward_vfs!(vfs, xGetLastError, 0, n, out)
}

unsafe extern "C" fn current_time_64(
    vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    forward_vfs!(vfs, xCurrentTimeInt64, ffi::SQLITE_ERROR, out)
}

fn register() -> c_int {
    // SAFETY: finding and registering a VFS are thread-safe; the structure is
    // leaked on purpose, since SQLite keeps the pointer for the process's life.
    unsafe {
        let code = ffi::sqlite3_initialize();
        if code != ffi::SQLITE_OK {
            return code;
        }
        let lower = ffi::sqlite3_vfs_find(std::ptr::null());
        let Some(base) = lower.as_ref() else { return ffi::SQLITE_ERROR };
        let Ok(own) = c_int::try_from(size_of::<File>()) else { return ffi::SQLITE_ERROR };
        let vfs = Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: own + base.szOsFile,
            mxPathname: base.mxPathname,
            pNext: std::ptr::null_mut(),
            zName: VFS_C.as_ptr(),
            pAppData: lower.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0)
    }
}
