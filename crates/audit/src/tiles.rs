//! C2SP tlog-tiles: the paths and bytes under which a log is published as static files.
//!
//! | path | bytes |
//! |---|---|
//! | `checkpoint` | the latest signed note |
//! | `tile/<L>/<N>` | 256 hashes: nodes of level 8·L from index 256·N |
//! | `tile/<L>/<N>.p/<W>` | the first W (1 to 255) of them, at the tree's right edge |
//! | `tile/entries/<N>` | leaf data of 256 leaves, each behind its length (u16, big-endian) |
//!
//! `<N>` is in groups of three digits, all but the last behind an `x`: tile 1234067 is
//! `x001/x234/067`. Leaf data is what `chain` says: node, number, prev, sealed entry.

use crate::Error;
use crate::tree::{Hash, NodeReader, node_hash};

/// Hashes in a full tile.
pub const WIDTH: u64 = 256;
const TILE: &str = "tile";
const PATH: &str = "tile path";
const BUNDLE: &str = "entries tile";
/// Levels of tiles: 8·7 < 64.
const LEVELS: u8 = 8;

/// Which kind of tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rows {
    /// Hashes of level 8·L.
    Hashes(u8),
    /// Leaf data.
    Entries,
}

/// A tile's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What is in it.
    pub rows: Rows,
    /// Its index in its level.
    pub index: u64,
    /// How many, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// Tile `index` of level `level` as a tree of `size` leaves has it; `None` when it
    /// has none.
    #[must_use]
    pub fn of(rows: Rows, index: u64, size: u64) -> Option<Self> {
        let level = match rows {
            Rows::Hashes(l) => l,
            Rows::Entries => 0,
        };
        let nodes = size.checked_shr(8 * u32::from(level))?;
        let left = nodes.checked_sub(index.checked_mul(WIDTH)?).filter(|n| *n > 0)?;
        Some(Tile { rows, index, width: u16::try_from(left.min(WIDTH)).ok()? })
    }

    /// Whether it will not change any more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width as u64 == WIDTH
    }

    /// Its path, relative to the log's root.
    #[must_use]
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut n = self.index / 1000;
        while n > 0 {
            groups.push(format!("x{:03}", n % 1000));
            n /= 1000;
        }
        groups.reverse();
        let level = match self.rows {
            Rows::Hashes(l) => l.to_string(),
            Rows::Entries => "entries".to_owned(),
        };
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{}{partial}", groups.join("/"))
    }

    /// The tile with this path.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless it is exactly what [`Self::path`] gives.
    pub fn from_path(path: &str) -> Result<Self, Error> {
        let bad = || Error::malformed(PATH);
        let rest = path.strip_prefix("tile/").ok_or_else(bad)?;
        let (level, rest) = rest.split_once('/').ok_or_else(bad)?;
        let rows = match level {
            "entries" => Rows::Entries,
            l => Rows::Hashes(l.parse().map_err(|_| bad())?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().map_err(|_| bad())?),
            None => (rest, 256),
        };
        let mut index = 0u64;
        for group in number.split('/') {
            let digits: u64 = group.trim_start_matches('x').parse().map_err(|_| bad())?;
            index = index.checked_mul(1000).and_then(|n| n.checked_add(digits)).ok_or_else(bad)?;
        }
        let tile = Tile { rows, index, width };
        // One tile has one path: whatever else was accepted above is refused here.
        if tile.path() == path && (1..=256).contains(&width) { Ok(tile) } else { Err(bad()) }
    }

    /// The bytes of a hash tile.
    ///
    /// # Errors
    /// [`Error::MissingNode`] when a hash is not at hand, [`Error::Malformed`] for an
    /// entries tile.
    pub fn hashes(&self, nodes: &dyn NodeReader) -> Result<Vec<u8>, Error> {
        let Rows::Hashes(level) = self.rows else { return Err(Error::malformed(TILE)) };
        let level = 8 * u32::from(level);
        let mut out = Vec::with_capacity(32 * usize::from(self.width));
        for i in 0..u64::from(self.width) {
            let index = self.index * WIDTH + i;
            let hash = nodes.node(level, index).ok_or(Error::MissingNode { level, index })?;
            out.extend_from_slice(&hash);
        }
        Ok(out)
    }
}

/// The tiles that a log of `new` leaves has and one of `old` leaves had not, or had
/// narrower: what an export has to write. Hash tiles by level, then entries tiles.
pub fn new_tiles(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    let levels = (0..LEVELS).map(Rows::Hashes).chain([Rows::Entries]);
    levels.flat_map(move |rows| {
        let shift = match rows {
            Rows::Hashes(l) => 8 * u32::from(l),
            Rows::Entries => 0,
        };
        let (from, to) = (old >> shift, new >> shift);
        let range = if from == to { 0..0 } else { from / WIDTH..to.div_ceil(WIDTH) };
        range.filter_map(move |index| Tile::of(rows, index, new))
    })
}

/// Reads nodes from hash tiles of a tree of a given size. The tiles are not trusted: what
/// is built from them is to be held against a checkpoint's root.
pub struct TileNodes<'a> {
    size: u64,
    tile: &'a dyn Fn(&Tile) -> Option<Vec<u8>>,
}

