//! Apps that register themselves (RFC 7591): what they say of themselves, read and checked.
//!
//! It takes apps that ask for a person's word by a code with PKCE, public ones and those that
//! prove themselves by a key. It refuses shared secrets, services (which act under an account
//! that somebody has to give them), and whatever the register refuses. What is not known is
//! passed over, as the RFC asks. Whether such an app may act is not decided here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phial_base::Rng;
use phial_base::scope::Reach;
use serde_json::{Map, Value, json};

use super::client::{Client, ClientKind, redirect};
use super::jwt::JwkSet;
use super::refused::{Code, Refused};
use super::wanted::{Special, Wanted};

/// How names of apps that registered themselves begin.
const PREFIX: &str = "self-";
/// What an app may have that says nothing of scopes.
const DEFAULT_SCOPES: &str = "launch/patient openid fhirUser patient/*.rs";

fn bad(why: &'static str) -> Refused {
    Refused::new(Code::InvalidClientMetadata, why)
}

fn text<'v>(value: &'v Value, name: &str) -> Result<Option<&'v str>, Refused> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad("a member that is text is none")),
    }
}

fn words<'v>(value: &'v Value, name: &str) -> Result<Option<Vec<&'v str>>, Refused> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(all)) => {
            let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
            all.map(Some).ok_or(bad("a member that is a list of words is none"))
        }
        Some(_) => Err(bad("a member that is a list of words is none")),
    }
}

/// Reads what an app says of itself. `is_query` says whether a scope's query is one.
///
/// # Errors
/// [`Refused`] with the code of RFC 7591 section 3.2.2 that fits.
pub fn read(
    value: &Value,
    is_query: &dyn Fn(&str, &str) -> bool,
    rng: &dyn Rng,
) -> Result<Client, Refused> {
    if !value.is_object() {
        return Err(bad("a registration is a JSON object"));
    }
    let uris = words(value, "redirect_uris")?.unwrap_or_default();
    if uris.is_empty() {
        return Err(Refused::new(Code::InvalidRedirectUri, "an app needs a redirect URI"));
    }
    for uri in &uris {
        redirect(uri).map_err(|why| Refused::new(Code::InvalidRedirectUri, why))?;
    }
    let method = text(value, "token_endpoint_auth_method")?;
    // The RFC's default is a shared secret, which is not given here.
    let kind = match method {
        Some("none") => ClientKind::Public,
        Some("private_key_jwt") => ClientKind::Confidential,
        _ => {
            return Err(bad(
                "token_endpoint_auth_method is none or private_key_jwt: shared secrets are not \
                 given to apps that register themselves",
            ));
        }
    };
    let grants = words(value, "grant_types")?.unwrap_or(vec!["authorization_code"]);
    if grants.iter().any(|g| !matches!(*g, "authorization_code" | "refresh_token")) {
        return Err(bad(
            "grant_types are authorization_code and refresh_token: a service is registered by an \
             administrator, under an account",
        ));
    }
    if !grants.contains(&"authorization_code") {
        return Err(bad("grant_types lack authorization_code"));
    }
    let responses = words(value, "response_types")?.unwrap_or(vec!["code"]);
    if responses != ["code"] {
        return Err(bad("response_types is code alone"));
    }
    let name =
        text(value, "client_name")?.ok_or(bad("client_name says what people are to read"))?;
    let (jwks, jwks_uri) = (value.get("jwks").cloned(), text(value, "jwks_uri")?);
    if kind == ClientKind::Public && (jwks.is_some() || jwks_uri.is_some()) {
        return Err(bad("an app with keys proves itself by them: private_key_jwt"));
    }
    if let Some(jwks) = &jwks {
        JwkSet::read(jwks).map_err(bad)?;
    }
    if let Some(alg) = text(value, "token_endpoint_auth_signing_alg")?
        && !matches!(alg, "RS384" | "ES384")
    {
        return Err(bad("token_endpoint_auth_signing_alg is RS384 or ES384"));
    }
    let scopes = Wanted::read(text(value, "scope")?.unwrap_or(DEFAULT_SCOPES), is_query)
        .keep(|s| s.reach != Reach::System)
        .without(Special::Scim);
    let scopes = match grants.contains(&"refresh_token") {
        true => scopes,
        false => scopes.without(Special::Offline).without(Special::Online),
    };
    if scopes.is_empty() {
        return Err(bad("scope has nothing that an app may have"));
    }
    let mut number = [0u8; 16];
    rng.fill(&mut number);
    let client = Client {
        id: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(number)),
        name: name.trim().to_owned(),
        kind,
        redirect_uris: uris.into_iter().map(str::to_owned).collect(),
        launch_uri: text(value, "initiate_login_uri")?.map(str::to_owned),
        scopes: scopes.to_string(),
        jwks,
        jwks_uri: jwks_uri.map(str::to_owned),
        secret: None,
        account: None,
        purpose: None,
        certificates: Vec::new(),
        certificate_name: None,
        id_token_alg: text(value, "id_token_signed_response_alg")?.map(str::to_owned),
        dynamic: true,
        waits: true,
        active: true,
    };
    client.check().map_err(bad)?;
    Ok(client)
}

/// Whether an app asks for no more than to read one patient's record, with that person's own
/// word each time it is given: what a patient's own app needs, and nothing else.
#[must_use]
pub fn is_patients_own(client: &Client, is_query: &dyn Fn(&str, &str) -> bool) -> bool {
    let all = client.limits(is_query);
    let reads = Wanted::read("patient/*.rs", is_query);
    client.launch_uri.is_none()
        && !all.has(Special::Launch)
        && all.records().all(|s| reads.records().any(|r| r.covers(s)))
}

