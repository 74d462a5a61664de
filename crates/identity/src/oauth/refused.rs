//! Why an app or a service is refused: one of the codes that RFC 6749 and its kin have,
//! and a reason for people. It holds no secret and nothing of a patient.

/// A code of RFC 6749 section 4.1.2.1 and 5.2, RFC 7591 section 3.2.2, RFC 9700.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the code of the same name")]
pub enum Code {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidToken,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    AccessDenied,
    LoginRequired,
    InvalidRedirectUri,
    InvalidClientMetadata,
    TemporarilyUnavailable,
}

impl Code {
    /// The code in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid_request",
            Code::InvalidClient => "invalid_client",
            Code::InvalidGrant => "invalid_grant",
            Code::InvalidScope => "invalid_scope",
            Code::InvalidToken => "invalid_token",
            Code::UnauthorizedClient => "unauthorized_client",
            Code::UnsupportedGrantType => "unsupported_grant_type",
            Code::UnsupportedResponseType => "unsupported_response_type",
            Code::AccessDenied => "access_denied",
            Code::LoginRequired => "login_required",
            Code::InvalidRedirectUri => "invalid_redirect_uri",
            Code::InvalidClientMetadata => "invalid_client_metadata",
            Code::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// A refusal, or a store that failed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Refused.
    #[error("{}: {why}", code.name())]
    For {
        /// The code.
        code: Code,
        /// Why, in words that hold no value of the request.
        why: &'static str,
    },
    /// Nobody could look.
    #[error(transparent)]
    Failed(#[from] crate::Error),
}

impl Refused {
    /// Refused for this reason.
    #[must_use]
    pub const fn new(code: Code, why: &'static str) -> Self {
        Refused::For { code, why }
    }
}

impl From<phial_store::Error> for Refused {
    fn from(e: phial_store::Error) -> Self {
        Refused::Failed(e.into())
    }
}
