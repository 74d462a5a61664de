//! The files of the pages: one style sheet, one script, one picture. All of them are ours.

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};

use super::Answer;
use super::visit::{Turn, Visit};

const FILES: &[(&str, &str, &str)] = &[
    ("phial.css", "text/css; charset=utf-8", include_str!("assets/phial.css")),
    ("phial.js", "text/javascript; charset=utf-8", include_str!("assets/phial.js")),
    ("phial.svg", "image/svg+xml", include_str!("assets/phial.svg")),
];

/// `GET /assets/[name]`
pub(crate) async fn file(visit: Visit) -> Answer {
    let asked = visit.words.first().map_or("", String::as_str);
    let Some((_, kind, text)) = FILES.iter().find(|(name, ..)| *name == asked) else {
        return Err(Turn::refused(
            StatusCode::NOT_FOUND,
            "Nothing is here",
            "There is no such file.",
        ));
    };
    let mut response = Response::new(Body::from(*text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
