//! The index's small dictionaries, held in memory as a whole: pcodes and tags; and a
//! bounded cache for the large ones. None of them holds a value of a record.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use phial_base::{DataClass, LabelSet};
use phial_fhir::ResourceType;
use rusqlite::Connection;

use super::Shape;
use super::values::{Cursor, put_uint};
use crate::error::Error;

/// What sort of value a pcode's rows hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Token = 0,
    /// The number of a resource.
    Ref = 1,
    /// The term of a URL that is no resource here.
    RefUrl = 2,
    /// The term of the identifier in a reference.
    RefIdent = 3,
    Uri = 4,
    Str = 5,
    /// A date range of at most [`super::values::LONG`].
    Date = 6,
    /// A longer one.
    DateLong = 7,
    Num = 8,
    /// What one element holds of a composite's components.
    Parts = 9,
    /// The term of what a token says to people.
    Said = 10,
    /// The term of an identifier under a code of its type.
    Typed = 11,
    /// A family name from a later part on: text that only beginnings are compared with.
    Later = 12,
    /// A range of numbers.
    Range = 13,
    /// For how long a reference holds.
    Held = 14,
    /// The order of words.
    Order = 15,
    /// What a reference leads to within the same record.
    Inner = 16,
}

impl Kind {
    fn from_number(n: u16) -> Option<Self> {
        Some(match n {
            0 => Kind::Token,
            1 => Kind::Ref,
            2 => Kind::RefUrl,
            3 => Kind::RefIdent,
            4 => Kind::Uri,
            5 => Kind::Str,
            6 => Kind::Date,
            7 => Kind::DateLong,
            8 => Kind::Num,
            9 => Kind::Parts,
            10 => Kind::Said,
            11 => Kind::Typed,
            12 => Kind::Later,
            13 => Kind::Range,
            14 => Kind::Held,
            15 => Kind::Order,
            16 => Kind::Inner,
            _ => return None,
        })
    }

    /// Whether its values stand beside those that are the parameter's.
    pub(super) const fn beside(self) -> bool {
        matches!(
            self,
            Kind::Said | Kind::Typed | Kind::Later | Kind::Held | Kind::Order | Kind::Inner
        )
    }

    /// Whether its values are in lists.
    pub(super) const fn posted(self) -> bool {
        (self as u8) <= Kind::Uri as u8 || matches!(self, Kind::Said | Kind::Typed)
    }
}

/// What a pcode stands for.
#[derive(Clone, Debug)]
pub(super) struct Pcode {
    pub ty: u8,
    pub kind: Kind,
    pub class: DataClass,
    /// The numbers of the parameters that share the value, sorted.
    pub params: Box<[u16]>,
}

/// What a tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    pub shape: Shape,
    /// Index in [`super::values::SPANS`], or [`super::values::SPAN_OTHER`].
    pub span: u8,
    /// The pcode of the references to the record's only patient; 0: there is none.
    pub own: u32,
    /// The number of the record's facet; 0: all its codes stand in its block.
    pub facet: u32,
}

/// The codes of a record that many records have in common: pcode and term, sorted. Told
/// by the tag alone, so that a filter on them reads no version.
pub(super) type Facet = Box<[(u32, i64)]>;

/// More codes than this are no facet.
pub(super) const FACET_CODES: usize = 16;

/// More facets than this for a type, and what is new stands in the versions' blocks: the
/// dictionary is held in memory.
const MAX_FACETS: u32 = 4096;

/// Texts go into facets while a type has no more of these: a text may be of one's own
/// writing, and must not use up the place of codes.
const SAYING_FACETS: u32 = MAX_FACETS / 2;

/// Classes of codes that versions share: not those that tell people apart.
fn common(class: DataClass) -> bool {
    use DataClass::{Contact, GovernmentIdentifier, Identifier, Notes};
    !matches!(class, Contact | GovernmentIdentifier | Identifier | Notes)
}

/// Whether codes of this kind and class go into facets.
pub(super) fn faceted(p: &Pcode) -> bool {
    p.kind == Kind::Token && common(p.class)
}

/// Whether what codes of this kind and class say may go into facets with them.
pub(super) fn sayable(p: &Pcode) -> bool {
    p.kind == Kind::Said && common(p.class)
}

