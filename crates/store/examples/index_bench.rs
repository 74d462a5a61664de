//! Measures the local index on synthetic observations: how fast it takes them in, how
//! long searches last, and what a resource costs on disk.
//!
//! `cargo run --release -p phial-store --example index_bench [observations]`, or with a
//! file of resources, one a line, instead of the number: those are taken in as they are.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measuring tool, not the product"
)]

use std::time::Instant;

use phial_base::{ClassSet, DataClass, LabelSet, LogicalId, RowId, Seq, Version};
use phial_crypto::SecretKey;
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Extracted, Filter, Include, Modifier, On, Operand, ParamId, Prefix, Query, SortKey, Term, param,
};
use phial_policy::RelationshipSet;
use phial_store::Options;
use phial_store::index::{Index, Indexed, Shape, Viewer};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const PER_PATIENT: u64 = 200;
const BATCH: u64 = 2000;
const LOINC: &str = "http://loinc.org";

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn uuid(space: u64, n: u64) -> String {
    let (a, b) = (mix(n ^ space << 32), mix(n.wrapping_add(space << 40)));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

struct Params {
    observation: ResourceType,
    patient: ResourceType,
    encounter: ResourceType,
}

impl Params {
    fn of(&self, ty: ResourceType, code: &str) -> ParamId {
        param(ty, code).unwrap()
    }
}

fn token(system: &str, code: &str) -> Term {
    Term::Token { system: Some(system.into()), code: Some(code.into()) }
}

fn record(
    seq: u64,
    ty: ResourceType,
    id: String,
    patient: String,
    values: Vec<(ParamId, DataClass, Term)>,
) -> Indexed {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&mix(seq).to_le_bytes());
    row[8..].copy_from_slice(&mix(seq ^ 1 << 50).to_le_bytes());
    Indexed {
        seq: Seq(seq),
        row: RowId(row),
        version: Version(1),
        ty,
        id: LogicalId::new(&id).unwrap(),
        patients: vec![LogicalId::new(&patient).unwrap()],
        labels: LabelSet::NONE,
        classes: ClassSet::ALL,
        deleted: false,
        last_updated: i64::try_from(seq).unwrap() * SECOND,
        values: Extracted { values, primary_date: None },
    }
}

fn observation(p: &Params, seq: u64, n: u64, patient: &str, date_span: i64) -> Indexed {
    let o = |code| p.of(p.observation, code);
    let m = mix(n);
    let who = Term::Ref {
        target: Some(p.patient),
        id: Some(patient.into()),
        url: None,
        identifier: None,
    };
    let encounter = Term::Ref {
        target: Some(p.encounter),
        id: Some(uuid(3, n / 10).into()),
        url: None,
        identifier: None,
    };
    let low = 15_000 * DAY + i64::try_from(m % 400_000_000).unwrap() % date_span * SECOND;
    let code = token(LOINC, &format!("{}-{}", 1000 + mix(m) % 60, m % 9 % 2));
    let value = f64::from(u32::try_from(m % 2000).unwrap()) / 10.0;
    let quantity = Term::Quantity {
        value,
        low: value,
        high: value,
        system: Some("http://unitsofmeasure.org".into()),
        code: Some("mg/dL".into()),
        unit: Some("mg/dL".into()),
    };
    let (lab, admin) = (DataClass::Laboratory, DataClass::Administrative);
    let pair = Term::Parts {
        parts: [[(lab, code.clone())].into(), [(lab, quantity.clone())].into()].into(),
    };
    let values = vec![
        (o("code"), lab, code.clone()),
        (o("combo-code"), lab, code),
        (
            o("category"),
            lab,
            token("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory"),
        ),
        (o("status"), admin, token("http://hl7.org/fhir/observation-status", "final")),
        (o("date"), lab, Term::Date { low, high: low + SECOND }),
        (o("patient"), admin, who.clone()),
        (o("subject"), admin, who),
        (o("encounter"), admin, encounter),
        (o("value-quantity"), lab, quantity.clone()),
        (o("combo-value-quantity"), lab, quantity.clone()),
        (o("code-value-quantity"), lab, pair.clone()),
        (o("combo-code-value-quantity"), lab, pair),
    ];
    record(seq, p.observation, uuid(1, n), patient.to_owned(), values)
}

