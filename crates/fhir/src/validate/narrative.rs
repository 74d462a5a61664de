//! Narrative XHTML: one well-formed `div` of the formatting elements that FHIR allows,
//! with no scripts, no event handlers and no links that run code. A narrative is shown
//! by whoever receives it, so active content is refused where it comes in.
//!
//! Source: <https://hl7.org/fhir/R4/narrative.html#xhtml> (txt-1)

/// The elements of HTML 4.0 chapters 7-11 and 15 that txt-1 lists, sorted.
const ELEMENTS: [&str; 50] = [
    "a",
    "abbr",
    "acronym",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];
/// What a link may begin with; links without a scheme are relative.
const SCHEMES: [&str; 7] = ["http", "https", "mailto", "tel", "ftp", "urn", "cid"];

/// Why a text is no narrative that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No single, well-formed div.
    Malformed,
    /// Well-formed, with markup that a narrative must not have.
    NotAllowed,
}

/// Checks a whole narrative.
pub(crate) fn check(text: &str) -> Result<(), Refusal> {
    let mut rest = text.trim();
    if !rest.starts_with("<div") {
        return Err(Refusal::Malformed);
    }
    let mut open: Vec<&str> = Vec::new();
    loop {
        let (_, after) = rest.split_once('<').ok_or(Refusal::Malformed)?;
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").ok_or(Refusal::Malformed)?.1;
            continue;
        }
        if after.starts_with(['!', '?']) {
            return Err(Refusal::NotAllowed);
        }
        if let Some(closing) = after.strip_prefix('/') {
            let (name, next) = closing.split_once('>').ok_or(Refusal::Malformed)?;
            if open.pop() != Some(name.trim_end()) {
                return Err(Refusal::Malformed);
            }
            rest = next;
        } else {
            let (name, empty, next) = start_tag(after)?;
            if !empty {
                open.push(name);
            }
            rest = next;
        }
        if open.is_empty() {
            return if rest.is_empty() { Ok(()) } else { Err(Refusal::Malformed) };
        }
    }
}

/// Reads a start tag after its `<`: its name, whether it is empty, and what follows.
fn start_tag(after: &str) -> Result<(&str, bool, &str), Refusal> {
    let end = after.find(|c: char| !c.is_ascii_alphanumeric()).ok_or(Refusal::Malformed)?;
    let (name, mut rest) = after.split_at_checked(end).ok_or(Refusal::Malformed)?;
    if name.is_empty() {
        return Err(Refusal::Malformed);
    }
    if ELEMENTS.binary_search(&name).is_err() {
        return Err(Refusal::NotAllowed);
    }
    loop {
        let trimmed = rest.trim_start();
        if let Some(next) = trimmed.strip_prefix("/>") {
            return Ok((name, true, next));
        }
        if let Some(next) = trimmed.strip_prefix('>') {
            return Ok((name, false, next));
        }
        if trimmed.len() == rest.len() {
            return Err(Refusal::Malformed);
        }
        rest = attribute(trimmed)?;
    }
}

/// Reads `name="value"` and gives what follows.
fn attribute(text: &str) -> Result<&str, Refusal> {
    let (name, after) = text.split_once('=').ok_or(Refusal::Malformed)?;
    let name = name.trim_end();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Refusal::Malformed);
    }
    let after = after.trim_start();
    let quote =
        after.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(Refusal::Malformed)?;
    let mut parts = after.splitn(3, quote);
    let (_, value, rest) = (parts.next(), parts.next(), parts.next());
    let (value, rest) = (value.unwrap_or_default(), rest.ok_or(Refusal::Malformed)?);
    if value.contains('<') {
        return Err(Refusal::Malformed);
    }
    let lower = name.to_ascii_lowercase();
    let allowed = match lower.as_str() {
        "href" | "src" | "longdesc" | "cite" | "background" | "action" | "formaction" => {
            is_harmless_link(value, lower == "src")
        }
        _ => !lower.starts_with("on"),
    };
    if allowed { Ok(rest) } else { Err(Refusal::NotAllowed) }
}

/// Whether a link is relative or has a scheme that runs nothing. A character reference
/// before the first slash could hide a scheme, so it is refused.
fn is_harmless_link(value: &str, image: bool) -> bool {
    let value = value.trim();
    let head = value.split(['/', '?']).next().unwrap_or_default();
    if image && value.starts_with("data:image/") {
        return true;
    }
    if head.starts_with('#') {
        return true;
    }
    match head.split_once(':') {
        Some((scheme, _)) => SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme)),
        None => !head.contains('&'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_list_can_be_searched() {
        assert!(ELEMENTS.is_sorted());
    }

    #[test]
    fn narratives_of_allowed_markup_pass() {
        for good in [
            "<div>a</div>",
            " <div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; b<br/>c</p></div>\n",
            "<div/>",
            "<div><!-- <script> --><a href='Patient/1' title=\"a > b\">x</a></div >",
            "<div><a href=\"https://a.b/c?d=e&amp;f\">x</a><a href=\"#top\"/><a name=\"x\"/></div>",
            "<div><img src=\"data:image/png;base64,AA==\" alt=\"\"/><img src=\"#pic\"/></div>",
            "<div><table style=\"color: red\"><tr><td>1</td></tr></table></div>",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_no_div_is_malformed() {
        for bad in [
            "",
            "a",
            "<p>a</p>",
            "<divx>a</divx>",
            "<div>a",
            "<div>a</p>",
            "<div><p>a</div></p>",
            "<div>a</div>b",
            "<div>a</div><div/>",
            "<div><</div>",
            "<div><p a></p></div>",
            "<div><p a=b></p></div>",
            "<div><p a=\"b></p></div>",
            "<div a=\"<\"/>",
            "<div",
            "<div a=\"1\"b=\"2\"/>",
            "<div><!-- a</div>",
        ] {
            let refusal = check(bad).unwrap_err();
            let known = bad.starts_with("<divx");
            assert_eq!(refusal == Refusal::NotAllowed, known, "{bad}");
        }
    }

    #[test]
    fn active_content_is_refused() {
        for bad in [
            "<div><script>a</script></div>",
            "<div><SCRIPT>a</SCRIPT></div>",
            "<div><iframe src=\"https://a\"/></div>",
            "<div><form action=\"x\"/></div>",
            "<div><svg/></div>",
            "<div><style>a</style></div>",
            "<div><object/></div>",
            "<div onclick=\"a\"/>",
            "<div ONLOAD='a'/>",
            "<div><a href=\"javascript:a\">x</a></div>",
            "<div><a href=\" JaVaScRiPt:a\">x</a></div>",
            "<div><a href=\"java\nscript:a\">x</a></div>",
            "<div><a href=\"&#106;avascript:a\">x</a></div>",
            "<div><a href=\"javascript&#58;a\">x</a></div>",
            "<div><a href=\"javascript&colon;a\">x</a></div>",
            "<div><a href=\"data:text/html,x\">x</a></div>",
            "<div><img src=\"vbscript:a\"/></div>",
            "<!DOCTYPE a><div/>",
            "<div><![CDATA[<script>]]></div>",
            "<div><?php a ?></div>",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(check("<div onclick=\"a\"/>"), Err(Refusal::NotAllowed));
    }
}