/// Pcodes and tags, counted from 1; 0 is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pcodes: Vec<Pcode>,
    by_key: HashMap<Box<[u16]>, u32>,
    by_param: HashMap<(u8, u16), Vec<u32>>,
    per_kind: HashMap<(u8, Kind), u32>,
    tags: Vec<Tag>,
    by_tag: HashMap<Tag, u32>,
    facets: Vec<Facet>,
    by_facet: HashMap<Facet, u32>,
    facets_of: HashMap<u8, u32>,
    /// Type and number of the facets with a term.
    by_term: HashMap<i64, Vec<(u8, u32)>>,
    /// How many versions each facet has. Shared by all copies and ahead of them: good for
    /// nothing but choosing a plan.
    sizes: Arc<RwLock<HashMap<u32, i64>>>,
    /// Types with versions that have no facet.
    unfaceted: HashSet<u8>,
    /// UCUM codes that quantities have or had.
    units: Vec<Box<str>>,
}

/// More UCUM codes than this, and a quantity is looked for in every version.
const MAX_UNITS: usize = 512;

/// More sets of parameters than this for a type and kind of value, and new sets are
/// stored one parameter at a time: a search looks at every set with its parameter.
const MAX_SETS: u32 = 192;

impl Names {
    pub(super) fn load(conn: &Connection) -> Result<Self, Error> {
        let mut names = Names::default();
        let mut stmt = conn.prepare("SELECT num, key FROM pcode ORDER BY num")?;
        let mut rows = stmt.query([])?;
        while let Some(r) = rows.next()? {
            let key = r.get_ref(1)?.as_blob().map_err(|_| Error::Unusable)?;
            let key: Vec<u16> = key
                .chunks_exact(2)
                .filter_map(|c| c.try_into().ok().map(u16::from_le_bytes))
                .collect();
            if names.push_pcode(&key)? != r.get::<_, u32>(0)? {
                return Err(Error::Unusable);
            }
        }
        let mut stmt = conn.prepare("SELECT num, ty, codes, versions FROM facet ORDER BY num")?;
        let mut rows = stmt.query([])?;
        while let Some(r) = rows.next()? {
            let codes = r.get_ref(2)?.as_blob().map_err(|_| Error::Unusable)?;
            let facet = read_facet(codes).ok_or(Error::Unusable)?;
            let num = r.get(0)?;
            if names.push_facet(r.get(1)?, facet) != num {
                return Err(Error::Unusable);
            }
            names.counted(num, r.get(3)?);
        }
        let mut stmt = conn.prepare("SELECT code FROM unit ORDER BY num")?;
        names.units = stmt
            .query_map([], |r| Ok(r.get::<_, String>(0)?.into_boxed_str()))?
            .collect::<Result<_, _>>()?;
        let mut stmt =
            conn.prepare("SELECT num, ty, labels, about, span, own, facet FROM tag ORDER BY num")?;
        let mut rows = stmt.query([])?;
        while let Some(r) = rows.next()? {
            let shape = Shape {
                ty: ResourceType::from_number(r.get(1)?).ok_or(Error::Unusable)?,
                labels: LabelSet::from_bits(r.get(2)?),
                about_patient: r.get(3)?,
            };
            let tag = Tag { shape, span: r.get(4)?, own: r.get(5)?, facet: r.get(6)? };
            if names.push_tag(tag) != r.get::<_, u32>(0)? {
                return Err(Error::Unusable);
            }
        }
        Ok(names)
    }

    pub(super) fn pcode(&self, num: u32) -> Option<&Pcode> {
        self.pcodes.get(usize::try_from(num).ok()?.checked_sub(1)?)
    }

    pub(super) fn tag(&self, num: u32) -> Option<&Tag> {
        self.tags.get(usize::try_from(num).ok()?.checked_sub(1)?)
    }

    /// The tags of a type.
    pub(super) fn tags_of(&self, ty: u8) -> impl Iterator<Item = (u32, &Tag)> {
        (1..).zip(&self.tags).filter(move |(_, t)| t.shape.ty.number() == ty)
    }

    /// The codes of a tag's facet.
    pub(super) fn facet(&self, tag: u32) -> &[(u32, i64)] {
        let at = self.tag(tag).and_then(|t| usize::try_from(t.facet).ok()?.checked_sub(1));
        at.and_then(|at| self.facets.get(at)).map_or(&[], |f| f)
    }

    /// Type and number of the facets in which a term is.
    pub(super) fn facets_with(&self, term: i64) -> impl Iterator<Item = (u8, u32)> {
        self.by_term.get(&term).into_iter().flatten().copied()
    }

