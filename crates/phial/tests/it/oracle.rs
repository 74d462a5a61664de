//! What a search must find, by brute force: each resource by itself, from its JSON.
//!
//! It shares no code with the product: own paths, own dates, own decimals, own text, own
//! reading of a query. All it has in common are HL7's facts: the table of search
//! parameters, from which it compiles its own paths. It is slow on purpose.
//!
//! Source: <https://hl7.org/fhir/R4/search.html>, by the sections named below.

pub(crate) mod number;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod sort;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod value;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use serde_json::Value;

use path::{At, Path};

/// A search parameter, as its row in the table says.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) code: String,
    pub(crate) kind: String,
    pub(crate) bases: Vec<String>,
    /// Of a reference: the types that it may be to; none: any.
    pub(crate) targets: Vec<String>,
    pub(crate) path: Path,
    /// Of a composite: the number of each component and its path.
    pub(crate) parts: Vec<(u16, Part)>,
}

/// Where a component of a composite stands.
#[derive(Debug)]
pub(crate) enum Part {
    /// In the composite's own element.
    Element(Path),
    /// Anywhere in the resource.
    Resource(Path),
}

/// All parameters, by number, and their numbers by type and code.
pub(crate) struct Facts {
    params: HashMap<u16, Param>,
    numbers: HashMap<(String, String), u16>,
}

impl Facts {
    pub(crate) fn all() -> &'static Facts {
        static ALL: OnceLock<Facts> = OnceLock::new();
        ALL.get_or_init(|| Facts::read(include_str!("../../../fhir/src/definitions/params.txt")))
    }

    fn read(table: &str) -> Facts {
        let (mut params, mut numbers) = (HashMap::new(), HashMap::new());
        for row in table.lines().filter(|l| !l.starts_with('#')) {
            let f: Vec<&str> = row.split('\t').collect();
            let number: u16 = f[0].parse().unwrap();
            let list = |s: &str| -> Vec<String> {
                s.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect()
            };
            // R4 exchanges the two expressions of this one, and writes one type's name
            // as no type is written.
            let exchanged = f[1] == "relationship" && f[3] == "DocumentReference";
            let mut components: Vec<(u16, &str)> = f[6..]
                .iter()
                .map(|c| c.split_once(' ').unwrap())
                .map(|(n, path)| (n.parse().unwrap(), path))
                .collect();
            if exchanged {
                let paths = [components[1].1, components[0].1];
                (components[0].1, components[1].1) = (paths[0], paths[1]);
            }
            let parts = components
                .into_iter()
                .map(|(n, path)| match path.strip_prefix("%resource.") {
                    Some(path) => (n, Part::Resource(Path::new(path, false))),
                    None => (n, Part::Element(Path::new(path, false))),
                })
                .collect();
            let path = if f[5].is_empty() { Path::default() } else { Path::new(f[5], true) };
            let param = Param {
                code: f[1].to_owned(),
                kind: f[2].to_owned(),
                bases: list(f[3]),
                targets: list(f[4]),
                path,
                parts,
            };
            for base in &param.bases {
                numbers.insert((base.clone(), param.code.clone()), number);
            }
            params.insert(number, param);
        }
        Facts { params, numbers }
    }

    /// The parameter of this name for the type.
    pub(crate) fn param(&self, ty: &str, code: &str) -> Option<&Param> {
        [ty, "DomainResource", "Resource"]
            .iter()
            .find_map(|t| self.numbers.get(&((*t).to_owned(), code.to_owned())))
            .map(|n| &self.params[n])
    }

    pub(crate) fn number(&self, n: u16) -> &Param {
        &self.params[&n]
    }

    /// The parameters of a type, its own and those of every resource, by code.
    pub(crate) fn of(&self, ty: &str) -> Vec<&Param> {
        let mut codes: BTreeSet<&str> = BTreeSet::new();
        for (base, code) in self.numbers.keys() {
            if base == ty || base == "Resource" {
                codes.insert(code);
            }
        }
        codes.into_iter().filter_map(|c| self.param(ty, c)).collect()
    }
}

/// Why a query can't be answered: what it names is not known here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

/// What a search must give.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) matches: BTreeSet<String>,
    /// `Type/id` of what is added.
    pub(crate) included: BTreeSet<String>,
}

