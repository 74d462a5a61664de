//! `_pretty=true`: the same JSON with line breaks and indentation. Tokens are copied
//! as they are, so decimals keep their digits.

/// Lays JSON out over several lines. `json` is valid and without white space.
pub(crate) fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut bytes = json.iter().copied().peekable();
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    while let Some(b) = bytes.next() {
        if in_string {
            out.push(b);
            in_string = escaped || b != b'"';
            escaped = !escaped && b == b'\\';
            continue;
        }
        match b {
            b'"' => {
                in_string = true;
                out.push(b);
            }
            b'{' | b'[' => {
                out.push(b);
                if bytes.peek().is_some_and(|n| matches!(n, b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(b);
            }
            b',' => {
                out.push(b);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(b),
        }
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn tokens_stay_as_they_are() {
        let json = br#"{"a":1.00,"b":["x{\"[,:","y\\"],"c":{},"d":[]}"#;
        let laid_out = String::from_utf8(pretty(json)).unwrap();
        let expected = "{\n  \"a\": 1.00,\n  \"b\": [\n    \"x{\\\"[,:\",\n    \"y\\\\\"\n  ],\n  \"c\": {},\n  \"d\": []\n}\n";
        assert_eq!(laid_out, expected);
    }
}