    /// The facets of a type that have a term from `low` to `high` under one of the pcodes.
    pub(super) fn facets(&self, ty: u8, pcodes: &[u32], (low, high): (i64, i64)) -> BTreeSet<u32> {
        let has = |facet: u32| {
            let at = usize::try_from(facet).ok().and_then(|n| n.checked_sub(1));
            at.and_then(|at| self.facets.get(at)).is_some_and(|codes| {
                codes.iter().any(|(p, t)| low <= *t && *t <= high && pcodes.contains(p))
            })
        };
        if low == high {
            let with = self.facets_with(low).filter(|(of, _)| *of == ty);
            return with.map(|(_, n)| n).filter(|n| has(*n)).collect();
        }
        (1..).take(self.facets.len()).filter(|n| has(*n)).collect()
    }

    /// The facets of a type that have one of the terms under one of the pcodes.
    pub(super) fn facets_of(&self, ty: u8, pcodes: &[u32], terms: &[i64]) -> BTreeSet<u32> {
        terms.iter().flat_map(|t| self.facets(ty, pcodes, (*t, *t))).collect()
    }

    /// Whether a facet of a type may have texts: it is there, or there is room for more.
    pub(super) fn takes_texts(&self, ty: u8, codes: &[(u32, i64)]) -> bool {
        self.by_facet.contains_key(codes)
            || self.facets_of.get(&ty).copied().unwrap_or(0) < SAYING_FACETS
    }

    /// The terms that facets have under one of the pcodes.
    pub(super) fn facet_terms(&self, pcodes: &[u32], terms: &mut BTreeSet<i64>) {
        let all = self.facets.iter().flat_map(|f| f.iter());
        terms.extend(all.filter(|(p, _)| pcodes.contains(p)).map(|(_, t)| *t));
    }

    /// The UCUM codes of quantities, or `None` when they are too many to be known.
    pub(super) fn units(&self) -> Option<&[Box<str>]> {
        (self.units.len() < MAX_UNITS).then_some(&self.units)
    }

    /// Notes a UCUM code. They are of a closed language and no text of a record.
    pub(super) fn intern_unit(
        &mut self,
        conn: &Connection,
        code: &str,
        changed: &mut bool,
    ) -> Result<(), Error> {
        if self.units.len() < MAX_UNITS && !self.units.iter().any(|u| &**u == code) {
            conn.prepare_cached("INSERT INTO unit(code) VALUES(?1)")?.execute([code])?;
            self.units.push(code.into());
            *changed = true;
        }
        Ok(())
    }

    /// Says that a facet has so many versions more.
    pub(super) fn counted(&self, facet: u32, more: i64) {
        let mut sizes = self.sizes.write().unwrap_or_else(PoisonError::into_inner);
        *sizes.entry(facet).or_default() += more;
    }

    /// About how many versions facets have, together.
    pub(super) fn size(&self, facets: impl Iterator<Item = u32>) -> u32 {
        let sizes = self.sizes.read().unwrap_or_else(PoisonError::into_inner);
        let all: i64 = facets.filter_map(|f| sizes.get(&f)).sum();
        u32::try_from(all.max(0)).unwrap_or(u32::MAX)
    }

    /// Whether versions of a type can have codes outside of facets that else are in them.
    pub(super) fn unfaceted(&self, ty: u8) -> bool {
        self.unfaceted.contains(&ty)
    }

    /// The pcodes of a parameter of a type.
    pub(super) fn of_param(&self, ty: u8, param: u16) -> &[u32] {
        self.by_param.get(&(ty, param)).map_or(&[], Vec::as_slice)
    }

