//! The parser: one pass, no recursion. Text without whitespace is copied in runs; a
//! run ends where whitespace or a rewritten member name begins.

use zeroize::Zeroizing;

use super::{Doc, Tape, path_name, unescape};
use crate::definitions::ResourceType;
use crate::issue::{Issue, IssueCode};
use crate::limits::Limits;

const OBJECT: u32 = 0;
const ARRAY: u32 = 1;
const STRING: u32 = 2;
const NUMBER: u32 = 3;
const BOOL: u32 = 4;
const NULL: u32 = 5;
const ESCAPES: u32 = 8;
/// A name's length has 28 bits.
const MOST_BYTES: usize = (1 << 28) - 1;
const TOO_EARLY: &str = "the content ends too early";

pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Doc, Issue> {
    if bytes.len() > limits.max_bytes.min(MOST_BYTES) {
        return Err(Issue::error(IssueCode::TooLong, "", "the content is too large"));
    }
    let bad_utf8 = std::str::from_utf8(bytes).err();
    // What stands before the bad bytes gives the path.
    let good = bad_utf8.map_or(bytes, |e| bytes.get(..e.valid_up_to()).unwrap_or_default());
    let mut parser = Parser {
        input: good,
        at: 0,
        run: 0,
        shift: 0,
        out: Zeroizing::new(Vec::with_capacity(good.len())),
        // A value takes about 20 bytes of minified FHIR.
        nodes: Vec::with_capacity((good.len() / 20).min(limits.max_elements) + 8),
        stack: Vec::with_capacity(16),
        name: 0,
        limits,
    };
    let fault = match (parser.document(), bad_utf8.is_some()) {
        (Ok(()), false) => None,
        (Err(fault), false) => Some(fault),
        (Err(fault), true) if parser.at < good.len() => Some(fault),
        (_, true) => Some(Fault::here("the content is not UTF-8")),
    };
    if let Some(fault) = fault {
        return Err(parser.issue(fault));
    }
    parser.flush();
    let text = String::from_utf8(std::mem::take(&mut *parser.out))
        .map_err(|_| Issue::error(IssueCode::Structure, "", "the content is not UTF-8"))?;
    Ok(Doc { text: Zeroizing::new(text), nodes: parser.nodes })
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    /// Where the input not copied yet begins.
    run: usize,
    /// Bytes left out so far: place in the text = place in the input - shift.
    shift: usize,
    out: Zeroizing<Vec<u8>>,
    nodes: Vec<Tape>,
    stack: Vec<Frame>,
    /// The length, in the text, of the name of the value that comes next.
    name: u32,
    limits: &'a Limits,
}

/// An object or array that is still open.
struct Frame {
    node: u32,
    is_object: bool,
    /// Values begun in it.
    count: u32,
    /// Which of 64 hashes its names had.
    seen: u64,
    /// Whether two names had the same hash.
    suspicious: bool,
    /// The current member's name: where it stands in the text.
    name: Option<(u32, u32)>,
}

struct Fault {
    code: IssueCode,
    text: &'static str,
    /// The member it is about, when it is not the current one.
    name: Option<(u32, u32)>,
}

impl Fault {
    fn here(text: &'static str) -> Self {
        Fault { code: IssueCode::Structure, text, name: None }
    }

