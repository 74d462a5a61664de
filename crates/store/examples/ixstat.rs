//! Throwaway.
#![allow(warnings, clippy::all, reason = "throwaway")]
use std::sync::Arc;
use std::time::Instant;
use phial_base::*;
use phial_crypto::*;
use phial_fhir::search::Extracted;
use phial_store::header::{Header, PART_SEARCH};
use phial_store::home::Home;
use phial_store::index::{Index, Indexed};
use phial_store::keystore::Keystore;
use phial_store::records::RecordLog;
use phial_store::Options;

fn main() {
    let home = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let batch_size: usize = std::env::args().nth(2).unwrap_or("4000".into()).parse().unwrap();
    let home = Home::open(&home).unwrap();
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let f = home.forbidden_for_keys();
    let f: Vec<&std::path::Path> = f.iter().map(|p| p.as_path()).collect();
    let root: Arc<dyn RootProvider> = Arc::new(KeyFile::open(&home.root_key(), &f).unwrap());
    let ks = Keystore::open(&home.keystore(), root, Arc::new(SystemClock), rng, &Options::default()).unwrap();
    let t = TenantId::default_tenant();
    let keys = ks.tenant_keys(&t).unwrap();
    let log = RecordLog::open(&home.records(&t), &Options::default()).unwrap();
    let mut all = Vec::new();
    let mut after = Seq(0);
    loop {
        let rows = log.changes(after, 1000).unwrap();
        let Some(l) = rows.last() else { break };
        after = l.seq;
        for r in rows {
            let name = RecordName { tenant: &t, row: r.row, version: r.version };
            let loc = locate(&r.blob, &name, &keys.locator).unwrap();
            let key = ks.by_handle(&t, loc.handle).unwrap().unwrap();
            let seq = r.seq;
            let o = unlock_record(r.blob, &name, &loc, &key.key).unwrap();
            let h = Header::decode(o.header()).unwrap();
            let values = if h.deleted { Extracted::default() } else { Extracted::decode(&o.open(PART_SEARCH).unwrap()).unwrap() };
            all.push(Indexed { seq, row: r.row, version: r.version, ty: h.ty, id: h.id, patients: h.patients, labels: h.labels, classes: h.classes, deleted: h.deleted, last_updated: h.last_updated, values });
        }
    }
    let n = all.len();
    println!("{n} versions");
    let dir = std::path::PathBuf::from("/tmp/ixout");
    let _ = std::fs::remove_dir_all(&dir);
    let k = SecretKey::from_bytes(&[7; 32]).unwrap();
    let start = Instant::now();
    {
        let ix = Index::open(&dir, 1, &k, &Options::default()).unwrap();
        for b in all.chunks(batch_size) { ix.apply(b).unwrap(); }
        println!("applied in {:?}", start.elapsed());
    }
    let path = Index::file(&dir, 1);
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{size} bytes, {:.1} a resource", size as f64 / n as f64);
    let c = rusqlite::Connection::open(&path).unwrap();
    let page: u32 = std::env::var("PAGE").unwrap_or("8192".into()).parse().unwrap();
    c.execute_batch(&format!("PRAGMA key = \"x'{}'\"; PRAGMA cipher_page_size={page}; PRAGMA cipher_hmac_algorithm=HMAC_SHA256;", hex::encode([7; 32]))).unwrap();
    let mut s = c.prepare("SELECT name, count(*), sum(pgsize), sum(payload), sum(ncell), sum(unused) FROM dbstat GROUP BY name ORDER BY 3 DESC").unwrap();
    let mut rows = s.query([]).unwrap();
    println!("{:14} {:>6} {:>9} {:>7} {:>9} {:>8} {:>6}", "name", "pages", "bytes", "B/res", "payload", "cells", "fill%");
    while let Some(r) = rows.next().unwrap() {
        let (name, pages, b, p, cells, unused): (String, i64, i64, i64, i64, i64) = (r.get(0).unwrap(), r.get(1).unwrap(), r.get(2).unwrap(), r.get(3).unwrap(), r.get(4).unwrap(), r.get(5).unwrap());
        if b > 100_000 { println!("{name:14} {pages:>6} {b:>9} {:>7.1} {p:>9} {cells:>8} {:>6.1} {:.1}B/cell", b as f64 / n as f64, 100.0 * (1.0 - unused as f64 / b as f64), p as f64 / cells as f64); }
    }
    drop(rows);
    for q in std::env::args().skip(3) {
        println!("-- {q}");
        let mut s = c.prepare(&q).unwrap();
        let cols = s.column_count();
        let mut rows = s.query([]).unwrap();
        while let Some(r) = rows.next().unwrap() {
            for i in 0..cols { print!("{:?}\t", r.get::<_, rusqlite::types::Value>(i).unwrap()); }
            println!();
        }
    }
}
