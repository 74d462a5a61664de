//! Answers: the one place where released bytes and failures become HTTP.

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, Response, StatusCode};
use bytes::Bytes;
use phial_base::RequestId;
use phial_engine::interaction::batch::status_of;
use phial_engine::{Failure, Known, Released, Written};
use phial_fhir::issue::{Issue, IssueCode, Severity, operation_outcome};

pub(crate) const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// Security headers on every answer. Nothing may be cached, framed or sniffed.
static ALWAYS: [(HeaderName, HeaderValue); 8] = [
    always("strict-transport-security", "max-age=63072000; includeSubDomains"),
    always("x-content-type-options", "nosniff"),
    always("cache-control", "no-store"),
    always("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    always("referrer-policy", "no-referrer"),
    always("cross-origin-resource-policy", "same-origin"),
    always("permissions-policy", "interest-cohort=()"),
    always("vary", "accept, accept-encoding"),
];
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const fn always(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

pub(crate) fn harden(response: &mut Response<Body>, id: RequestId) {
    let page = response.extensions().get::<super::pages::layout::IsPage>().cloned();
    let headers = response.headers_mut();
    // These, the request's number, and what HTTP adds by itself.
    headers.reserve(ALWAYS.len() + 4);
    for (name, value) in &ALWAYS {
        headers.insert(name, value.clone());
    }
    if let Some(page) = page {
        headers.insert(header::CONTENT_SECURITY_POLICY, page.policy());
        for (name, value) in &super::pages::layout::PAGE_HEADERS {
            headers.insert(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(&REQUEST_ID, value);
    }
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
    response
}

/// JSON that is no FHIR.
pub(crate) fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A status and nothing else.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An OperationOutcome with one issue that HTTP itself found.
pub(crate) fn refuse(status: StatusCode, code: IssueCode, text: &str) -> Response<Body> {
    let issue =
        Issue { severity: Severity::Error, code, path: String::new(), text: text.to_owned() };
    json(status, Bytes::from(operation_outcome(&[issue])))
}

/// 500 of an answer that could not be made.
pub(crate) fn broken() -> Response<Body> {
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        IssueCode::Exception,
        "the request failed; whether a write was stored is not known: look before trying again",
    )
}

/// 415: a body's format or coding that is not read here; `takes` is the header that says
/// what is (RFC 9110 §15.5.16).
pub(crate) fn unsupported(takes: (HeaderName, &'static str), text: &str) -> Response<Body> {
    let mut response = refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported, text);
    response.headers_mut().insert(takes.0, HeaderValue::from_static(takes.1));
    response
}

/// 405, with the methods that the path has (RFC 9110 §15.5.6).
pub(crate) fn wrong_method(others: &[Method]) -> Response<Body> {
    let mut response = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        IssueCode::NotSupported,
        "this method is not for this path: Allow has those that are",
    );
    response.headers_mut().insert(header::ALLOW, allow(others));
    response
}

/// These methods, and those that come with them.
pub(crate) fn allow(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

pub(crate) fn failed(failure: &Failure) -> Response<Body> {
    let (line, issues) = status_of(failure);
    let status = line
        .split(' ')
        .next()
        .and_then(|n| n.parse::<u16>().ok())
        .and_then(|n| StatusCode::from_u16(n).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, Bytes::from(operation_outcome(&issues)));
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// What was released, with ETag and Last-Modified of a single record; without its body
/// when the client has it already. That it was asked for is written down either way.
pub(crate) fn released(released: Released, known: Option<&Known>) -> Response<Body> {
    let owed = released.owes_notice();
    let facts = released.facts().cloned();
    let Some(facts) = facts else {
        let mut response = json(StatusCode::OK, released.into_body());
        notice(&mut response, owed);
        return response;
    };
    let etag = format!("W/\"{}\"", facts.version);
    let mut response = if known.is_some_and(|known| known.covers(&released)) {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        json(StatusCode::OK, released.into_body())
    };
    stamp(&mut response, &etag, facts.last_updated);
    notice(&mut response, owed);
    response
}

/// What was written.
pub(crate) fn written(w: &Written, base: &str, body: Option<Bytes>) -> Response<Body> {
    let status = match (w.deleted, w.created) {
        (true, _) => StatusCode::NO_CONTENT,
        (false, true) => StatusCode::CREATED,
        (false, false) => StatusCode::OK,
    };
    let mut response = match body {
        Some(body) if !w.deleted => json(status, body),
        _ => {
            let mut r = Response::new(Body::empty());
            *r.status_mut() = status;
            r
        }
    };
    if w.version.0 > 0 {
        let location = format!("{base}/{}/{}/_history/{}", w.ty.name(), w.id.as_str(), w.version.0);
        if let Ok(value) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, value);
        }
        stamp(&mut response, &format!("W/\"{}\"", w.version.0), w.last_updated);
    }
    response
}

pub(super) fn stamp(response: &mut Response<Body>, etag: &str, last_updated: i64) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, value);
    }
    if let Ok(at) = jiff::Timestamp::from_microsecond(last_updated)
        && let Ok(value) = HeaderValue::from_str(&http_date(at))
    {
        headers.insert(header::LAST_MODIFIED, value);
    }
}

/// The statement that goes with records of a Part 2 program (42 CFR 2.32(a)(2)).
pub(super) fn notice(response: &mut Response<Body>, owed: bool) {
    const NAME: HeaderName = HeaderName::from_static("x-redisclosure-notice");
    if owed {
        let text = "42 CFR part 2 prohibits unauthorized use or disclosure of these records.";
        response.headers_mut().insert(NAME, HeaderValue::from_static(text));
    }
}

/// RFC 9110 §5.6.7, IMF-fixdate, years 1 to 9999.
pub(crate) fn http_date(at: jiff::Timestamp) -> String {
    let utc = jiff::tz::Offset::UTC.to_datetime(at);
    let day = match utc.weekday() {
        jiff::civil::Weekday::Monday => "Mon",
        jiff::civil::Weekday::Tuesday => "Tue",
        jiff::civil::Weekday::Wednesday => "Wed",
        jiff::civil::Weekday::Thursday => "Thu",
        jiff::civil::Weekday::Friday => "Fri",
        jiff::civil::Weekday::Saturday => "Sat",
        jiff::civil::Weekday::Sunday => "Sun",
    };
    let month = match utc.month() {
        1 => "Jan",
        2 => "Feb",
        3 => "Mar",
        4 => "Apr",
        5 => "May",
        6 => "Jun",
        7 => "Jul",
        8 => "Aug",
        9 => "Sep",
        10 => "Oct",
        11 => "Nov",
        _ => "Dec",
    };
    format!(
        "{day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        utc.day(),
        utc.year(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        // Every month and weekday, leap days included.
        for day in 0..1500 {
            let at: jiff::Timestamp = "2023-12-31T23:59:58.9Z".parse().unwrap();
            let at = at + jiff::SignedDuration::from_hours(24 * day);
            let expected = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            assert_eq!(http_date(at), expected);
        }
        let at: jiff::Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
