//! The header of the write-ahead log's index, read where SQLite itself reads it.
//!
//! It owns the store's one piece of unsafe code: asking SQLite for its own mapping of
//! the `-shm` file and copying 96 bytes out of it. Every commit, by whatever process,
//! changes these bytes before it returns (SQLite file format, "WAL-Index Format"), and
//! SQLite decides by them whether its page cache is still true. So two equal glances
//! mean that nothing was committed between them, without a transaction and without a
//! system call. It refuses to say anything when the memory can't be had.
#![expect(unsafe_code, reason = "SQLite gives its shared memory as a pointer")]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rusqlite::{Connection, ffi};

/// Bytes of one region of the shared memory, a constant of the file format.
const REGION: c_int = 32 * 1024;
/// Two copies of a header of 48 bytes stand first.
const WORDS: usize = 24;

/// What the header was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance([u32; WORDS]);

/// The header as it is now; `None` when the connection has no such memory.
pub(super) fn glance(conn: &Connection) -> Option<Glance> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    let slot: *mut *mut ffi::sqlite3_file = &raw mut file;
    // SAFETY: the handle is open for as long as `conn` is borrowed and no other thread
    // uses it meanwhile, since a connection is not `Sync`. This operation does nothing but
    // store the file's address in `slot`.
    let rc = unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            slot.cast::<c_void>(),
        )
    };
    if rc != ffi::SQLITE_OK || file.is_null() {
        return None;
    }
    let mut region: *mut c_void = std::ptr::null_mut();
    // SAFETY: `file` lives as long as the connection, and its methods are a constant of
    // its VFS. Version 2 and later have shared memory. The last argument but one says that
    // nothing is to be made or extended: the call hands back the mapping that the
    // connection uses already, or null.
    let rc = unsafe {
        let methods = (*file).pMethods.as_ref()?;
        if methods.iVersion < 2 {
            return None;
        }
        (methods.xShmMap?)(file, 0, REGION, 0, &raw mut region)
    };
    if rc != ffi::SQLITE_OK || region.is_null() {
        return None;
    }
    let words = region.cast::<u32>();
    let mut header = [0; WORDS];
    // What was committed before this call is seen by the loads after it.
    fence(Ordering::SeqCst);
    for (i, to) in header.iter_mut().enumerate() {
        // SAFETY: the region is 32 KiB, aligned to a page, and stays mapped while the
        // connection is open and in WAL mode, which no code of ours leaves. Other
        // processes write to it, so it is read as atomics. A header read while it is
        // being written equals no header that was whole in both copies before.
        *to = unsafe { AtomicU32::from_ptr(words.add(i)) }.load(Ordering::Acquire);
    }
    Some(Glance(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_changes_with_every_commit_of_any_connection_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let open = || {
            let c = Connection::open(&path).unwrap();
            let _: String = c.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0)).unwrap();
            let _: i64 =
                c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).unwrap();
            c
        };
        let (a, b) = (open(), open());
        a.execute_batch("CREATE TABLE t(x)").unwrap();
        let mut before = glance(&a).unwrap();
        for round in 0..50 {
            assert_eq!(glance(&a), Some(before));
            b.execute_batch(if round % 2 == 0 {
                "INSERT INTO t VALUES(1)"
            } else {
                "UPDATE t SET x = x + 1"
            })
            .unwrap();
            let after = glance(&a).unwrap();
            assert_ne!(after, before, "{round}");
            assert_eq!(glance(&b), Some(after));
            before = after;
            // A read, a transaction undone and a checkpoint commit nothing.
            b.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap();
            b.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
            assert_eq!(glance(&a), Some(before), "{round}");
            if round % 10 == 9 {
                b.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
                before = glance(&a).unwrap();
            }
        }
    }

    #[test]
    fn without_a_write_ahead_log_there_is_nothing_to_see() {
        let c = Connection::open_in_memory().unwrap();
        assert_eq!(glance(&c), None);
        let dir = tempfile::tempdir().unwrap();
        let c = Connection::open(dir.path().join("x.db")).unwrap();
        c.execute_batch("CREATE TABLE t(x)").unwrap();
        assert_eq!(glance(&c), None);
    }
}
