//! Cuts an expression's text into tokens.
//!
//! Source: the grammar at <https://hl7.org/fhirpath/N1/grammar.html>. Two older habits of
//! FHIR are accepted: names and variables in double quotes, and `%vs-name` unquoted.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::error::{Error, ErrorKind};
use super::moment::Moment;
use super::value::Value;

/// A token and the byte at which it starts.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) at: u32,
    pub(super) kind: Lexeme,
}

#[derive(Debug, Clone)]
pub(super) enum Lexeme {
    /// A plain name, which may be a word of the grammar.
    Word(Box<str>),
    /// A name in backticks: never a word of the grammar.
    Quoted(Box<str>),
    Text(String),
    Integer(i32),
    Decimal(Decimal),
    Moment(Value<'static>),
    /// `%name`
    Variable(Box<str>),
    /// `$this`, `$index`, `$total`
    Special(Box<str>),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 24] = [
    "!=", "!~", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "&", "|",
    "<", ">", "=", "~", "!", ";",
];

pub(super) fn tokens(text: &str, most: usize) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.blank()?;
        if lexer.rest().is_empty() {
            return Ok(out);
        }
        if out.len() >= most {
            return Err(lexer.error(ErrorKind::Limit("many parts")));
        }
        let at = u32::try_from(lexer.at).unwrap_or(u32::MAX);
        let kind = lexer.token()?;
        out.push(Token { at, kind });
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error { at: self.at, kind }
    }

    fn syntax(&self, what: &'static str) -> Error {
        self.error(ErrorKind::Syntax(what))
    }

    fn blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
            } else if let Some(inside) = trimmed.strip_prefix("/*") {
                let Some(end) = inside.find("*/") else {
                    return Err(self.syntax("a comment without an end"));
                };
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// As many characters from here as the test holds.
    fn while_(&mut self, mut test: impl FnMut(char) -> bool) -> &'t str {
        let rest = self.rest();
        let (head, _) = rest
            .split_at_checked(rest.find(|c| !test(c)).unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        self.at += head.len();
        head
    }

    fn token(&mut self) -> Result<Lexeme, Error> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or('\0');
        if starts_name(first) {
            return Ok(Lexeme::Word(self.while_(in_name).into()));
        }
        match first {
            '\'' => return Ok(Lexeme::Text(self.quoted('\'')?)),
            '`' | '"' => return Ok(Lexeme::Quoted(self.quoted(first)?.into())),
            '0'..='9' => return self.number(),
            '@' => return self.moment(),
            '$' => {
                self.at += 1;
                return Ok(Lexeme::Special(self.while_(in_name).into()));
            }
            '%' => {
                self.at += 1;
                return self.variable();
            }
            _ => {}
        }
        match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Lexeme::Symbol(symbol))
            }
            None => Err(self.syntax("a character that has no meaning here")),
        }
    }

    fn variable(&mut self) -> Result<Lexeme, Error> {
        let first = self.rest().chars().next().unwrap_or('\0');
        if matches!(first, '\'' | '`' | '"') {
            return Ok(Lexeme::Variable(self.quoted(first)?.into()));
        }
        if !starts_name(first) {
            return Err(self.syntax("a variable without a name"));
        }
        let dashes = self.rest().starts_with("vs-") || self.rest().starts_with("ext-");
        Ok(Lexeme::Variable(self.while_(|c| in_name(c) || (dashes && c == '-')).into()))
    }

    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        let start = self.at;
        let unended = Error { at: start, kind: ErrorKind::Syntax("a text without an end") };
        self.at += quote.len_utf8();
        let mut out = String::new();
        loop {
            let plain = self.while_(|c| c != quote && c != '\\');
            out.push_str(plain);
            let Some(c) = self.rest().chars().next() else { return Err(unended) };
            self.at += 1;
            if c == quote {
                return Ok(out);
            }
            let Some(escaped) = self.rest().chars().next() else { return Err(unended) };
            match escaped {
                'u' => out.push(self.unicode()?),
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'f' => out.push('\u{c}'),
                '\\' | '/' | '\'' | '"' | '`' => out.push(escaped),
                _ => return Err(self.syntax("an escape that has no meaning")),
            }
            self.at += 1;
        }
    }

    /// `uXXXX`, with a second half where the first is a surrogate. Ends on the last digit.
    fn unicode(&mut self) -> Result<char, Error> {
        let hex = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
            u32::from_str_radix(digits, 16).ok()
        };
        let bad = self.syntax("an escape that is no character");
        let Some(mut unit) = hex(self.at + 1) else { return Err(bad) };
        let mut length = 4;
        if (0xd800..0xdc00).contains(&unit) {
            let low = self.text.get(self.at + 5..self.at + 7).filter(|s| *s == "\\u");
            let low = low.and_then(|_| hex(self.at + 7)).filter(|l| (0xdc00..0xe000).contains(l));
            let Some(low) = low else { return Err(bad) };
            unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
            length = 10;
        }
        let Some(c) = char::from_u32(unit) else { return Err(bad) };
        self.at += length;
        Ok(c)
    }

    fn number(&mut self) -> Result<Lexeme, Error> {
        let start = self.at;
        self.while_(|c| c.is_ascii_digit());
        let fraction = self.rest().strip_prefix('.');
        let decimal = fraction.is_some_and(|f| f.starts_with(|c: char| c.is_ascii_digit()));
        if decimal {
            self.at += 1;
            self.while_(|c| c.is_ascii_digit());
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let too_large = Error { at: start, kind: ErrorKind::Limit("large a number") };
        if decimal {
            Decimal::parse(text).map(Lexeme::Decimal).ok_or(too_large)
        } else {
            text.parse().map(Lexeme::Integer).map_err(|_| too_large)
        }
    }

    /// `@2015`, `@2015T`, `@2015-02-04T14:34:28.123+10:00`, `@T14:34`.
    fn moment(&mut self) -> Result<Lexeme, Error> {
        let bad = self.syntax("a date or time that does not exist");
        self.at += 1;
        if self.rest().starts_with('T') {
            self.at += 1;
            let text = self.clock();
            return Moment::time(text).map(|m| Lexeme::Moment(Value::Time(m))).ok_or(bad);
        }
        let start = self.at;
        self.while_(|c| c.is_ascii_digit());
        for _ in 0..2 {
            let next = self.rest().strip_prefix('-');
            if next.is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
                self.at += 1;
                self.while_(|c| c.is_ascii_digit());
            }
        }
        if self.rest().starts_with('T') {
            self.at += 1;
            if !self.clock().is_empty() {
                let rest = self.rest();
                if rest.starts_with('Z') {
                    self.at += 1;
                } else if let Some(offset) = rest.strip_prefix(['+', '-']) {
                    let like = offset
                        .bytes()
                        .zip(*b"00:00")
                        .all(|(b, form)| if form == b':' { b == b':' } else { b.is_ascii_digit() });
                    if like && offset.len() >= 5 {
                        self.at += 6;
                    }
                }
            }
            let text = self.text.get(start..self.at).unwrap_or_default();
            return Moment::date_time(text).map(|m| Lexeme::Moment(Value::DateTime(m))).ok_or(bad);
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Moment::date(text).map(|m| Lexeme::Moment(Value::Date(m))).ok_or(bad)
    }

    /// The digits of a time of day: a point belongs to it only before a digit.
    fn clock(&mut self) -> &'t str {
        let start = self.at;
        self.while_(|c| c.is_ascii_digit() || c == ':');
        let fraction = self.rest().strip_prefix('.');
        if fraction.is_some_and(|f| f.starts_with(|c: char| c.is_ascii_digit())) {
            self.at += 1;
            self.while_(|c| c.is_ascii_digit());
        }
        self.text.get(start..self.at).unwrap_or_default()
    }
}

impl Lexeme {
    /// The literal that it is by itself.
    pub(super) fn literal(&self) -> Option<Value<'static>> {
        Some(match self {
            Lexeme::Text(text) => Value::String(Cow::Owned(text.clone())),
            Lexeme::Integer(n) => Value::Integer(*n),
            Lexeme::Decimal(n) => Value::Decimal(*n),
            Lexeme::Moment(moment) => moment.clone(),
            _ => return None,
        })
    }
}
