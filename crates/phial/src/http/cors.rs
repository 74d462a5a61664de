//! Pages of other origins (the Fetch standard, "HTTP extensions"): none may ask unless
//! `http.cors_origins` names theirs. No answer ever allows credentials: a token comes in a
//! header that a page sets itself, so that no browser sends it unasked.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, Response, StatusCode};

use super::answer;

/// Headers that FHIR clients send (<https://hl7.org/fhir/R4/http.html#Http-Headers>).
const MAY_SEND: &str = "accept, accept-encoding, authorization, content-encoding, content-type, \
                        if-match, if-modified-since, if-none-exist, if-none-match, prefer, range, \
                        x-provenance, x-request-id";

/// Headers of answers that they read.
const MAY_READ: &str = "allow, content-disposition, content-location, content-range, etag, \
                        expires, last-modified, location, preference-applied, retry-after, \
                        x-progress, x-request-id";

/// How long a browser may remember, seconds.
const REMEMBERED: &str = "600";

/// Whether this text of the configuration is an origin that may be allowed: a scheme, a
/// host and perhaps a port; `http` only on this machine.
pub(crate) fn is_origin(text: &str) -> bool {
    let (host, tls) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(host), _) => (host, true),
        (_, Some(host)) => (host, false),
        _ => return false,
    };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "443"));
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let local = ["localhost", "127.0.0.1"].contains(&name);
    !name.is_empty() && name.bytes().all(good) && port.parse::<u16>().is_ok() && (tls || local)
}

/// The origin that asks, when it may.
pub(crate) fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    if origins.is_empty() {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    origins.iter().any(|o| o.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// What an answer says to a page. `varies`: whether it would say something else to
/// another origin.
pub(crate) fn mark(response: &mut Response<Body>, origin: Option<HeaderValue>, varies: bool) {
    let headers = response.headers_mut();
    if varies {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let may_read = HeaderValue::from_static(MAY_READ);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, may_read);
    }
}

/// The answer to OPTIONS of a path with these methods: `Allow`, and to a page that asks
/// beforehand what it may send.
pub(crate) fn options(methods: &[Method], allowed: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = answer::allow(methods);
    let headers = response.headers_mut();
    if allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
        let may_send = HeaderValue::from_static(MAY_SEND);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, may_send);
        let remembered = HeaderValue::from_static(REMEMBERED);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, remembered);
    }
    headers.insert(header::ALLOW, allow);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_in_full() {
        for good in [
            "https://app.example",
            "https://app.example:8443",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "https://*",
            "https://*.example",
            "https://App.example",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example:x",
            "https://me@app.example",
            "http://app.example",
            "file://app",
            "app.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn only_an_origin_on_the_list_is_allowed() {
        let list = ["https://app.example".to_owned()];
        let check = |origins: &[String], origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            allowed(origins, &headers).is_some()
        };
        assert!(check(&list, "https://app.example"));
        assert!(!check(&[], "https://app.example"));
        for other in
            ["null", "https://app.example.evil", "http://app.example", "https://app.exampl"]
        {
            assert!(!check(&list, other), "{other}");
        }
        assert!(allowed(&list, &HeaderMap::new()).is_none());
    }
}