impl<'a> TileNodes<'a> {
    /// Nodes of the tree of `size` leaves; `tile` fetches a tile's bytes.
    #[must_use]
    pub fn new(size: u64, tile: &'a dyn Fn(&Tile) -> Option<Vec<u8>>) -> Self {
        TileNodes { size, tile }
    }
}

impl NodeReader for TileNodes<'_> {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        let (tile_level, above) = (level / 8, level % 8);
        let first = index.checked_mul(1 << above)?;
        let rows = Rows::Hashes(u8::try_from(tile_level).ok()?);
        let tile = Tile::of(rows, first / WIDTH, self.size)?;
        let bytes = (self.tile)(&tile)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != usize::from(tile.width) {
            return None;
        }
        let from = usize::try_from(first % WIDTH).ok()?;
        let mut hashes = hashes.get(from..from + (1 << above))?.to_vec();
        while hashes.len() > 1 {
            let (pairs, _) = hashes.as_chunks::<2>();
            hashes = pairs.iter().map(|[l, r]| node_hash(l, r)).collect();
        }
        hashes.first().copied()
    }
}

/// Appends one leaf's data to an entries tile.
///
/// # Errors
/// [`Error::TooLarge`] above 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, leaf_data: &[u8]) -> Result<(), Error> {
    let len = u16::try_from(leaf_data.len())
        .map_err(|_| Error::TooLarge { size: leaf_data.len(), limit: usize::from(u16::MAX) })?;
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(leaf_data);
    Ok(())
}

/// The leaf data in an entries tile of this width.
///
/// # Errors
/// [`Error::Malformed`] when there are more or fewer.
pub fn entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, Error> {
    let bad = || Error::malformed(BUNDLE);
    let mut rest = bundle;
    let mut all = Vec::with_capacity(usize::from(width));
    for _ in 0..width {
        let (len, after) = rest.split_first_chunk::<2>().ok_or_else(bad)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (entry, after) = after.split_at_checked(len).ok_or_else(bad)?;
        all.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(all) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tree::{self, Frontier, MemoryNodes, leaf_hash};

    fn check(rows: Rows, index: u64, width: u16, path: &str) {
        let tile = Tile { rows, index, width };
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::from_path(path).unwrap(), tile);
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        check(Rows::Hashes(0), 1_234_067, 256, "tile/0/x001/x234/067");
        check(Rows::Hashes(1), 0, 1, "tile/1/000.p/1");
        check(Rows::Entries, 273, 112, "tile/entries/273.p/112");
        check(Rows::Entries, 999, 256, "tile/entries/999");
        check(Rows::Entries, 1000, 256, "tile/entries/x001/000");
        for bad in [
            "tile/0/0",
            "tile/0/001/002",
            "tile/0/xx001/002",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/00/000",
            "tile/0/x000/000",
            "tile/0/../000",
            "tile/0/",
            "0/000",
        ] {
            assert!(Tile::from_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tree_is_the_same_read_from_tiles() {
        let nodes = MemoryNodes::of((0u32..70_000).map(|i| leaf_hash(&i.to_be_bytes())));
        for size in [1, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 70_000] {
            let files: HashMap<String, Vec<u8>> = new_tiles(0, size)
                .filter(|t| t.rows != Rows::Entries)
                .map(|t| (t.path(), t.hashes(&nodes).unwrap()))
                .collect();
            let fetch = |t: &Tile| files.get(&t.path()).cloned();
            let tiles = TileNodes::new(size, &fetch);
            let root = tree::root(size, &nodes).unwrap();
            assert_eq!(tree::root(size, &tiles).unwrap(), root, "{size}");
            assert_eq!(Frontier::from_nodes(size, &tiles).unwrap().root(), root);
            let index = size / 3;
            let proof = tree::inclusion_proof(index, size, &tiles).unwrap();
            let leaf = nodes.node(0, index).unwrap();
            tree::verify_inclusion(index, size, &leaf, &proof, &root).unwrap();
        }
    }

    #[test]
    fn an_export_in_steps_writes_the_same_tiles() {
        let mut have = std::collections::BTreeSet::new();
        let mut size = 0;
        for step in [1, 1, 200, 54, 1, 400, 70_000, 3] {
            have.extend(new_tiles(size, size + step).map(|t| t.path()));
            size += step;
            for tile in new_tiles(0, size) {
                assert!(have.contains(&tile.path()), "{} at {size}", tile.path());
            }
        }
        assert_eq!(new_tiles(5, 5).count(), 0);
    }

    #[test]
    fn entries_round_trip_and_nothing_may_be_left() {
        let mut bundle = Vec::new();
        let all: [&[u8]; 3] = [b"one", b"", &[7; 65_535]];
        for e in all {
            push_entry(&mut bundle, e).unwrap();
        }
        assert_eq!(entries(&bundle, 3).unwrap(), all);
        assert!(entries(&bundle, 2).is_err());
        assert!(entries(&bundle, 4).is_err());
        assert!(push_entry(&mut bundle, &[0; 65_536]).is_err());
    }
}
