//! JSON written straight into one string, members in the order in which they are put.
//! Numbers are written from whole counts, never from floats. Refuses nothing: what is
//! put is this crate's own.

/// A JSON text being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Json {
    out: String,
}

/// What can be written as one JSON value.
pub(crate) trait Put {
    fn put(&self, to: &mut Json);
}

impl Json {
    pub(crate) fn with_capacity(bytes: usize) -> Json {
        Json { out: String::with_capacity(bytes) }
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.out
    }

    /// A comma where one is needed: not at the beginning, and not after a name.
    fn separate(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }

    /// Opens an object or array.
    pub(crate) fn open(&mut self, bracket: char) {
        self.separate();
        self.out.push(bracket);
    }

    /// Closes it.
    pub(crate) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// A member's name. Names hold nothing that needs escaping.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// A value that is written as it is.
    pub(crate) fn bare(&mut self, write: impl FnOnce(&mut String)) {
        self.separate();
        write(&mut self.out);
    }

    /// A string made of pieces.
    pub(crate) fn pieces(&mut self, pieces: &[&str]) {
        self.separate();
        self.out.push('"');
        for piece in pieces {
            escape(piece, &mut self.out);
        }
        self.out.push('"');
    }
}

fn escape(text: &str, to: &mut String) {
    if !text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        to.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\t' => to.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                to.push_str("\\u00");
                for n in [u32::from(c) >> 4, u32::from(c) & 15] {
                    to.push(char::from_digit(n, 16).unwrap_or('0'));
                }
            }
            c => to.push(c),
        }
    }
}

impl Put for str {
    fn put(&self, to: &mut Json) {
        to.pieces(&[self]);
    }
}

impl Put for &str {
    fn put(&self, to: &mut Json) {
        to.pieces(&[self]);
    }
}

impl Put for String {
    fn put(&self, to: &mut Json) {
        to.pieces(&[self]);
    }
}

impl Put for &String {
    fn put(&self, to: &mut Json) {
        to.pieces(&[self]);
    }
}

impl Put for i64 {
    fn put(&self, to: &mut Json) {
        Decimal(*self, 0).put(to);
    }
}

impl Put for bool {
    fn put(&self, to: &mut Json) {
        to.bare(|out| out.push_str(if *self { "true" } else { "false" }));
    }
}

/// A number counted in its last decimal: `Decimal(72, 1)` is 7.2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal(pub(crate) i64, pub(crate) u32);

impl Decimal {
    pub(crate) fn write(self, to: &mut String) {
        let Decimal(count, decimals) = self;
        if count < 0 {
            to.push('-');
        }
        let count = count.unsigned_abs();
        let scale = 10_u64.pow(decimals);
        whole(count / scale, 1, to);
        if decimals > 0 {
            to.push('.');
            whole(count % scale, decimals as usize, to);
        }
    }
}

/// A whole number in at least so many digits.
pub(crate) fn whole(mut n: u64, least: usize, to: &mut String) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        if n == 0 && used >= least {
            break;
        }
        *place = b'0' + (n % 10) as u8;
        n /= 10;
        used += 1;
    }
    to.extend(digits.iter().skip(20 - used).map(|d| char::from(*d)));
}

impl Put for Decimal {
    fn put(&self, to: &mut Json) {
        to.bare(|out| self.write(out));
    }
}

/// Writes one value: `put!(json, { "name": (expression), "list": ["a", { ... }] })`.
/// Expressions stand in parentheses and are [`Put`].
macro_rules! put {
    ($w:expr, { $($key:literal : $value:tt),* $(,)? }) => {{
        $w.open('{');
        $( $w.key($key); $crate::json::put!($w, $value); )*
        $w.close('}');
    }};
    ($w:expr, [ $($value:tt),* $(,)? ]) => {{
        $w.open('[');
        $( $crate::json::put!($w, $value); )*
        $w.close(']');
    }};
    ($w:expr, ($value:expr)) => {{
        match &$value {
            value => $crate::json::Put::put(value, &mut $w),
        }
    }};
    ($w:expr, $value:literal) => {
        $crate::json::Put::put(&$value, &mut $w)
    };
}

/// Writes members into the object that is open.
macro_rules! set {
    ($w:expr, $($key:literal : $value:tt),* $(,)?) => {{
        $( $w.key($key); $crate::json::put!($w, $value); )*
    }};
}

pub(crate) use {put, set};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_compact_and_in_order() {
        let mut w = Json::default();
        put!(w, { "b": true, "a": [1_i64, "x", { "n": (Decimal(-705, 2)) }], "c": {} });
        assert_eq!(w.into_text(), r#"{"b":true,"a":[1,"x",{"n":-7.05}],"c":{}}"#);
    }

    #[test]
    fn text_is_escaped() {
        let mut w = Json::default();
        put!(w, ("a \"b\"\\\n\u{1}é"));
        assert_eq!(w.into_text(), "\"a \\\"b\\\"\\\\\\n\\u0001é\"");
    }

    #[test]
    fn decimals_keep_their_places() {
        for (n, text) in
            [(Decimal(72, 1), "7.2"), (Decimal(12900, 2), "129.00"), (Decimal(88, 0), "88")]
        {
            let mut out = String::new();
            n.write(&mut out);
            assert_eq!(out, text);
        }
    }
}