fn patient(p: &Params, seq: u64, n: u64, id: &str) -> Indexed {
    let o = |code| p.of(p.patient, code);
    let family: Box<str> = format!("Family{}", mix(n) % 500).into();
    let given: Box<str> = format!("Given{}", mix(n ^ 7) % 200).into();
    let d = DataClass::Demographic;
    let low = i64::try_from(mix(n) % 20_000).unwrap() * DAY;
    let values = vec![
        (o("family"), d, Term::Str { text: family.clone() }),
        (o("name"), d, Term::Str { text: family }),
        (o("given"), d, Term::Str { text: given.clone() }),
        (o("name"), d, Term::Str { text: given }),
        (o("birthdate"), d, Term::Date { low, high: low + DAY }),
        (o("gender"), d, token("http://hl7.org/fhir/administrative-gender", "female")),
        (o("identifier"), DataClass::Identifier, token("urn:mrn", &uuid(9, n))),
        (
            o("identifier"),
            DataClass::GovernmentIdentifier,
            token("urn:ssn", &format!("999-{n:07}")),
        ),
    ];
    record(seq, p.patient, id.to_owned(), id.to_owned(), values)
}

fn filter(on: ParamId, operand: Operand) -> Filter {
    Filter { on: On::Param(on), modifier: Modifier::None, values: vec![operand] }
}

/// Nanoseconds that this thread has had a processor: what other programs take is not in it.
fn busy() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn measure(what: &str, rounds: u64, mut run: impl FnMut(u64) -> usize) {
    let mut times = Vec::new();
    let mut hits = 0;
    let before = busy();
    for n in 0..rounds {
        let start = Instant::now();
        hits += run(n);
        times.push(start.elapsed());
    }
    let mean = std::time::Duration::from_nanos((busy() - before) / rounds);
    times.sort();
    let at = |q: usize| times[(times.len() - 1) * q / 100];
    println!(
        "{what}: median {:?}, p95 {:?}, p99 {:?}, mean of processor time {mean:?} ({} hits)",
        at(50),
        at(95),
        at(99),
        hits
    );
}

/// What each table of a closed file takes, overhead of its pages included.
fn tables(path: &std::path::Path, resources: u64) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let key = "07".repeat(32);
    conn.execute_batch(&format!(
        "PRAGMA key=\"x'{key}'\"; PRAGMA cipher_page_size=8192; \
         PRAGMA cipher_hmac_algorithm=HMAC_SHA256;"
    ))
    .unwrap();
    let mut s = conn
        .prepare("SELECT name, sum(pgsize), sum(payload) FROM dbstat GROUP BY name ORDER BY 2 DESC")
        .unwrap();
    let mut rows = s.query([]).unwrap();
    while let Some(r) = rows.next().unwrap() {
        let (name, size, used): (String, f64, f64) =
            (r.get(0).unwrap(), r.get(1).unwrap(), r.get(2).unwrap());
        let each = size / resources as f64;
        println!(
            "  {name}: {each:.1} bytes a resource, of which payload {:.0} %",
            100.0 * used / size
        );
    }
}

/// Takes in the resources of a file and says what they cost.
fn file(path: &str) {
    use phial_fhir::search::extract;
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    for (seq, line) in (1_u64..).zip(text.lines()) {
        let doc = phial_fhir::Doc::parse(line.as_bytes(), &phial_fhir::Limits::default()).unwrap();
        let Ok(valid) = phial_fhir::validate(doc) else { continue };
        let id = valid.doc().root().member("id").unwrap().as_str().unwrap().into_owned();
        let mut one = record(seq, valid.resource_type(), id, "x".to_owned(), Vec::new());
        one.patients = phial_fhir::compartment::patients(&valid);
        one.values = extract(&valid);
        all.push(one);
    }
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let index = Index::open(dir.path(), 1, &key, &Options::default()).unwrap();
    let start = Instant::now();
    for batch in all.chunks(2000) {
        index.apply(batch).unwrap();
    }
    let (n, spent) = (all.len(), start.elapsed());
    drop(index);
    let bytes = std::fs::metadata(Index::file(dir.path(), 1)).unwrap().len();
    println!("{n} resources, {:.0}/s", n as f64 / spent.as_secs_f64());
    println!("disk: {} bytes a resource", bytes / n as u64);
    tables(&Index::file(dir.path(), 1), n as u64);
}

