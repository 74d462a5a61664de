//! Lines: where one ends and the next begins, over pieces that end anywhere. Refuses
//! lines that are longer than a resource may be, and goes on behind them.

use zeroize::Zeroizing;

/// Cuts pieces of a file into lines. What of it was given is said in bytes, so that
/// someone else can go on there.
#[derive(Debug)]
pub(crate) struct Lines {
    held: Zeroizing<Vec<u8>>,
    /// Bytes of `held` that were given already.
    given: usize,
    most: usize,
    /// The rest of a line that was too long is on its way.
    skipping: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, without the line break. May be blank.
    Whole(&'a [u8]),
    /// It was longer than allowed.
    TooLong,
}

impl Lines {
    /// Cuts lines of at most `most` bytes.
    #[must_use]
    pub(crate) fn new(most: usize) -> Self {
        Lines { held: Zeroizing::default(), given: 0, most, skipping: false }
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.held.drain(..self.given);
        self.given = 0;
        self.held.extend_from_slice(piece);
    }

    /// The next line; `None` when another piece is needed. With `last` there is none, and
    /// what is left is a line.
    pub(crate) fn next(&mut self, last: bool) -> Option<Line<'_>> {
        let rest = self.held.get(self.given..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == b'\n');
        let Some(length) = end.or_else(|| (last && !rest.is_empty()).then_some(rest.len())) else {
            if rest.len() > self.most {
                // It will be too long whatever comes.
                self.held.clear();
                self.given = 0;
                self.skipping = true;
            }
            return (last && std::mem::take(&mut self.skipping)).then_some(Line::TooLong);
        };
        let from = self.given;
        self.given += length + usize::from(end.is_some());
        if std::mem::take(&mut self.skipping) || length > self.most {
            return Some(Line::TooLong);
        }
        let line = self.held.get(from..from + length).unwrap_or_default();
        Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Bytes that were pushed and not given yet.
    #[must_use]
    pub(crate) fn left(&self) -> usize {
        self.held.len() - self.given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &[u8], sizes: &[usize], most: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(most);
        let mut out = Vec::new();
        let mut take = |lines: &mut Lines, last: bool| {
            while let Some(line) = lines.next(last) {
                out.push(match line {
                    Line::Whole(l) => Some(l.to_vec()),
                    Line::TooLong => None,
                });
            }
        };
        let (mut rest, mut n) = (text, 0);
        while !rest.is_empty() {
            let size = sizes[n % sizes.len()].clamp(1, rest.len());
            let (piece, after) = rest.split_at(size);
            lines.push(piece);
            take(&mut lines, false);
            rest = after;
            n += 1;
        }
        take(&mut lines, true);
        out
    }

    #[test]
    fn the_last_line_needs_no_break_and_a_carriage_return_is_none_of_it() {
        let expected = [Some(b"a".to_vec()), Some(Vec::new()), Some(b"b".to_vec())];
        assert_eq!(cut(b"a\r\n\nb", &[3], 9), expected);
        assert_eq!(cut(b"a\n\nb\n", &[1], 9), expected);
        assert_eq!(cut(b"", &[1], 9), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_of_and_the_next_one_is_read() {
        let text = b"aaaaaaaaaaaaaaaaaaaa\nb\ncccccccccccc";
        let expected = [None, Some(b"b".to_vec()), None];
        for sizes in [&[1][..], &[7], &[100]] {
            assert_eq!(cut(text, sizes, 8), expected, "{sizes:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1usize..20, 1..6),
            most in 1usize..40,
        ) {
            let expected: Vec<Option<Vec<u8>>> = {
                let mut all: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
                if all.last().is_some_and(|l| l.is_empty()) {
                    all.pop();
                }
                all.iter()
                    .map(|l| (l.len() <= most).then(|| l.strip_suffix(b"\r").unwrap_or(l).to_vec()))
                    .collect()
            };
            prop_assert_eq!(cut(&text, &sizes, most), expected);
        }
    }
}
