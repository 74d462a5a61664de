//! Searches, row by row, against what they must find: by R4's own examples and rules
//! (`tests/conformance/specification.tsv`), and by brute force over a clinic's records
//! (`tests/conformance/clinic.tsv`). Any difference fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use phial_base::{ClassSet, LogicalId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::search::{Candidate, Query, extract_again, is_local, matches, parse_query};
use phial_fhir::{Doc, Limits};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::PHIAL;
use crate::oracle::{Oracle, query};

/// Who sees every record.
pub(crate) const ASKER: &str = "privacy-officer";
/// Who writes any record under any id.
pub(crate) const LOADER: &str = "import-client";

/// A home without records, with the two accounts.
pub(crate) fn empty() -> World {
    let mut world = World::empty(PHIAL);
    world.user("petra", ASKER, None);
    world.user("ivo", LOADER, None);
    world
}

/// `POST .../_search` of `Type?query`, `Type/id/Type?query` or `?query`.
fn ask(server: &Server, request: &str, lenient: bool) -> Answer {
    let (path, form) = request.split_once('?').unwrap();
    let path = if path.is_empty() { "_search".to_owned() } else { format!("{path}/_search") };
    let handling = if lenient { "handling=lenient" } else { "handling=strict" };
    send(
        server
            .request(ASKER, Method::POST, &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("prefer", handling)
            .body(form.to_owned()),
    )
}

/// What was answered: ids in order, and `Type/id` of what was added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ids: Vec<String>,
    pub(crate) included: BTreeSet<String>,
    pub(crate) total: Option<u64>,
    pub(crate) pages: usize,
}

/// All pages of a search, or the status and text of what refused it.
pub(crate) fn all_pages(
    server: &Server,
    request: &str,
    lenient: bool,
) -> Result<Found, (u16, String)> {
    let mut page = ask(server, request, lenient);
    let mut found = Found { ids: Vec::new(), included: BTreeSet::new(), total: None, pages: 0 };
    loop {
        if page.status != 200 {
            return Err((page.status, page.text()));
        }
        found.pages += 1;
        found.total = found.total.or(page.json()["total"].as_u64());
        found.ids.extend(page.ids("match"));
        for r in page.entries("include") {
            let name = |m: &str| r[m].as_str().unwrap().to_owned();
            found.included.insert(format!("{}/{}", name("resourceType"), name("id")));
        }
        match page.link("next") {
            Some(next) => page = server.get(ASKER, &next),
            None => return Ok(found),
        }
    }
}

/// A row of `specification.tsv`.
struct Row<'t> {
    id: &'t str,
    section: &'t str,
    pending: bool,
    kind: &'t str,
    request: &'t str,
    expected: &'t str,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let rows: Vec<Row<'_>> = table
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let f: Vec<&str> = l.split('\t').collect();
            let [id, section, pending, kind, request, expected] = f.as_slice() else {
                panic!("not a row: {l}")
            };
            assert!(["-", "pending"].contains(pending), "{id}");
            Row { id, section, pending: *pending == "pending", kind, request, expected }
        })
        .collect();
    let ids: BTreeSet<&str> = rows.iter().map(|r| r.id).collect();
    assert_eq!(ids.len(), rows.len(), "an id stands twice");
    rows
}