/// What is answered: how it is registered (RFC 7591 section 3.2.1).
#[must_use]
pub fn written(client: &Client, issued: i64) -> Map<String, Value> {
    let offline = ["offline_access", "online_access"];
    let refreshes = client.scopes.split(' ').any(|s| offline.contains(&s));
    let grants: &[&str] = match refreshes {
        true => &["authorization_code", "refresh_token"],
        false => &["authorization_code"],
    };
    let method = match client.kind {
        ClientKind::Public => "none",
        _ => "private_key_jwt",
    };
    let mut said = Map::new();
    let mut put = |name: &str, value: Value| said.insert(name.to_owned(), value);
    put("client_id", client.id.as_str().into());
    put("client_id_issued_at", issued.into());
    put("client_name", client.name.as_str().into());
    put("redirect_uris", json!(client.redirect_uris));
    put("grant_types", json!(grants));
    put("response_types", json!(["code"]));
    put("token_endpoint_auth_method", method.into());
    put("scope", client.scopes.as_str().into());
    put("id_token_signed_response_alg", client.id_token_alg().name().into());
    if let Some(jwks) = &client.jwks {
        put("jwks", jwks.clone());
    }
    if let Some(uri) = &client.jwks_uri {
        put("jwks_uri", uri.as_str().into());
    }
    if let Some(uri) = &client.launch_uri {
        put("initiate_login_uri", uri.as_str().into());
    }
    said
}

#[cfg(test)]
mod tests {
    use phial_base::SystemRng;

    use super::*;

    fn app() -> Value {
        json!({"client_name": "My record", "redirect_uris": ["https://app.example/cb"],
            "token_endpoint_auth_method": "none", "client_uri": "https://app.example",
            "grant_types": ["authorization_code", "refresh_token"],
            "scope": "launch/patient openid offline_access patient/Observation.rs system/*.rs scim"})
    }

    fn read(value: &Value) -> Result<Client, Refused> {
        super::read(value, &|_, _| true, &SystemRng::new())
    }

    #[test]
    fn an_app_is_registered_as_far_as_an_app_may_be_and_waits() {
        let client = read(&app()).unwrap();
        assert!(client.dynamic && client.waits && client.active);
        assert_eq!(client.scopes, "launch/patient openid offline_access patient/Observation.rs");
        assert!(is_patients_own(&client, &|_, _| true));
        let said = written(&client, 7);
        assert_eq!(said["client_id"], client.id.as_str());
        assert_eq!(said["grant_types"], json!(["authorization_code", "refresh_token"]));
        assert!(said.get("client_secret").is_none());
        let mut less = app();
        less["grant_types"] = json!(["authorization_code"]);
        assert!(!read(&less).unwrap().scopes.contains("offline_access"));
        for wider in ["user/*.rs", "patient/*.cruds", "launch patient/*.rs"] {
            let mut value = app();
            value["scope"] = wider.into();
            assert!(!is_patients_own(&read(&value).unwrap(), &|_, _| true), "{wider}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_by_the_code_of_the_rfc() {
        let private =
            json!({"keys": [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "d": "A"}]});
        for (name, value, code) in [
            ("redirect_uris", json!([]), Code::InvalidRedirectUri),
            ("redirect_uris", json!(["http://app.example/cb"]), Code::InvalidRedirectUri),
            ("redirect_uris", json!(["https://*.example/cb"]), Code::InvalidRedirectUri),
            ("redirect_uris", json!("https://app.example/cb"), Code::InvalidClientMetadata),
            (
                "token_endpoint_auth_method",
                json!("client_secret_basic"),
                Code::InvalidClientMetadata,
            ),
            ("token_endpoint_auth_method", Value::Null, Code::InvalidClientMetadata),
            ("token_endpoint_auth_method", json!("private_key_jwt"), Code::InvalidClientMetadata),
            ("grant_types", json!(["client_credentials"]), Code::InvalidClientMetadata),
            ("grant_types", json!(["refresh_token"]), Code::InvalidClientMetadata),
            ("grant_types", json!(["implicit"]), Code::InvalidClientMetadata),
            ("response_types", json!(["token"]), Code::InvalidClientMetadata),
            ("client_name", json!(""), Code::InvalidClientMetadata),
            ("client_name", Value::Null, Code::InvalidClientMetadata),
            ("client_name", json!(7), Code::InvalidClientMetadata),
            ("scope", json!("system/*.rs"), Code::InvalidClientMetadata),
            ("jwks", private, Code::InvalidClientMetadata),
            ("jwks_uri", json!("https://app.example/k"), Code::InvalidClientMetadata),
            ("id_token_signed_response_alg", json!("none"), Code::InvalidClientMetadata),
            ("token_endpoint_auth_signing_alg", json!("HS256"), Code::InvalidClientMetadata),
            ("initiate_login_uri", json!("javascript:x"), Code::InvalidClientMetadata),
        ] {
            let mut other = app();
            other[name] = value.clone();
            match read(&other) {
                Err(Refused::For { code: found, .. }) => assert_eq!(found, code, "{name}={value}"),
                other => panic!("{name}={value}: {other:?}"),
            }
        }
        assert!(read(&json!([])).is_err());
    }
}
