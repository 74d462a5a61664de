//! JSON Pointer (RFC 6901): a place in a document, named from its root.

use super::tree::{Id, Is, ROOT, Tree};

/// The steps from the root, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// RFC 6901 §3 to §5. `None` when the text is no pointer.
    pub(super) fn parse(text: &str) -> Option<Pointer> {
        if text.is_empty() {
            return Some(Pointer(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/');
        steps.map(decode).collect::<Option<Vec<_>>>().map(Pointer)
    }

    /// What stands there, if it is seen.
    pub(super) fn find(&self, tree: &Tree) -> Option<Id> {
        self.0.iter().try_fold(ROOT, |at, step| child(tree, at, step))
    }

    /// The container that the last step is taken in, and that step. `None` for the root
    /// and where there is no such container.
    pub(super) fn place(&self, tree: &Tree) -> Option<(Id, &str)> {
        let (last, head) = self.0.split_last()?;
        let at = head.iter().try_fold(ROOT, |at, step| child(tree, at, step))?;
        (tree.is(at) != Is::Scalar).then_some((at, last))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` lies within this place, or is it.
    pub(super) fn leads_to(&self, other: &Pointer) -> bool {
        other.0.starts_with(&self.0)
    }
}

fn child(tree: &Tree, at: Id, step: &str) -> Option<Id> {
    match tree.is(at) {
        Is::Object => tree.member(at, step),
        Is::Array => tree.items(at).get(index(step)?).copied(),
        Is::Scalar => None,
    }
}

/// An array's index: digits without leading zeros (RFC 6901 §4).
pub(super) fn index(step: &str) -> Option<usize> {
    let digits = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (step == "0" || !step.starts_with('0'));
    if plain { step.parse().ok() } else { None }
}

fn decode(step: &str) -> Option<String> {
    let mut out = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_the_rfc_says() {
        let steps = |text: &str| Pointer::parse(text).map(|p| p.0);
        assert_eq!(steps("").unwrap(), Vec::<String>::new());
        assert_eq!(steps("/").unwrap(), [""]);
        assert_eq!(steps("/a/0/~01~1").unwrap(), ["a", "0", "~1/"]);
        assert_eq!(steps("a"), None);
        assert_eq!(steps("/~2"), None);
        assert_eq!(steps("/~"), None);
        for (step, at) in [("0", Some(0)), ("10", Some(10)), ("01", None), ("-", None), ("", None)]
        {
            assert_eq!(index(step), at, "{step}");
        }
    }
}
