//! Strings as R4 3.1.1.4.8 compares them: without case, accents, punctuation and
//! superfluous space. It knows the letters that the sets it is used on have.

/// Letters with marks, and what they are without.
const MARKED: [(&str, &str); 16] = [
    ("áàâäãåÁÀÂÄÃÅ", "a"),
    ("çÇ", "c"),
    ("éèêëÉÈÊË", "e"),
    ("íìîïÍÌÎÏ", "i"),
    ("ñÑ", "n"),
    ("óòôöõøÓÒÔÖÕØ", "o"),
    ("úùûüÚÙÛÜ", "u"),
    ("ýÿÝ", "y"),
    ("ß", "ss"),
    ("æÆ", "ae"),
    ("šŠ", "s"),
    ("žŽ", "z"),
    ("łŁ", "l"),
    ("đĐ", "d"),
    ("\u{301}\u{300}\u{308}\u{303}", ""),
    ("'’.\"()!?`´[]{}*#%=<>@^~", ""),
];

pub(crate) fn fold(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c == ' ' || c == '\t' || c == '\u{a0}' || "-/,;:_|\\+&–—".contains(c) {
            out.push(' ');
        } else if let Some((_, plain)) = MARKED.iter().find(|(all, _)| all.contains(c)) {
            out.push_str(plain);
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}
