//! `_text` and `_content`: words of the narrative, and words of everything that is kept as
//! notes. A record is found by the words that it has, whole and folded, in any order, and
//! by phrases, whose words stand one after the other in one text.
//!
//! The grammar, as those know it who come from Lucene: words side by side must all be
//! there; `AND`, `OR` and `NOT` in capitals, and parentheses; `"a phrase"`; `begin*`; a
//! comma outside a phrase is an `OR` around the rest (decision 0091).
//!
//! Source: <https://hl7.org/fhir/R4/search.html#content>

use phial_base::DataClass;

use super::query::{Criterion, Filter, Modifier, On};
use super::query_value::{Operand, unescape};
use super::read::{MOST_LINKS, Refused, refused};
use super::{ParamId, fold};
use crate::issue::IssueCode;

/// The class of what `_text` and `_content` read.
pub(super) const CLASS: DataClass = DataClass::Notes;

/// The words of a text, folded, as the index holds them and as a query asks for them.
pub(super) fn each_word(text: &str, mut each: impl FnMut(String)) {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}');
    for word in text.split(|c: char| !joins(c) && !is_mark(c)) {
        // Folding may part what was one piece.
        for part in fold(word).split(' ').filter(|p| !p.is_empty()) {
            each(part.to_owned());
        }
    }
}

/// A combining mark belongs to the letter before it.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// The text of XHTML, without tags; what stands for a character parts words.
pub(super) fn text_of_xhtml(div: &str) -> String {
    let mut out = String::with_capacity(div.len());
    let mut rest = div;
    while let Some((text, after)) = rest.split_once('<') {
        entities(text, &mut out);
        // A tag may stand for a line's end, so it parts words.
        out.push(' ');
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    entities(rest, &mut out);
    out
}

fn entities(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('&') {
        out.push_str(plain);
        let (name, after) = match after.split_once(';') {
            Some((name, after)) if name.len() <= 10 => (name, after),
            _ => ("", after),
        };
        let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        out.push(number.and_then(char::from_u32).unwrap_or(' '));
        rest = after;
    }
    out.push_str(rest);
}

/// Reads the value of `_text` or `_content`, which is `param`.
pub(super) fn read(param: ParamId, text: &str) -> Result<Criterion, Refused> {
    let mut any = Vec::new();
    for piece in pieces(text) {
        let piece = unescape(piece);
        let mut reader = Reader { param, rest: &piece, depth: 0 };
        let found = reader.any()?;
        if !reader.rest.trim_start().is_empty() {
            return refused(IssueCode::Value, "has a parenthesis too many");
        }
        any.push(found);
    }
    match any.len() {
        1 => any.pop().map_or_else(|| refused(IssueCode::Value, "has an empty value"), Ok),
        _ => Ok(Criterion::Any(any)),
    }
}

/// The text at its commas, those within phrases and those that are escaped left alone.
fn pieces(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut from, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                all.extend(text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    all.extend(text.get(from..));
    all
}

/// Whether the words of a phrase stand one after the other in one of the texts of
/// [`super::Term::Order`]. Both have a space between two words.
#[must_use]
pub fn has_phrase(words: &str, phrase: &str) -> bool {
    !phrase.is_empty()
        && words.split('\n').any(|text| {
            text.match_indices(phrase).any(|(at, _)| {
                let before = text.get(..at).unwrap_or_default();
                let after = text.get(at + phrase.len()..).unwrap_or_default();
                (before.is_empty() || before.ends_with(' '))
                    && (after.is_empty() || after.starts_with(' '))
            })
        })
}

struct Reader<'t> {
    param: ParamId,
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Criterion, Refused> {
        let mut all = vec![self.all()?];
        while self.word("OR") {
            all.push(self.all()?);
        }
        Ok(one_or(all, Criterion::Any))
    }

    fn all(&mut self) -> Result<Criterion, Refused> {
        let mut all = vec![self.one()?];
        loop {
            if !self.word("AND") {
                let next = self.rest.trim_start();
                if next.is_empty() || next.starts_with(')') || self.next_is("OR") {
                    return Ok(one_or(all, Criterion::All));
                }
            }
            all.push(self.one()?);
        }
    }

    fn one(&mut self) -> Result<Criterion, Refused> {
        if self.word("NOT") {
            return self.deeper(|r| Ok(Criterion::Not(Box::new(r.one()?))));
        }
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            let inner = self.deeper(Reader::any)?;
            let Some(rest) = self.rest.trim_start().strip_prefix(')') else {
                return refused(IssueCode::Value, "has a parenthesis without its end");
            };
            self.rest = rest;
            return Ok(inner);
        }
        if let Some(rest) = self.rest.strip_prefix('"') {
            let Some((inside, rest)) = rest.split_once('"') else {
                return refused(IssueCode::Value, "has a quotation mark without its end");
            };
            self.rest = rest;
            return self.phrase(inside);
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"'));
        let (piece, rest) =
            self.rest.split_at_checked(end.unwrap_or(self.rest.len())).unwrap_or_default();
        self.rest = rest;
        let (piece, begins) = match piece.strip_suffix('*') {
            Some(piece) => (piece, true),
            None => (piece, false),
        };
        let mut words = Vec::new();
        each_word(piece, |word| words.push(word));
        // Of what is parted into several words the last one is only begun.
        let begun = if begins { words.pop() } else { None };
        if words.is_empty() && begun.is_none() {
            return refused(IssueCode::Value, "lacks a word");
        }
        let whole = words.into_iter().map(|word| self.is(Modifier::Exact, word));
        let all = whole.chain(begun.map(|word| self.is(Modifier::None, word))).collect();
        Ok(one_or(all, Criterion::All))
    }

    fn is(&self, modifier: Modifier, word: String) -> Criterion {
        let values = vec![Operand::Str(word.into())];
        Criterion::Is(Filter { on: On::Param(self.param), modifier, values })
    }

    /// The words of a phrase, each of which must be there, and then their order.
    fn phrase(&self, text: &str) -> Result<Criterion, Refused> {
        let mut words: Vec<String> = Vec::new();
        each_word(text, |word| words.push(word));
        let phrase = words.join(" ");
        let several = words.len() > 1;
        words.sort_unstable();
        words.dedup();
        let mut all: Vec<Criterion> =
            words.into_iter().map(|word| self.is(Modifier::Exact, word)).collect();
        if several {
            let values = vec![Operand::Phrase(phrase.into())];
            let on = On::Param(self.param);
            all.push(Criterion::Is(Filter { on, modifier: Modifier::Exact, values }));
        }
        if all.is_empty() {
            return refused(IssueCode::Value, "lacks a word");
        }
        Ok(one_or(all, Criterion::All))
    }

    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Criterion, Refused>,
    ) -> Result<Criterion, Refused> {
        self.depth += 1;
        if self.depth > MOST_LINKS {
            return refused(IssueCode::TooCostly, "has too many parentheses in each other");
        }
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn next_is(&self, word: &str) -> bool {
        self.rest.trim_start().strip_prefix(word).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == '(')
        })
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.next_is(word);
        if found {
            self.rest = self.rest.trim_start().strip_prefix(word).unwrap_or_default();
        }
        found
    }
}

