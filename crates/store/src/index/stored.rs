//! Single rows read back: a version with its values, and the name of a resource.

use phial_fhir::ResourceType;
use rusqlite::{Connection, OptionalExtension, Row};

use super::db;
use super::predicate::Version;
use super::values::{decode, res_name};
use crate::error::Error;

/// The columns that [`read_version`] reads, in its order.
pub(super) const VERSION_COLUMNS: &str = "vid, res, ver, tag, patient, date, updated, row, vals";

/// The version in a row, and whether its values could be read.
pub(super) fn read_version(r: &Row<'_>) -> rusqlite::Result<(Version, bool)> {
    let vid: i64 = r.get(0)?;
    let vals = decode(r.get_ref(8)?.as_blob().unwrap_or_default());
    let whole = vals.is_ok();
    let version = Version {
        ty: db::type_of(vid),
        seq: db::seq_of(vid),
        res: r.get(1)?,
        ver: r.get(2)?,
        tag: r.get(3)?,
        patient: r.get(4)?,
        date: r.get(5)?,
        updated: r.get(6)?,
        row: r.get(7)?,
        vals: vals.unwrap_or_default(),
    };
    Ok((version, whole))
}

/// The version row, when it is there.
pub(super) fn fetch(conn: &Connection, vid: i64) -> Result<Option<Version>, Error> {
    let mut s = conn.prepare_cached(
        "SELECT vid, res, ver, tag, patient, date, updated, row, vals FROM version WHERE vid=?1",
    )?;
    match s.query_row([vid], read_version).optional()? {
        None => Ok(None),
        Some((v, true)) => Ok(Some(v)),
        Some((_, false)) => Err(Error::Unusable),
    }
}

/// `Type/id` of a resource.
pub(super) fn ref_text(conn: &Connection, num: i64) -> Result<String, Error> {
    let (ty, id) = res_text(conn, num)?;
    let name = ResourceType::from_number(ty).map_or("", ResourceType::name);
    Ok(format!("{name}/{id}"))
}

/// The type number and id of a resource.
pub(super) fn res_text(conn: &Connection, num: i64) -> Result<(u8, String), Error> {
    let key: Vec<u8> =
        conn.prepare_cached("SELECT key FROM res WHERE num=?1")?.query_row([num], |r| r.get(0))?;
    res_name(&key).ok_or(Error::Unusable)
}
