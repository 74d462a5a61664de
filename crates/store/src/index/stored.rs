//! Single rows written and read back: a version with its values, the name of a resource,
//! the text of a term.

use phial_fhir::ResourceType;
use rusqlite::{Connection, OptionalExtension, params};

use super::db;
use super::dict::Names;
use super::pack::{hash, pack_code, put_date, put_written, unpack_code, unzig, zig};
use super::predicate::Version;
use super::values::{Cursor, Val, decode, encode, primary_span, put_uint, res_key, res_name};
use crate::error::Error;

/// Writes a version's row into `out`: the record's name in the record log, numbers, the
/// date column, the time of writing, the sequence of the version before, the values.
pub(super) fn write_body(v: &Version, names: &Names, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&v.row);
    put_uint(out, v.res.cast_unsigned());
    put_uint(out, u64::from(v.ver));
    put_uint(out, u64::from(v.tag));
    put_uint(out, zig(v.patient));
    put_date(out, v.date);
    put_written(out, v.updated);
    put_uint(out, v.prev.cast_unsigned());
    // What the facet says is not written again.
    let own = v.vals.get(names.facet(v.tag).len()..).unwrap_or_default();
    encode(own, primary(v, names), out);
}

fn primary(v: &Version, names: &Names) -> Option<(i64, i64)> {
    primary_span(v.date, names.tag(v.tag)?.span)
}

/// The version in a row, without its values, and the block with them.
pub(super) fn read_head(vid: i64, body: &[u8]) -> Option<(Version, &[u8])> {
    let mut c = Cursor(body);
    let version = Version {
        ty: db::type_of(vid),
        seq: db::seq_of(vid),
        row: c.bytes(16)?.try_into().ok()?,
        res: c.uint()?.cast_signed(),
        ver: u32::try_from(c.uint()?).ok()?,
        tag: u32::try_from(c.uint()?).ok()?,
        patient: unzig(c.uint()?),
        date: c.date()?,
        updated: c.written()?,
        prev: c.uint()?.cast_signed(),
        vals: Vec::new(),
    };
    Some((version, c.0))
}

/// The version in a row.
pub(super) fn read_body(vid: i64, body: &[u8], names: &Names) -> Result<Version, Error> {
    let (mut v, block) = read_head(vid, body).ok_or(Error::Unusable)?;
    let facet = names.facet(v.tag).iter();
    v.vals.reserve(16);
    v.vals.extend(facet.map(|(pcode, term)| Val::Post { pcode: *pcode, term: *term }));
    decode(block, primary(&v, names), &mut v.vals)?;
    Ok(v)
}

fn with_body<T>(
    conn: &Connection,
    vid: i64,
    read: impl FnOnce(&[u8]) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut s = conn.prepare_cached("SELECT body FROM version WHERE vid=?1")?;
    let mut rows = s.query([vid])?;
    let Some(r) = rows.next()? else { return Ok(None) };
    read(r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?).map(Some)
}

/// The version row, when it is there.
pub(super) fn fetch(conn: &Connection, names: &Names, vid: i64) -> Result<Option<Version>, Error> {
    with_body(conn, vid, |body| read_body(vid, body, names))
}