    /// All pcodes with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Pcode)> {
        (1u32..).zip(&self.pcodes)
    }

    /// Whether rows of this pcode hold values of `param`.
    pub(super) fn has_param(&self, pcode: u32, param: u16) -> bool {
        self.pcode(pcode).is_some_and(|p| p.params.contains(&param))
    }

    fn push_pcode(&mut self, key: &[u16]) -> Result<u32, Error> {
        let [ty, kind, class, params @ ..] = key else { return Err(Error::Unusable) };
        let ty = u8::try_from(*ty).map_err(|_| Error::Unusable)?;
        let kind = Kind::from_number(*kind).ok_or(Error::Unusable)?;
        let class = u8::try_from(*class)
            .ok()
            .and_then(|c| DataClass::from_number(c).ok())
            .ok_or(Error::Unusable)?;
        self.pcodes.push(Pcode { ty, kind, class, params: params.into() });
        let num = u32::try_from(self.pcodes.len()).map_err(|_| Error::Unusable)?;
        self.by_key.insert(key.into(), num);
        for p in params {
            self.by_param.entry((ty, *p)).or_default().push(num);
        }
        *self.per_kind.entry((ty, kind)).or_default() += 1;
        Ok(num)
    }

    fn push_facet(&mut self, ty: u8, facet: Facet) -> u32 {
        self.facets.push(facet.clone());
        let num = u32::try_from(self.facets.len()).unwrap_or(u32::MAX);
        for (at, (_, term)) in facet.iter().enumerate() {
            if facet.iter().take(at).all(|(_, t)| t != term) {
                self.by_term.entry(*term).or_default().push((ty, num));
            }
        }
        self.by_facet.insert(facet, num);
        *self.facets_of.entry(ty).or_default() += 1;
        num
    }

    /// The number of these codes, made when they are new; 0 when the type has too many.
    /// Pcodes are of one type, so a facet is.
    pub(super) fn intern_facet(
        &mut self,
        conn: &Connection,
        ty: u8,
        codes: &[(u32, i64)],
        changed: &mut bool,
    ) -> Result<u32, Error> {
        if let Some(n) = self.by_facet.get(codes) {
            return Ok(*n);
        }
        if self.facets_of.get(&ty).is_some_and(|n| *n >= MAX_FACETS) {
            return Ok(0);
        }
        let num = self.push_facet(ty, codes.into());
        let mut bytes = Vec::new();
        for (pcode, term) in codes {
            put_uint(&mut bytes, u64::from(*pcode));
            put_uint(&mut bytes, (term >> 32).cast_unsigned());
            put_uint(&mut bytes, (term & 0xffff_ffff).cast_unsigned());
        }
        conn.prepare_cached("INSERT INTO facet VALUES(?1, ?2, ?3, 0)")?
            .execute(rusqlite::params![num, ty, bytes])?;
        *changed = true;
        Ok(num)
    }

    fn push_tag(&mut self, tag: Tag) -> u32 {
        self.tags.push(tag);
        let num = u32::try_from(self.tags.len()).unwrap_or(u32::MAX);
        if tag.facet == 0 {
            self.unfaceted.insert(tag.shape.ty.number());
        }
        self.by_tag.insert(tag, num);
        num
    }

    /// The pcode of this key (type, kind, class, parameters), made when it is new.
    /// `None`: there are too many sets already, store one parameter at a time.
    pub(super) fn intern_pcode(
        &mut self,
        conn: &Connection,
        key: &[u16],
        changed: &mut bool,
    ) -> Result<Option<u32>, Error> {
        if let Some(n) = self.by_key.get(key) {
            return Ok(Some(*n));
        }
        if let [ty, kind, _, _, _, ..] = key
            && let Some(kind) = Kind::from_number(*kind)
            && let Ok(ty) = u8::try_from(*ty)
            && self.per_kind.get(&(ty, kind)).is_some_and(|n| *n >= MAX_SETS)
        {
            return Ok(None);
        }
        let num = self.push_pcode(key)?;
        let bytes: Vec<u8> = key.iter().flat_map(|k| k.to_le_bytes()).collect();
        conn.prepare_cached("INSERT INTO pcode VALUES(?1, ?2)")?
            .execute(rusqlite::params![num, bytes])?;
        *changed = true;
        Ok(Some(num))
    }

    /// The number of this tag, made when it is new.
    pub(super) fn intern_tag(
        &mut self,
        conn: &Connection,
        tag: Tag,
        changed: &mut bool,
    ) -> Result<u32, Error> {
        if let Some(n) = self.by_tag.get(&tag) {
            return Ok(*n);
        }
        let num = self.push_tag(tag);
        conn.prepare_cached("INSERT INTO tag VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
            rusqlite::params![
                num,
                tag.shape.ty.number(),
                tag.shape.labels.bits(),
                tag.shape.about_patient,
                tag.span,
                tag.own,
                tag.facet
            ],
        )?;
        *changed = true;
        Ok(num)
    }
}

fn read_facet(codes: &[u8]) -> Option<Facet> {
    let mut c = Cursor(codes);
    let mut all = Vec::new();
    while !c.0.is_empty() {
        let pcode = u32::try_from(c.uint()?).ok()?;
        let system = c.uint()?;
        all.push((pcode, (system << 32 | c.uint()?).cast_signed()));
    }
    Some(all.into_boxed_slice())
}

/// A bounded cache of two generations: a full young one becomes the old one, and what
/// is used again is kept. Never larger than twice its capacity.
#[derive(Debug)]
pub(super) struct TwoGenerations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Hash + Eq, V: Copy> TwoGenerations<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        TwoGenerations { young: HashMap::new(), old: HashMap::new(), capacity }
    }

    pub(super) fn find<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(v) = self.young.get(key) {
            return Some(*v);
        }
        let (k, v) = self.old.remove_entry(key)?;
        self.keep(k, v);
        Some(v)
    }

    pub(super) fn keep(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