/// The resources that are there, by type and id.
#[derive(Default)]
pub(crate) struct Oracle {
    all: BTreeMap<String, BTreeMap<String, Value>>,
    /// The server's base: references that start so are to what is here.
    pub(crate) base: String,
}

impl Oracle {
    /// Nothing yet, at this server.
    pub(crate) fn at(base: &str) -> Oracle {
        Oracle { base: base.to_owned(), ..Oracle::default() }
    }

    pub(crate) fn put(&mut self, resource: Value) {
        let ty = resource["resourceType"].as_str().unwrap().to_owned();
        let id = resource["id"].as_str().unwrap().to_owned();
        self.all.entry(ty).or_default().insert(id, resource);
    }

    pub(crate) fn take(&mut self, ty: &str, id: &str) {
        self.all.get_mut(ty).and_then(|of| of.remove(id)).unwrap();
    }

    pub(crate) fn of(&self, ty: &str) -> impl Iterator<Item = &Value> {
        self.all.get(ty).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    pub(crate) fn find(&self, ty: &str, id: &str) -> Option<&Value> {
        self.all.get(ty)?.get(id)
    }

    /// The elements that a parameter looks at.
    pub(crate) fn elements<'v>(param: &'v Param, resource: &'v Value) -> Vec<At<'v>> {
        let mut all = param.path.of(resource);
        // The first resource of a Bundle is a composition or a message when it is one.
        all.retain(|at| {
            let own = at.value["resourceType"].as_str().filter(|_| param.kind == "reference");
            own.is_none_or(|ty| param.targets.is_empty() || param.targets.iter().any(|t| t == ty))
        });
        all
    }
}

#[test]
fn its_own_arithmetic_is_right() {
    use number::Decimal;
    use time::span;

    let at = |s: &str| i128::from(s.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    for (text, low, high) in [
        ("2000", "2000-01-01T00:00:00Z", "2001-01-01T00:00:00Z"),
        ("2000-02", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z"),
        ("1874-12-31", "1874-12-31T00:00:00Z", "1875-01-01T00:00:00Z"),
        ("2013-01-14T23:00:07.25-05:30", "2013-01-15T04:30:07.25Z", "2013-01-15T04:30:07.26Z"),
    ] {
        assert_eq!(span(text), Some((at(low), at(high))), "{text}");
    }
    for bad in ["", "20", "2001-02-29", "2001-13", "2001-01-01T10", "2001-1-1"] {
        assert_eq!(span(bad), None, "{bad}");
    }
    let d = |s: &str| Decimal::read(s).unwrap();
    for (text, low, high) in [
        ("100", "99.5", "100.5"),
        ("100.00", "99.995", "100.005"),
        ("1e2", "95", "105"),
        ("1.00e2", "99.5", "100.5"),
        ("-7", "-7.5", "-6.5"),
        ("5.40e-3", "0.005395", "0.005405"),
    ] {
        let (a, b) = Decimal::range(text).unwrap();
        assert!(a.same(d(low)) && b.same(d(high)), "{text}: {a:?} {b:?}");
    }
    assert!(d("2e-1").same(d("0.2")) && d("0.19").less(d("2e-1")));
    // From least to greatest, however far apart.
    let rising = ["-1e30", "-7", "-0.5", "0", "1e-245", "0.19", "2e-1", "0.21", "1", "99.5"];
    for pair in rising.windows(2) {
        assert!(d(pair[0]).less(d(pair[1])) && !d(pair[1]).less(d(pair[0])), "{pair:?}");
    }
    for (a, b) in
        [("Müller", "MULLER"), ("O'Brien", "obrien"), ("St.  John-Smith", "st john smith")]
    {
        assert_eq!(text::fold(a), text::fold(b));
    }
}

#[test]
fn every_expression_of_the_table_is_understood() {
    let facts = Facts::all();
    assert!(facts.params.len() > 1_300);
    let searchable = facts.params.values().filter(|p| p.kind != "special" && p.code != "_query");
    for p in searchable.filter(|p| !["_text", "_content"].contains(&p.code.as_str())) {
        let empty = serde_json::json!({"resourceType": p.bases[0]});
        assert!(Oracle::elements(p, &empty).len() <= 1, "{}", p.code);
    }
}
