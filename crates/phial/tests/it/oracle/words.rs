//! `_text` and `_content` by brute force: words and phrases in the texts of one resource
//! (3.1.1.4.20), and places for rows to ask for.
//!
//! Of `_content` it knows what a Condition and an Observation keep as notes: the narrative,
//! and every text within `note`; of an Observation also those of reference ranges.

use serde_json::Value;

use super::Unknown;
use super::text::fold;

/// The words of a text, in order.
fn words(text: &str) -> Vec<String> {
    let of_word =
        |c: char| c.is_alphanumeric() || "\'\u{2019}\u{301}\u{300}\u{308}\u{303}".contains(c);
    let folded = text.split(|c| !of_word(c)).map(fold).collect::<Vec<_>>().join(" ");
    folded.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// The text of XHTML.
fn plain(div: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in div.chars() {
        match c {
            '<' => {
                in_tag = true;
                out.push(' ');
            }
            '>' => in_tag = false,
            c if !in_tag => out.push(c),
            _ => {}
        }
    }
    for (entity, c) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'")] {
        out = out.replace(entity, c);
    }
    out.replace("&amp;", "&")
}

fn strings<'v>(v: &'v Value, out: &mut Vec<&'v str>) {
    match v {
        Value::String(s) => out.push(s),
        Value::Array(all) => all.iter().for_each(|v| strings(v, out)),
        Value::Object(all) => all.values().for_each(|v| strings(v, out)),
        _ => {}
    }
}

/// The texts that the parameter looks at, as words.
fn texts(r: &Value, code: &str) -> Result<Vec<Vec<String>>, Unknown> {
    let mut all = Vec::new();
    if let Some(div) = r["text"]["div"].as_str() {
        all.push(words(&plain(div)));
    }
    if code == "_content" {
        let ty = r["resourceType"].as_str().unwrap();
        if !["Condition", "Observation"].contains(&ty) || !r["extension"].is_null() {
            return Err(Unknown(format!("{ty}?_content")));
        }
        let mut found = Vec::new();
        strings(&r["note"], &mut found);
        for range in r["referenceRange"].as_array().into_iter().flatten() {
            found.extend(range["text"].as_str());
        }
        all.extend(found.into_iter().map(words));
    }
    Ok(all)
}

/// What is asked for, piece by piece.
#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Or,
    Comma,
    And,
    Not,
    Words(Vec<String>),
    Begun(Vec<String>),
    Phrase(Vec<String>),
}

fn tokens(query: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut rest = query;
    loop {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else { return all };
        let one = |token, n: usize| (token, &rest[n..]);
        let (token, after) = match c {
            '(' => one(Token::Open, 1),
            ')' => one(Token::Close, 1),
            ',' => one(Token::Comma, 1),
            '"' => {
                let end = rest[1..].find('"').unwrap() + 1;
                (Token::Phrase(words(&rest[1..end])), &rest[end + 1..])
            }
            _ => {
                let end = rest.find([' ', '(', ')', '"', ',']).unwrap_or(rest.len());
                let word = &rest[..end];
                let token = match word {
                    "AND" => Token::And,
                    "OR" => Token::Or,
                    "NOT" => Token::Not,
                    _ => match word.strip_suffix('*') {
                        Some(begun) => Token::Begun(words(begun)),
                        None => Token::Words(words(word)),
                    },
                };
                (token, &rest[end..])
            }
        };
        all.push(token);
        rest = after;
    }
}

/// Whether the resource is found by the words.
pub(crate) fn stands(r: &Value, code: &str, query: &str) -> Result<bool, Unknown> {
    let texts = texts(r, code)?;
    let all = tokens(query);
    let alternatives = all.split(|t| *t == Token::Comma);
    Ok(alternatives.into_iter().any(|a| {
        let mut at = 0;
        or(&texts, a, &mut at)
    }))
}

fn or(texts: &[Vec<String>], all: &[Token], at: &mut usize) -> bool {
    let mut any = and(texts, all, at);
    while all.get(*at) == Some(&Token::Or) {
        *at += 1;
        any |= and(texts, all, at);
    }
    any
}

fn and(texts: &[Vec<String>], all: &[Token], at: &mut usize) -> bool {
    let mut every = one(texts, all, at);
    while !matches!(all.get(*at), None | Some(Token::Or | Token::Close)) {
        if all[*at] == Token::And {
            *at += 1;
        }
        every &= one(texts, all, at);
    }
    every
}

fn one(texts: &[Vec<String>], all: &[Token], at: &mut usize) -> bool {
    let here = *at;
    *at += 1;
    let has = |w: &String| texts.iter().any(|t| t.contains(w));
    match &all[here] {
        Token::Not => !one(texts, all, at),
        Token::Open => {
            let inner = or(texts, all, at);
            assert_eq!(all[*at], Token::Close);
            *at += 1;
            inner
        }
        Token::Words(words) => words.iter().all(has),
        Token::Begun(words) => {
            let (last, whole) = words.split_last().unwrap();
            whole.iter().all(has) && texts.iter().flatten().any(|w| w.starts_with(last.as_str()))
        }
        Token::Phrase(words) => {
            texts.iter().any(|t| t.windows(words.len()).any(|some| some == words.as_slice()))
        }
        other => panic!("{other:?}"),
    }
}

/// What a row can ask for: words, words in their order, in the wrong order, begun words.
pub(crate) fn samples(r: &Value, code: &str, form: &str) -> Vec<String> {
    let quoted = |words: &[String]| format!("\"{}\"", words.join(" "));
    let texts = texts(r, code).unwrap_or_default();
    let mut all = Vec::new();
    for text in &texts {
        match form {
            "word" => all.extend(text.iter().filter(|w| w.len() > 3).cloned()),
            "begin" => all.extend(text.iter().filter_map(|w| Some(format!("{}*", w.get(..3)?)))),
            "phrase" => all.extend(text.windows(2).map(quoted)),
            "long" => all.extend(text.windows(5).map(quoted)),
            "turned" => all.extend(text.windows(2).map(|w| quoted(&[w[1].clone(), w[0].clone()]))),
            other => panic!("{other}"),
        }
    }
    all
}