    fn too_costly(text: &'static str) -> Self {
        Fault { code: IssueCode::TooCostly, text, name: None }
    }
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.skip_space();
        self.value()?;
        self.skip_space();
        if self.at < self.input.len() {
            return Err(Fault::here("there is text after the end of the content"));
        }
        Ok(())
    }

    /// One value with all within it; `at` stands on its first byte.
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            if let Some(frame) = self.stack.last_mut() {
                frame.count += 1;
            }
            match self.peek() {
                Some(b'{') => {
                    self.open(OBJECT)?;
                    if self.peek() != Some(b'}') {
                        self.member_name()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.open(ARRAY)?;
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'"') => {
                    let start = self.at;
                    let escapes = self.string()?;
                    self.push(STRING | if escapes { ESCAPES } else { 0 }, start, self.at)?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    let start = self.at;
                    self.number()?;
                    self.push(NUMBER, start, self.at)?;
                }
                Some(b't') => self.word(b"true", BOOL)?,
                Some(b'f') => self.word(b"false", BOOL)?,
                Some(b'n') => self.word(b"null", NULL)?,
                None => return Err(Fault::here(TOO_EARLY)),
                Some(_) => return Err(Fault::here("a JSON value is expected here")),
            }
            // A value has ended, or an empty object or array is about to.
            loop {
                let Some(is_object) = self.stack.last().map(|f| f.is_object) else {
                    return Ok(());
                };
                self.skip_space();
                match (self.peek(), is_object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        self.skip_space();
                        if is_object {
                            self.member_name()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => self.close()?,
                    (None, _) => return Err(Fault::here(TOO_EARLY)),
                    _ => return Err(Fault::here("a comma or a closing bracket is expected here")),
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        if !self.peek().is_some_and(is_space) {
            return;
        }
        self.flush();
        let start = self.at;
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.shift += self.at - start;
        self.run = self.at;
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(self.input.get(self.run..self.at).unwrap_or_default());
        self.run = self.at;
    }

    /// The place in the text of a place in the input that is not before `run`.
    fn place(&self, at: usize) -> u32 {
        // Sizes are held to 28 bits at the start.
        (at - self.shift) as u32
    }

    fn push(&mut self, meta: u32, start: usize, end: usize) -> Result<u32, Fault> {
        if self.nodes.len() >= self.limits.max_elements {
            return Err(Fault::too_costly("the content has too many elements"));
        }
        let node = self.nodes.len() as u32;
        let meta = meta | self.name << 4;
        self.name = 0;
        let (start, end) = (self.place(start), self.place(end));
        self.nodes.push(Tape { start, end, next: node + 1, meta });
        Ok(node)
    }

    fn open(&mut self, kind: u32) -> Result<(), Fault> {
        if self.stack.len() >= self.limits.max_depth {
            return Err(Fault::too_costly("the content is nested too deep"));
        }
        let node = self.push(kind, self.at, self.at)?;
        self.at += 1;
        self.skip_space();
        self.stack.push(Frame {
            node,
            is_object: kind == OBJECT,
            count: 0,
            seen: 0,
            suspicious: false,
            name: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        if self.stack.last().is_some_and(|f| f.suspicious) {
            self.check_names()?;
        }
        self.at += 1;
        let (end, next) = (self.place(self.at), self.nodes.len() as u32);
        if let Some(frame) = self.stack.pop()
            && let Some(node) = self.nodes.get_mut(frame.node as usize)
        {
            node.end = end;
            node.next = next;
        }
        Ok(())
    }

    /// The name of a member, up to the start of its value.
    fn member_name(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {}
            None => return Err(Fault::here(TOO_EARLY)),
            Some(_) => return Err(Fault::here("a member name is expected here")),
        }
        let start = self.at + 1;
        let escapes = self.string()?;
        let (place, hash) = if escapes {
            let from = self.rewrite_name(start)?;
            let to = self.out.len() - 1;
            ((from as u32, to as u32), name_hash(self.out.get(from..to).unwrap_or_default()))
        } else {
            let end = self.at - 1;
            let name = self.input.get(start..end).unwrap_or_default();
            ((self.place(start), self.place(end)), name_hash(name))
        };
        self.name = place.1 - place.0;
        if let Some(frame) = self.stack.last_mut() {
            frame.suspicious |= frame.seen & hash != 0;
            frame.seen |= hash;
            frame.name = Some(place);
        }
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            None => return Err(Fault::here(TOO_EARLY)),
            Some(_) => return Err(Fault::here("a colon is expected here")),
        }
        self.skip_space();
        Ok(())
    }

    /// Puts a name with escapes into the one form that has only those JSON demands, so
    /// that names that mean the same are the same text. Gives where it begins in the text.
    fn rewrite_name(&mut self, start: usize) -> Result<usize, Fault> {
        let end = self.at - 1;
        let raw = self.input.get(start..end).and_then(|b| std::str::from_utf8(b).ok());
        let raw = raw.ok_or_else(|| Fault::here("the content is not UTF-8"))?;
        let mut name = String::with_capacity(raw.len());
        for c in unescape(raw).chars() {
            match c {
                '"' => name.push_str("\\\""),
                '\\' => name.push_str("\\\\"),
                '\n' => name.push_str("\\n"),
                '\r' => name.push_str("\\r"),
                '\t' => name.push_str("\\t"),
                '\u{8}' => name.push_str("\\b"),
                '\u{c}' => name.push_str("\\f"),
                c if u32::from(c) < 0x20 => {
                    name.push_str(if u32::from(c) < 0x10 { "\\u000" } else { "\\u001" });
                    name.push(char::from_digit(u32::from(c) & 15, 16).unwrap_or('0'));
                }
                c => name.push(c),
            }
        }
        self.out.extend_from_slice(self.input.get(self.run..start).unwrap_or_default());
        let from = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'"');
        self.shift += raw.len() - name.len();
        self.run = self.at;
        Ok(from)
    }

    /// Two names had one hash: compares them all.
    fn check_names(&mut self) -> Result<(), Fault> {
        self.flush();
        let Some(frame) = self.stack.last() else { return Ok(()) };
        let mut names = Vec::with_capacity(frame.count as usize);
        let mut at = frame.node as usize + 1;
        while let Some(node) = self.nodes.get(at) {
            let to = node.start.saturating_sub(2);
            names.push((to.saturating_sub(node.meta >> 4), to));
            at = node.next as usize;
        }
        let name = |n: &(u32, u32)| self.out.get(n.0 as usize..n.1 as usize);
        names.sort_by(|a, b| name(a).cmp(&name(b)));
        let twice = names.windows(2).find_map(|pair| match pair {
            [a, b] if name(a) == name(b) => Some(*b),
            _ => None,
        });
        match twice {
            None => Ok(()),
            Some(name) => Err(Fault {
                code: IssueCode::Structure,
                text: "a member name occurs twice",
                name: Some(name),
            }),
        }
    }

    fn word(&mut self, word: &[u8], kind: u32) -> Result<(), Fault> {
        let end = self.at + word.len();
        if self.input.get(self.at..end) != Some(word) {
            return Err(Fault::here("a JSON value is expected here"));
        }
        self.push(kind, self.at, end)?;
        self.at = end;
        Ok(())
    }

    /// A string, quotes included; says whether it has escapes.
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escapes = false;
        loop {
            self.at = plain_until(self.input, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escapes);
                }
                Some(b'\\') => {
                    escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(Fault::here("a control character stands in a string")),
                None => return Err(Fault::here(TOO_EARLY)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        const BAD: &str = "an escape sequence is not valid";
        const ALONE: &str = "half of a surrogate pair stands alone";
        match self.input.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = self.hex4(self.at + 2).ok_or_else(|| Fault::here(BAD))?;
                if (0xdc00..0xe000).contains(&unit) {
                    return Err(Fault::here(ALONE));
                }
                if (0xd800..0xdc00).contains(&unit) {
                    let low = match self.input.get(self.at + 6..self.at + 8) {
                        Some(b"\\u") => self.hex4(self.at + 8),
                        _ => None,
                    };
                    if !low.is_some_and(|l| (0xdc00..0xe000).contains(&l)) {
                        return Err(Fault::here(ALONE));
                    }
                    self.at += 6;
                }
                self.at += 6;
            }
            Some(_) => return Err(Fault::here(BAD)),
            None => return Err(Fault::here(TOO_EARLY)),
        }
        Ok(())
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        self.input
            .get(at..at + 4)?
            .iter()
            .try_fold(0, |n, b| Some(n << 4 | char::from(*b).to_digit(16)?))
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(Fault::here("a number has a leading zero"));
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::here("a number is not complete"));
        }
        Ok(())
    }

    /// The fault with its path: the open objects and arrays, and the place in each.
    fn issue(&mut self, fault: Fault) -> Issue {
        self.flush();
        let mut path = String::from(self.resource_type().map_or("", ResourceType::name));
        let open = self.stack.len();
        for (depth, frame) in self.stack.iter().enumerate() {
            if !frame.is_object {
                if let Some(last) = frame.count.checked_sub(1) {
                    path.push_str(&format!("[{last}]"));
                }
                continue;
            }
            let other = fault.name.filter(|_| depth + 1 == open);
            let Some((from, to)) = other.or(frame.name) else { continue };
            if !path.is_empty() {
                path.push('.');
            }
            let name = self.out.get(from as usize..to as usize);
            let name = name.and_then(|b| std::str::from_utf8(b).ok());
            path.push_str(name.map_or("(unknown)", path_name));
        }
        Issue::error(fault.code, path, fault.text)
    }

    /// The type of the outermost resource, if it has been read already.
    fn resource_type(&self) -> Option<ResourceType> {
        let mut at = 1;
        loop {
            let node = self.nodes.get(at)?;
            if node.end == node.start {
                // Still open: what stands in it is not the outermost object's.
                return None;
            }
            let to = node.start.saturating_sub(2) as usize;
            let from = to.saturating_sub((node.meta >> 4) as usize);
            if self.out.get(from..to) == Some(b"resourceType") && node.meta & 7 == STRING {
                let value = self.out.get(node.start as usize + 1..node.end as usize - 1)?;
                return ResourceType::from_name(std::str::from_utf8(value).ok()?);
            }
            at = node.next as usize;
        }
    }
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t')
}

/// One of 64 bits, from the name's length, first and last bytes.
fn name_hash(name: &[u8]) -> u64 {
    let (head, tail) = match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(head), Some(tail)) => (u32::from_le_bytes(*head), u32::from_le_bytes(*tail)),
        _ => (0, name.iter().fold(0, |n, b| n << 8 | u32::from(*b))),
    };
    let mixed = (u64::from(head) << 32 | u64::from(tail)) ^ (name.len() as u64) << 20;
    1 << (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// Where the next quote, backslash or control character stands; eight bytes at a time.
fn plain_until(input: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = input.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let w = u64::from_le_bytes(*chunk);
        let quote = w ^ (ONES * 0x22);
        let slash = w ^ (ONES * 0x5c);
        // A borrow can mark a byte too many, but only above one that is rightly marked.
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (w.wrapping_sub(ONES * 0x20) & !w))
            & HIGH;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while input.get(at).is_some_and(|b| *b != b'"' && *b != b'\\' && *b >= 0x20) {
        at += 1;
    }
    at
}