fn main() {
    if let Some(path) = std::env::args().nth(1).filter(|a| a.parse::<u64>().is_err()) {
        return file(&path);
    }
    let total: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(200_000);
    let p = Params {
        observation: ResourceType::from_name("Observation").unwrap(),
        patient: ResourceType::from_name("Patient").unwrap(),
        encounter: ResourceType::from_name("Encounter").unwrap(),
    };
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let index = Index::open(dir.path(), 1, &key, &Options::default()).unwrap();
    let mut seq = 0;
    let mut spent = std::time::Duration::ZERO;
    let mut worked = 0;
    let patients = total / PER_PATIENT;
    let mut batch = Vec::new();
    // One patient of 20,000 observations beside the ordinary ones.
    let heavy = uuid(2, u64::MAX);
    for n in 0..total + patients + 20_000 {
        seq += 1;
        batch.push(if n < patients {
            patient(&p, seq, n, &uuid(2, n))
        } else if n < total + patients {
            observation(&p, seq, n, &uuid(2, (n - patients) / PER_PATIENT), 400_000_000)
        } else {
            observation(&p, seq, n, &heavy, 400_000_000)
        });
        if batch.len() as u64 == BATCH || n + 1 == total + patients + 20_000 {
            let (start, had) = (Instant::now(), busy());
            index.apply(&batch).unwrap();
            spent += start.elapsed();
            worked += busy() - had;
            batch.clear();
        }
    }
    println!(
        "taken in: {seq} resources, {:.0}/s; {:.0}/s of processor time",
        seq as f64 / spent.as_secs_f64(),
        seq as f64 / (worked as f64 / 1e9)
    );
    println!("disk: {} bytes a resource", index.bytes_on_disk() / seq);

    let access = |_: &Shape, _: RelationshipSet| ClassSet::ALL;
    let viewer = Viewer::default();
    let at = index.applied();
    let of = |id: &str| Operand::Ref { target: Some(p.patient), id: Some(id.into()), url: None };
    let loinc = |n: u64| Operand::Token {
        system: Some(Some(LOINC.into())),
        code: Some(format!("{}-0", 1000 + n % 60).into()),
    };
    let newest = SortKey { on: On::Param(p.of(p.observation, "date")), descending: true };
    let search = |q: &Query, limit, count| {
        let page = index.search(q, &viewer, &access, at, None, limit, count).unwrap();
        page.total.map_or(page.hits.len(), |t| usize::try_from(t).unwrap())
    };
    let in_patient = |id: &str, n: u64| {
        let mut q = Query::all(p.observation);
        q.filters.push(filter(p.of(p.observation, "patient"), of(id)));
        q.filters.push(filter(p.of(p.observation, "code"), loinc(n)));
        q.sort.push(newest);
        q
    };
    measure("patient+code, newest first, 20", 5000, |n| {
        search(&in_patient(&uuid(2, mix(n) % patients), n), 20, false)
    });
    measure("the same with total", 2000, |n| {
        search(&in_patient(&uuid(2, mix(n) % patients), n), 20, true)
    });
    measure("the same at 20,000 observations", 1000, |n| search(&in_patient(&heavy, n), 20, false));
    measure("the same at 20,000, with total", 200, |n| search(&in_patient(&heavy, n), 20, true));
    measure("all of a patient, newest first, 20, at 20,000", 500, |n| {
        let mut q = in_patient(&heavy, n);
        q.filters.truncate(1);
        search(&q, 20, false)
    });
    measure("all of a patient in the log's order, 20, at 20,000", 50, |n| {
        let mut q = in_patient(&heavy, n);
        q.filters.truncate(1);
        q.sort.clear();
        search(&q, 20, false)
    });
    measure("family+birthdate", 5000, |n| {
        let n = mix(n) % patients;
        let mut q = Query::all(p.patient);
        let family = format!("family{}", mix(n) % 500);
        q.filters.push(filter(p.of(p.patient, "family"), Operand::Str(family.into())));
        let low = i64::try_from(mix(n) % 20_000).unwrap() * DAY;
        let date = Operand::Date { prefix: Prefix::Eq, low, high: low + DAY };
        q.filters.push(filter(p.of(p.patient, "birthdate"), date));
        search(&q, 20, false)
    });
    measure("identifier", 5000, |n| {
        let mut q = Query::all(p.patient);
        let code = Some(uuid(9, mix(n) % patients).into());
        let mrn = Operand::Token { system: Some(Some("urn:mrn".into())), code };
        q.filters.push(filter(p.of(p.patient, "identifier"), mrn));
        search(&q, 20, false)
    });
    let population = |n: u64| {
        let mut q = Query::all(p.observation);
        q.filters.push(filter(p.of(p.observation, "code"), loinc(n)));
        let low = 15_000 * DAY + i64::try_from(n % 2000).unwrap() * DAY;
        let date = Operand::Date { prefix: Prefix::Ge, low, high: low + DAY };
        q.filters.push(filter(p.of(p.observation, "date"), date));
        q
    };
    measure("population code+date, 20", 200, |n| search(&population(n), 20, false));
    measure("population code+date, newest first, 20", 200, |n| {
        let mut q = population(n);
        q.sort.push(newest);
        search(&q, 20, false)
    });
    measure("population code+date, count", 200, |n| search(&population(n), 0, true));
    measure("family:contains", 500, |n| {
        let mut q = Query::all(p.patient);
        let part = format!("ily{}", 10 + mix(n) % 490);
        q.filters.push(filter(p.of(p.patient, "family"), Operand::Str(part.into())));
        q.filters[0].modifier = Modifier::Contains;
        search(&q, 20, false)
    });
    let pair = |n: u64, low: f64| {
        let above = Operand::Quantity {
            prefix: Prefix::Gt,
            value: low,
            low,
            high: low,
            system: None,
            code: None,
        };
        filter(p.of(p.observation, "code-value-quantity"), Operand::Parts([loinc(n), above].into()))
    };
    measure("patient, code and value together, 20", 2000, |n| {
        let mut q = in_patient(&uuid(2, mix(n) % patients), n);
        q.filters[1] = pair(n, 100.0);
        search(&q, 20, false)
    });
    measure("population code and value together, 20", 100, |n| {
        let mut q = Query::all(p.observation);
        q.filters.push(pair(n, 150.0));
        search(&q, 20, false)
    });
    measure("what refers to 20 patients, all", 100, |n| {
        let mut q = Query::all(p.patient);
        let ids = (0..20).map(|i| LogicalId::new(&uuid(2, mix(n * 20 + i) % patients)).unwrap());
        let values = ids.map(Operand::Id).collect();
        q.filters.push(Filter { on: On::Id, modifier: Modifier::None, values });
        let hits = index.search(&q, &viewer, &access, at, None, 20, false).unwrap().hits;
        let by = Include {
            source: Some(p.observation),
            param: Some(p.of(p.observation, "patient")),
            target: None,
            iterate: false,
        };
        index.referring(&[by], &hits, &viewer, &access, at, 1 << 20).unwrap().unwrap().len()
    });
    measure("a page of a type", 200, |_| search(&Query::all(p.observation), 20, false));
    measure("newest of a type, 20", 200, |_| {
        let mut q = Query::all(p.observation);
        q.sort.push(newest);
        search(&q, 20, false)
    });
}
