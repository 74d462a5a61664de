//! Text as it is compared: without case, accents, punctuation and extra space.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#string> ("case and combining-diacritic
//! insensitive"; punctuation should be ignored).

/// Folds text: lower case; accents of Latin-1 and Latin Extended-A taken off (`ß` is
/// `ss`, `æ` is `ae`); combining marks, apostrophes and other punctuation dropped;
/// hyphens, slashes, commas and the like become a space; runs of space become one and
/// none is left at the ends. Idempotent.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars() {
        if parts(c) {
            space = !out.is_empty();
            continue;
        }
        let base = latin(c);
        let simple = base.is_empty() && (c.is_alphanumeric() || (c > '\u{7f}' && !dropped(c)));
        if base.is_empty() && !simple {
            continue;
        }
        if space {
            out.push(' ');
            space = false;
        }
        if base.is_empty() {
            // A letter whose lower case is decomposed keeps its base only, and one whose
            // lower case is a Latin letter (`ẞ`, the signs for kelvin and ångström) is that.
            for lower in c.to_lowercase().filter(|l| !dropped(*l)) {
                match latin(lower) {
                    "" => out.push(lower),
                    base => out.push_str(base),
                }
            }
        } else {
            out.push_str(base);
        }
    }
    out
}

/// Whether the character parts words.
fn parts(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '/' | ',' | ';' | ':' | '_' | '|' | '\\' | '+' | '&' | '\u{2010}'..='\u{2015}'
        )
}

/// Combining marks and punctuation beyond ASCII.
fn dropped(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{a1}'..='\u{a9}' | '\u{ab}'..='\u{b1}' | '\u{b4}' | '\u{b6}'..='\u{b8}'
        | '\u{bb}' | '\u{bf}' | '\u{d7}' | '\u{f7}'
        | '\u{2b0}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{2016}'..='\u{206f}' | '\u{feff}')
}

/// The plain letters of a Latin letter, lower case; empty for any other character.
fn latin(c: char) -> &'static str {
    match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' => ascii(c),
        'À'..='Å' | 'à'..='å' | 'Ā'..='ą' | 'ª' => "a",
        'Æ' | 'æ' => "ae",
        'Ç' | 'ç' | 'Ć'..='č' => "c",
        'Ď'..='đ' => "d",
        'È'..='Ë' | 'è'..='ë' | 'Ē'..='ě' => "e",
        'Ĝ'..='ģ' => "g",
        'Ĥ'..='ħ' => "h",
        'Ì'..='Ï' | 'ì'..='ï' | 'Ĩ'..='ı' => "i",
        'Ĳ' | 'ĳ' => "ij",
        'Ĵ' | 'ĵ' => "j",
        'Ķ'..='ĸ' => "k",
        'Ĺ'..='ł' => "l",
        'Ñ' | 'ñ' | 'Ń'..='ŋ' => "n",
        'Ò'..='Ö' | 'ò'..='ö' | 'Ø' | 'ø' | 'Ō'..='ő' | 'º' => "o",
        'Œ' | 'œ' => "oe",
        'Ŕ'..='ř' => "r",
        'Ś'..='š' | 'ſ' => "s",
        'ß' => "ss",
        'Ð' | 'ð' => "d",
        'Þ' | 'þ' => "th",
        'Ţ'..='ŧ' => "t",
        'Ù'..='Ü' | 'ù'..='ü' | 'Ũ'..='ų' => "u",
        'Ŵ' | 'ŵ' => "w",
        'Ý' | 'ý' | 'ÿ' | 'Ŷ'..='Ÿ' => "y",
        'Ź'..='ž' => "z",
        _ => "",
    }
}

fn ascii(c: char) -> &'static str {
    const PLAIN: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
    let at = match c {
        'a'..='z' => u32::from(c) - u32::from('a'),
        'A'..='Z' => u32::from(c) - u32::from('A'),
        _ => u32::from(c) - u32::from('0') + 26,
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX - 1);
    PLAIN.get(at..at + 1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_meet_however_they_are_written() {
        for (a, b) in [
            ("Müller", "MULLER"),
            ("O'Brien", "obrien"),
            ("O’Brien", "obrien"),
            ("Smith-Jones", "smith  jones"),
            ("  St. John\t", "st john"),
            ("Łódź", "lodz"),
            ("Straße 5", "strasse 5"),
            ("Ægir Þórsson", "aegir thorsson"),
            ("Jose\u{301}", "josé"),
            ("İstanbul", "istanbul"),
            ("STRAẞE", "Strasse"),
            ("\u{212b}ngstr\u{f6}m", "angstrom"),
            ("Иванов", "ИВАНОВ"),
            ("王小明", "王小明"),
        ] {
            assert_eq!(fold(a), fold(b), "{a}");
            assert!(!fold(a).is_empty());
        }
        assert_ne!(fold("Miller"), fold("Müller"));
        assert_eq!(fold(" -,. "), "");
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(s in "\\PC{0,40}") {
            let once = fold(&s);
            prop_assert_eq!(fold(&once), once.clone());
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
        }
    }
}
