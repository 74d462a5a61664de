//! What is wrong with a request or a resource, as a FHIR OperationOutcome. An issue
//! names the place and the rule; it refuses to repeat a value.
//!
//! Source: <https://hl7.org/fhir/R4/operationoutcome.html>

use std::fmt;

/// How bad an issue is (R4 value set `issue-severity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The action can't go on; the server itself is at fault.
    Fatal,
    /// The content is refused.
    Error,
    /// Worth knowing, not a reason to refuse.
    Warning,
    /// For information.
    Information,
}

impl Severity {
    /// The FHIR code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Severity::Fatal => "fatal",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        }
    }
}

/// What kind of thing is wrong (R4 value set `issue-type`, whole).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the FHIR code of the same name")]
pub enum IssueCode {
    Invalid,
    Structure,
    Required,
    Value,
    Invariant,
    Security,
    Login,
    Unknown,
    Expired,
    Forbidden,
    Suppressed,
    Processing,
    NotSupported,
    Duplicate,
    MultipleMatches,
    NotFound,
    Deleted,
    TooLong,
    CodeInvalid,
    Extension,
    TooCostly,
    BusinessRule,
    Conflict,
    Transient,
    LockError,
    NoStore,
    Exception,
    Timeout,
    Incomplete,
    Throttled,
    Informational,
}

impl IssueCode {
    /// The FHIR code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            IssueCode::Invalid => "invalid",
            IssueCode::Structure => "structure",
            IssueCode::Required => "required",
            IssueCode::Value => "value",
            IssueCode::Invariant => "invariant",
            IssueCode::Security => "security",
            IssueCode::Login => "login",
            IssueCode::Unknown => "unknown",
            IssueCode::Expired => "expired",
            IssueCode::Forbidden => "forbidden",
            IssueCode::Suppressed => "suppressed",
            IssueCode::Processing => "processing",
            IssueCode::NotSupported => "not-supported",
            IssueCode::Duplicate => "duplicate",
            IssueCode::MultipleMatches => "multiple-matches",
            IssueCode::NotFound => "not-found",
            IssueCode::Deleted => "deleted",
            IssueCode::TooLong => "too-long",
            IssueCode::CodeInvalid => "code-invalid",
            IssueCode::Extension => "extension",
            IssueCode::TooCostly => "too-costly",
            IssueCode::BusinessRule => "business-rule",
            IssueCode::Conflict => "conflict",
            IssueCode::Transient => "transient",
            IssueCode::LockError => "lock-error",
            IssueCode::NoStore => "no-store",
            IssueCode::Exception => "exception",
            IssueCode::Timeout => "timeout",
            IssueCode::Incomplete => "incomplete",
            IssueCode::Throttled => "throttled",
            IssueCode::Informational => "informational",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of fault.
    pub code: IssueCode,
    /// The place, FHIRPath-like: `Patient.name[0].given[1]`. Empty when there is none.
    pub path: String,
    /// One sentence for a developer. Never a value from the resource.
    pub text: String,
}

impl Issue {
    /// An error at `path`.
    pub fn error(code: IssueCode, path: impl Into<String>, text: impl Into<String>) -> Self {
        Issue { severity: Severity::Error, code, path: path.into(), text: text.into() }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.path, self.text)
        }
    }
}

/// The issues as an OperationOutcome in JSON. With no issue it says that all is well,
/// because an OperationOutcome must hold at least one.
#[must_use]
pub fn operation_outcome(issues: &[Issue]) -> Vec<u8> {
    let mut out = String::from("{\"resourceType\":\"OperationOutcome\",\"issue\":[");
    let fine;
    let issues = if issues.is_empty() {
        fine = [Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            path: String::new(),
            text: "all ok".to_owned(),
        }];
        &fine
    } else {
        issues
    };
    for (n, issue) in issues.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"severity\":\"");
        out.push_str(issue.severity.code());
        out.push_str("\",\"code\":\"");
        out.push_str(issue.code.code());
        out.push('"');
        if !issue.text.is_empty() {
            out.push_str(",\"diagnostics\":");
            write_string(&mut out, &issue.text);
        }
        if !issue.path.is_empty() {
            out.push_str(",\"expression\":[");
            write_string(&mut out, &issue.path);
            out.push(']');
        }
        out.push('}');
    }
    out.push_str("]}");
    out.into_bytes()
}

/// Appends `s` as a JSON string.
pub(crate) fn write_string(out: &mut String, s: &str) {
    out.push('"');
    write_escaped(out, s);
    out.push('"');
}

/// Appends `s` with what JSON demands to be escaped, escaped.
pub(crate) fn write_escaped(out: &mut String, s: &str) {
    use fmt::Write as _;
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_json_that_names_place_and_code() {
        let body = operation_outcome(&[Issue::error(
            IssueCode::Required,
            "Patient.name[0]",
            "a \"quoted\"\u{1} word",
        )]);
        let v: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(v["issue"][0]["code"], "required");
        assert_eq!(v["issue"][0]["expression"][0], "Patient.name[0]");
        assert_eq!(v["issue"][0]["diagnostics"], "a \"quoted\"\u{1} word");
    }

    #[test]
    fn an_outcome_is_never_without_an_issue() {
        let v: serde_json::Value = serde_json::from_slice(&operation_outcome(&[])).unwrap();
        assert_eq!(v["issue"][0]["severity"], "information");
    }
}
