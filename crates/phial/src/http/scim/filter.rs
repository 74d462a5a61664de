//! Filters of lists: `ATTRIBUTE eq VALUE`, and several of them with `and`
//! (RFC 7644 section 3.4.2.2). Every other operator is refused by name: a directory that
//! looks for an account by what it knows needs no more.

/// One condition: the attribute in lower case, and its value.
pub(super) type Condition = (String, String);

/// Reads a filter. `None` when it has another form.
pub(super) fn read(text: &str) -> Option<Vec<Condition>> {
    let mut rest = text.trim();
    let mut all = Vec::new();
    loop {
        let (attribute, after) = rest.split_once(' ')?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b".:-_".contains(&b);
        if attribute.is_empty() || !attribute.bytes().all(good) {
            return None;
        }
        let (operator, after) = after.trim_start().split_once(' ')?;
        if !operator.eq_ignore_ascii_case("eq") {
            return None;
        }
        let after = after.trim_start();
        let (value, after) = if after.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = stream.next()?.ok()?;
            (value, after.get(stream.byte_offset()..)?)
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            let value = after.get(..end)?;
            if !matches!(value, "true" | "false") {
                return None;
            }
            (value.to_owned(), after.get(end..)?)
        };
        all.push((attribute.to_ascii_lowercase(), value));
        rest = after.trim();
        if rest.is_empty() {
            return Some(all);
        }
        let (joint, after) = rest.split_once(' ')?;
        if !joint.eq_ignore_ascii_case("and") || all.len() >= 8 {
            return None;
        }
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equality_is_read() {
        let one = |a: &str, v: &str| (a.to_owned(), v.to_owned());
        assert_eq!(read("userName eq \"ana\""), Some(vec![one("username", "ana")]));
        assert_eq!(
            read("userName EQ \"a \\\"b\" and active eq true"),
            Some(vec![one("username", "a \"b"), one("active", "true")])
        );
        for bad in [
            "",
            "userName",
            "userName eq",
            "userName co \"a\"",
            "userName eq ana",
            "userName eq \"a\" or active eq true",
            "userName eq \"a\" and",
            "not (a eq \"b\")",
            "userName eq \"a",
            "(userName eq \"a\")",
            "userName eq 1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