fn one_or(mut all: Vec<Criterion>, of: impl FnOnce(Vec<Criterion>) -> Criterion) -> Criterion {
    match all.len() {
        1 => all.swap_remove(0),
        _ => of(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        each_word(text, |w| out.push(w));
        out
    }

    #[test]
    fn words_are_folded_and_parted_by_what_is_no_letter() {
        assert_eq!(
            words("Heart-attack (acute). Zoë's e\u{301}tat"),
            ["heart", "attack", "acute", "zoes", "etat"]
        );
        assert_eq!(words("12.5 mg/dL"), ["12", "5", "mg", "dl"]);
        assert!(words(" ,.; ").is_empty());
    }

    #[test]
    fn a_phrase_is_words_one_after_the_other_within_one_text() {
        let words = "acute heart attack with acute pain\nleft arm heart";
        for phrase in
            ["acute heart", "heart attack with", "acute pain", "left arm", "heart", "acute"]
        {
            assert!(has_phrase(words, phrase), "{phrase}");
        }
        for phrase in
            ["heart acute", "pain left", "cute heart", "acute hear", "attack acute", "arm left", ""]
        {
            assert!(!has_phrase(words, phrase), "{phrase}");
        }
    }

    #[test]
    fn commas_part_alternatives_outside_phrases() {
        assert_eq!(pieces("a,b"), ["a", "b"]);
        assert_eq!(pieces("\"a, b\",c"), ["\"a, b\"", "c"]);
        assert_eq!(pieces("a\\,b,c"), ["a\\,b", "c"]);
        assert_eq!(pieces(""), [""]);
        assert_eq!(pieces("\"a,b"), ["\"a,b"]);
    }

    #[test]
    fn tags_and_entities_are_no_words() {
        let text =
            text_of_xhtml("<div class=\"note\">Pain<br/>left &amp; right &#x41;rm&nbsp;</div>");
        assert_eq!(words(&text), ["pain", "left", "right", "arm"]);
        assert_eq!(words(&text_of_xhtml("a < b")), ["a"]);
    }
}