impl Row<'_> {
    /// What is wrong with the answer; nothing when it is right.
    fn wrong(&self, server: &Server) -> Option<String> {
        let request = self.request.replace("{base}", server.base());
        let (ids, added) = self.expected.split_once(" + ").unwrap_or((self.expected, ""));
        let words = |s: &str| -> Vec<String> {
            s.split(' ').filter(|w| !w.is_empty() && *w != "-").map(str::to_owned).collect()
        };
        if self.kind == "status" {
            let got = ask(server, &request, false).status.to_string();
            return (got != self.expected).then(|| format!("answered {got}"));
        }
        if ["page", "total"].contains(&self.kind) {
            let page = ask(server, &request, false);
            if page.status != 200 {
                return Some(format!("answered {}: {}", page.status, page.text()));
            }
            let got = if self.kind == "page" {
                page.ids("match").join(" ")
            } else {
                page.json()["total"].to_string()
            };
            return (got != self.expected).then(|| format!("gave {got}"));
        }
        let found = match all_pages(server, &request, self.kind == "lenient") {
            Ok(found) => found,
            Err((status, text)) => return Some(format!("answered {status}: {text}")),
        };
        let (mut got, mut wanted) = (found.ids, words(ids));
        if self.kind != "order" {
            got.sort();
            wanted.sort();
        }
        let included: BTreeSet<String> = words(added).into_iter().collect();
        let right = got == wanted && found.included == included;
        (!right).then(|| format!("gave {got:?} and added {:?}", found.included))
    }
}

/// Loads lines of JSON through the server, as the loader.
fn load(server: &Server, lines: &str) -> usize {
    let entries: Vec<Value> = lines
        .lines()
        .map(|l| {
            let r: Value = serde_json::from_str(&l.replace("{base}", server.base())).unwrap();
            let url =
                format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
            json!({"resource": r, "request": {"method": "PUT", "url": url}})
        })
        .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let done = send(fhir(server.request(LOADER, Method::POST, ""), &bundle)).expect(200).json();
    for (entry, line) in done["entry"].as_array().unwrap().iter().zip(lines.lines()) {
        let status = entry["response"]["status"].as_str().unwrap_or("");
        assert!(status.starts_with("201"), "{line}: {entry}");
    }
    entries.len()
}