/// As [`fetch`], without the values.
pub(super) fn fetch_head(conn: &Connection, vid: i64) -> Result<Option<Version>, Error> {
    with_body(conn, vid, |body| Ok(read_head(vid, body).ok_or(Error::Unusable)?.0))
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

/// The number of a resource that something mentions, by its key.
pub(super) fn resource_by_key(conn: &Connection, key: &[u8]) -> Result<Option<i64>, Error> {
    Ok(conn
        .prepare_cached(
            "SELECT r.num FROM (SELECT num FROM res_hash_young WHERE hash=?1 \
             UNION ALL SELECT num FROM res_hash WHERE hash=?1) h \
             CROSS JOIN res r ON r.num=h.num WHERE r.key=?2 LIMIT 1",
        )?
        .query_row(params![hash(key), key], |r| r.get(0))
        .optional()?)
}

/// The number of a resource that something mentions.
pub(super) fn resource(conn: &Connection, ty: u8, id: &str) -> Result<Option<i64>, Error> {
    let mut key = Vec::new();
    res_key(ty, id, &mut key);
    resource_by_key(conn, &key)
}

/// Notes a new resource.
pub(super) fn put_resource(conn: &Connection, num: i64, key: &[u8]) -> Result<(), Error> {
    conn.prepare_cached("INSERT INTO res VALUES(?1, ?2, 0)")?.execute(params![num, key])?;
    conn.prepare_cached("INSERT INTO res_hash_young VALUES(?1, ?2)")?
        .execute(params![hash(key), num])?;
    Ok(())
}

/// Forgets a resource.
pub(super) fn delete_resource(conn: &Connection, num: i64, key: &[u8]) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM res WHERE num=?1")?.execute([num])?;
    for sql in [
        "DELETE FROM res_hash WHERE hash=?1 AND num=?2",
        "DELETE FROM res_hash_young WHERE hash=?1 AND num=?2",
    ] {
        conn.prepare_cached(sql)?.execute(params![hash(key), num])?;
    }
    Ok(())
}

/// The terms with this code, of one system (0: none) or of all.
pub(super) fn terms(conn: &Connection, system: Option<i64>, code: &str) -> Result<Vec<i64>, Error> {
    let (low, high) = system.map_or((0, i64::MAX), |s| (s << 32, (s + 1) << 32));
    let code = pack_code(code);
    let mut s = conn.prepare_cached(
        "SELECT t.num FROM (SELECT num FROM term_hash WHERE hash=?1 \
         UNION ALL SELECT num FROM term_hash_young WHERE hash=?1) h \
         CROSS JOIN term t ON t.num=h.num WHERE h.num>=?2 AND h.num<?3 AND t.code=?4",
    )?;
    let rows = s.query_map(params![hash(&code), low, high, code], |r| r.get(0))?;
    rows.collect::<Result<_, _>>().map_err(Error::from)
}

/// The code of a term.
pub(super) fn term_text(conn: &Connection, num: i64) -> Result<String, Error> {
    let packed: Vec<u8> = conn
        .prepare_cached("SELECT code FROM term WHERE num=?1")?
        .query_row([num], |r| r.get(0))?;
    unpack_code(&packed).ok_or(Error::Unusable)
}

/// As [`term_text`]; `None` for a term that was forgotten.
pub(super) fn known_term_text(conn: &Connection, num: i64) -> Result<Option<String>, Error> {
    let packed: Option<Vec<u8>> = conn
        .prepare_cached("SELECT code FROM term WHERE num=?1")?
        .query_row([num], |r| r.get(0))
        .optional()?;
    packed.map(|packed| unpack_code(&packed).ok_or(Error::Unusable)).transpose()
}

/// Notes a new term.
pub(super) fn put_term(conn: &Connection, num: i64, code: &str) -> Result<(), Error> {
    let code = pack_code(code);
    conn.prepare_cached("INSERT INTO term VALUES(?1, ?2)")?.execute(params![num, code])?;
    conn.prepare_cached("INSERT INTO term_hash_young VALUES(?1, ?2)")?
        .execute(params![hash(&code), num])?;
    Ok(())
}

/// Forgets a term.
pub(super) fn delete_term(conn: &Connection, num: i64) -> Result<(), Error> {
    let code: Option<Vec<u8>> = conn
        .prepare_cached("SELECT code FROM term WHERE num=?1")?
        .query_row([num], |r| r.get(0))
        .optional()?;
    let Some(code) = code else { return Ok(()) };
    conn.prepare_cached("DELETE FROM term WHERE num=?1")?.execute([num])?;
    for sql in [
        "DELETE FROM term_hash WHERE hash=?1 AND num=?2",
        "DELETE FROM term_hash_young WHERE hash=?1 AND num=?2",
    ] {
        conn.prepare_cached(sql)?.execute(params![hash(&code), num])?;
    }
    Ok(())
}
