//! Functions on texts. Positions count characters. Regular expressions run in linear
//! time and are kept small; what they and replacements make is bounded while it is made.
//!
//! Source: <https://hl7.org/fhirpath/N1/#string-manipulation>

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::super::ast::{Expr, Function};
use super::super::error::{Error, ErrorKind};
use super::super::eval::{Evaluator, Frame, empty_primitive, one, truth};
use super::super::item::{Collection, Item};
use super::super::value::Value;

/// The most memory of a compiled regular expression, in bytes.
const PATTERN_SIZE: usize = 1 << 20;
/// How many compiled ones one evaluation keeps.
const PATTERNS: usize = 32;

fn text<'a>(text: String) -> Collection<'a> {
    one(Value::String(Cow::Owned(text)))
}

fn position<'a>(text: &str, found: Option<usize>) -> Collection<'a> {
    let chars = found.and_then(|n| text.get(..n)).map(|before| before.chars().count());
    one(Value::Integer(chars.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1)))
}

impl<'a> Evaluator<'a, '_> {
    pub(super) fn on_text(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        if function == F::Join {
            return self.join(at, items, arguments, f);
        }
        let input = match self.input(at, items, function)? {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => return Err(Error::new(at, ErrorKind::Type(function.name()))),
        };
        if function == F::Substring {
            return self.substring(input, arguments, f);
        }
        // All the others give nothing when anything that they need is not there.
        let mut given = Vec::with_capacity(arguments.len());
        for argument in arguments {
            given.push(self.text(argument, f)?);
        }
        let Some(input) = input else { return Ok(Vec::new()) };
        let Some(given) = given.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(Vec::new());
        };
        let first = given.first().map_or("", |s| s);
        let second = given.get(1).map_or("", |s| s);
        self.fits(at, input.len())?;
        self.make(at, input.len())?;
        let result = self.text_function(at, function, input, first, second)?;
        for made in result.iter().filter_map(Item::string) {
            self.make(at, made.len())?;
        }
        Ok(result)
    }

    fn text_function(
        &self,
        at: u32,
        function: Function,
        input: Cow<'a, str>,
        first: &str,
        second: &str,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        Ok(match function {
            F::IndexOf => position(&input, input.find(first)),
            F::LastIndexOf => position(&input, input.rfind(first)),
            F::StartsWith => truth(Some(input.starts_with(first))),
            F::EndsWith => truth(Some(input.ends_with(first))),
            F::Contains => truth(Some(input.contains(first))),
            F::Upper => text(input.to_uppercase()),
            F::Lower => text(input.to_lowercase()),
            F::Length => {
                one(Value::Integer(i32::try_from(input.chars().count()).unwrap_or(i32::MAX)))
            }
            F::Trim => text(input.trim().to_owned()),
            F::ToChars => self.pieces(at, input.chars().map(String::from))?,
            F::Split if first.is_empty() => self.pieces(at, input.chars().map(String::from))?,
            F::Split => self.pieces(at, input.split(first).map(str::to_owned))?,
            F::Replace => text(self.replaced(at, &input, first, second)?),
            F::Matches | F::MatchesFull => {
                // A step for each byte: how long one takes depends on the pattern.
                self.spend(at, input.len())?;
                let pattern = self.pattern(at, first, function == F::MatchesFull)?;
                truth(Some(pattern.is_match(&input)))
            }
            F::ReplaceMatches if first.is_empty() => one(Value::String(input)),
            F::ReplaceMatches => text(self.replaced_matches(at, &input, first, second)?),
            F::Encode => match first {
                "hex" => text(hex::encode(input.as_bytes())),
                "base64" => text(STANDARD.encode(input.as_bytes())),
                "urlbase64" => text(URL_SAFE.encode(input.as_bytes())),
                _ => return Err(unknown_form(at)),
            },
            F::Decode => {
                let bytes = match first {
                    "hex" => hex::decode(input.as_bytes()).ok(),
                    "base64" => STANDARD.decode(input.as_bytes()).ok(),
                    "urlbase64" => URL_SAFE.decode(input.as_bytes()).ok(),
                    _ => return Err(unknown_form(at)),
                };
                let decoded = bytes.and_then(|b| String::from_utf8(b).ok());
                decoded.map_or_else(Vec::new, text)
            }
            F::Escape => match first {
                "html" => text(escape_html(&input)),
                "json" => text(escape_json(&input)),
                _ => return Err(unknown_form(at)),
            },
            _ => match first {
                "html" => text(unescape_html(&input)),
                "json" => text(crate::json::unescape(&input)),
                _ => return Err(unknown_form(at)),
            },
        })
    }

    fn pieces(
        &self,
        at: u32,
        pieces: impl Iterator<Item = String>,
    ) -> Result<Collection<'a>, Error> {
        let mut out = Vec::new();
        for piece in pieces {
            self.step(at)?;
            out.push(Item::Value(Value::String(Cow::Owned(piece))));
            self.sized(at, &out)?;
        }
        Ok(out)
    }

    fn substring(
        &self,
        input: Option<Cow<'a, str>>,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let mut numbers = Vec::with_capacity(2);
        for argument in arguments {
            numbers.push(self.integer(argument, f)?);
        }
        let (Some(input), Some(Some(start))) = (input, numbers.first().copied()) else {
            return Ok(Vec::new());
        };
        let Ok(start) = usize::try_from(start) else { return Ok(Vec::new()) };
        let mut rest = input.chars().skip(start).peekable();
        if rest.peek().is_none() {
            return Ok(Vec::new());
        }
        // An empty length is as none; a negative one takes nothing.
        let length = numbers.get(1).copied().flatten();
        let length = length.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(0));
        Ok(text(rest.take(length).collect()))
    }

    fn join(
        &self,
        at: u32,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let between = match arguments.first() {
            None => Cow::Borrowed(""),
            Some(e) => self.text(e, f)?.unwrap_or_default(),
        };
        let mut out = String::new();
        for (n, item) in items.iter().enumerate() {
            self.step(at)?;
            if n > 0 {
                out.push_str(&between);
            }
            match item.string() {
                Some(piece) => out.push_str(&piece),
                None if empty_primitive(item) => {}
                None => return Err(Error::new(at, ErrorKind::Type("join"))),
            }
            self.fits(at, out.len())?;
        }
        self.make(at, out.len())?;
        Ok(text(out))
    }

    fn replaced(&self, at: u32, input: &str, what: &str, with: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut from = 0;
        for (n, found) in input.match_indices(what) {
            out.push_str(input.get(from..n).unwrap_or_default());
            out.push_str(with);
            from = n + found.len();
            self.fits(at, out.len())?;
        }
        out.push_str(input.get(from..).unwrap_or_default());
        self.fits(at, out.len())?;
        Ok(out)
    }

    fn replaced_matches(
        &self,
        at: u32,
        input: &str,
        pattern: &str,
        with: &str,
    ) -> Result<String, Error> {
        self.spend(at, input.len())?;
        let pattern = self.pattern(at, pattern, false)?;
        let mut out = String::new();
        let mut from = 0;
        for captures in pattern.captures_iter(input) {
            let Some(whole) = captures.get(0) else { continue };
            // To find the next one may take a look at all that is left.
            self.spend(at, 1 + (input.len() - from) / 16)?;
            out.push_str(input.get(from..whole.start()).unwrap_or_default());
            // Each group may be the whole input and be named many times.
            let times = with.matches('$').count();
            self.fits(at, out.len() + with.len() + times.saturating_mul(whole.len()))?;
            captures.expand(with, &mut out);
            from = whole.end();
        }
        out.push_str(input.get(from..).unwrap_or_default());
        self.fits(at, out.len())?;
        Ok(out)
    }

    /// A compiled pattern, `.` matching line ends too.
    fn pattern(&self, at: u32, pattern: &str, full: bool) -> Result<regex::Regex, Error> {
        let source = if full { format!("^(?:{pattern})$") } else { pattern.to_owned() };
        let mut known = self.patterns.borrow_mut();
        if let Some(regex) = known.get(&source) {
            return Ok(regex.clone());
        }
        let regex = regex::RegexBuilder::new(&source)
            .dot_matches_new_line(true)
            .size_limit(PATTERN_SIZE)
            .dfa_size_limit(PATTERN_SIZE)
            .nest_limit(64)
            .build()
            .map_err(|_| Error::new(at, ErrorKind::Operation("not a regular expression")))?;
        if known.len() < PATTERNS {
            known.insert(source, regex.clone());
        }
        Ok(regex)
    }
}

fn unknown_form(at: u32) -> Error {
    Error::new(at, ErrorKind::Operation("a form of encoding that is not known"))
}

fn escape_html(input: &str) -> String {
    let mut out = String::with_capacity(input.len());
    for c in input.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn unescape_html(input: &str) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let entity = after.split_once(';').and_then(|(name, after)| {
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, after))
        });
        match entity {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn escape_json(input: &str) -> String {
    let quoted = serde_json::to_string(input).unwrap_or_default();
    let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}