#[test]
fn searches_find_what_the_specification_says() {
    let rows = rows(include_str!("../conformance/specification.tsv"));
    assert!(rows.len() >= 200, "{}", rows.len());
    let world = empty();
    let server = world.serve();
    let _ = load(&server, include_str!("../conformance/specification.ndjson"));
    let mut differences = String::new();
    for row in &rows {
        let at = format!("{} ({}): {}", row.id, row.section, row.request);
        match (row.wrong(&server), row.pending) {
            (Some(what), false) => {
                let _ = writeln!(differences, "{at}\n    expected {}, {what}", row.expected);
            }
            (None, true) => {
                let _ = writeln!(differences, "{at}\n    passes: take its mark `pending` off");
            }
            _ => {}
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

/// The rows that look at nothing but the record itself, without a server and an index: what
/// a subscription's filter is held against as it passes by.
#[test]
fn a_filter_of_a_subscription_says_what_a_search_says() {
    let lines = include_str!("../conformance/specification.ndjson");
    let all: Vec<(ResourceType, LogicalId, Doc)> = lines
        .lines()
        // Below the server's own base references are stored relative.
        .map(|l| Doc::parse(l.replace("{base}/", "").as_bytes(), &Limits::default()).unwrap())
        .map(|doc| {
            let text = |name| doc.root().member(name).unwrap().as_str().unwrap().into_owned();
            let ty = ResourceType::from_name(&text("resourceType")).unwrap();
            (ty, LogicalId::new(&text("id")).unwrap(), doc)
        })
        .collect();
    let (mut held, mut differences) = (0, String::new());
    for row in rows(include_str!("../conformance/specification.tsv")) {
        let set = row.kind == "set" && !row.pending && !row.expected.contains(" + ");
        let Some((ty, form)) = row.request.split_once('?').filter(|_| set) else { continue };
        let Some(ty) = ResourceType::from_name(ty) else { continue };
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        if form.contains("{base}") {
            continue;
        }
        let query = parse_query(ty, &pairs).unwrap();
        let plain = Query { filters: query.filters.clone(), ..Query::all(ty) };
        if plain != query || !is_local(&query) {
            continue;
        }
        held += 1;
        let mut found: Vec<&str> = all
            .iter()
            .filter(|(of, ..)| *of == ty)
            .filter(|(_, id, doc)| {
                let values = extract_again(doc, ty);
                let visible = ClassSet::ALL;
                matches(&query, &Candidate { id, last_updated: 0, values: &values.values, visible })
            })
            .map(|(_, id, _)| id.as_str())
            .collect();
        found.sort_unstable();
        let mut wanted: Vec<&str> =
            row.expected.split(' ').filter(|w| !w.is_empty() && *w != "-").collect();
        wanted.sort_unstable();
        if found != wanted && !form.contains("_lastUpdated") {
            let _ =
                writeln!(differences, "{}: {}\n    {wanted:?}\n    {found:?}", row.id, row.request);
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    assert!(held >= 100, "{held}");
}

/// What a pending row can be: a feature that is to come. This many are left.
#[test]
fn pending_rows_do_not_become_more() {
    let pending = rows(include_str!("../conformance/specification.tsv"));
    let pending = pending.iter().filter(|r| r.pending).count();
    assert!(pending <= MOST_PENDING, "{pending}");
}

const MOST_PENDING: usize = 70;

/// Holds one answer against brute force: matches, what is added, order, total.
pub(crate) fn difference(oracle: &Oracle, server: &Server, request: &str) -> Option<String> {
    let (ty, form) = request.split_once('?').unwrap();
    let must = match oracle.search(ty, form) {
        Ok(must) => must,
        Err(unknown) => return Some(format!("the oracle does not know {unknown:?}")),
    };
    let found = match all_pages(server, request, false) {
        Ok(found) => found,
        Err((status, text)) => return Some(format!("answered {status}: {text}")),
    };
    let ids: BTreeSet<String> = found.ids.iter().cloned().collect();
    if ids.len() != found.ids.len() {
        return Some("a record came twice".to_owned());
    }
    if ids != must.matches {
        let few = |s: BTreeSet<&String>| s.into_iter().take(5).cloned().collect::<Vec<_>>();
        let missing = few(must.matches.difference(&ids).collect());
        let more = few(ids.difference(&must.matches).collect());
        let mut text = format!(
            "found {} instead of {}; not found: {missing:?}; found though it must not be: {more:?}",
            ids.len(),
            must.matches.len()
        );
        if let Some(r) = missing.first().or(more.first()).and_then(|id| oracle.find(ty, id)) {
            let _ = write!(text, "\n    {r}");
        }
        return Some(text);
    }
    if found.included != must.included {
        let few = |s: Vec<&String>| s.into_iter().take(5).cloned().collect::<Vec<_>>();
        return Some(format!(
            "added {}, not {}; not added: {:?}; added though it must not be: {:?}",
            found.included.len(),
            must.included.len(),
            few(must.included.difference(&found.included).collect()),
            few(found.included.difference(&must.included).collect()),
        ));
    }
    if found.total.is_some_and(|t| t != must.matches.len() as u64) {
        return Some(format!("total {:?} of {}", found.total, must.matches.len()));
    }
    let sort = query::pairs(form).into_iter().find(|(k, _)| k == "_sort").map(|(_, v)| v)?;
    match oracle.disorder(ty, &sort, &found.ids) {
        Ok(None) => None,
        Ok(Some((a, b))) => Some(format!(
            "{a} stands before {b}\n    {}\n    {}",
            oracle.find(ty, &a).unwrap(),
            oracle.find(ty, &b).unwrap()
        )),
        Err(unknown) => Some(format!("the oracle does not know the order {unknown:?}")),
    }
}

/// How often each outcome came, for a test that must not pass on nothing.
pub(crate) fn tally(of: impl IntoIterator<Item = usize>) -> BTreeMap<&'static str, usize> {
    let mut all = BTreeMap::new();
    for n in of {
        let what = match n {
            0 => "nothing",
            1..=9 => "a few",
            _ => "many",
        };
        *all.entry(what).or_insert(0) += 1;
    }
    all
}
