//! Which client asks, and how it proves it: one way, not two (RFC 6749 section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phial_identity::oauth::{Assertion, Client, ClientKind, Clients, Proof, Refused, RefusedCode};

use super::{Ask, Ends, refused};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn no(why: &'static str) -> Ends {
    refused(RefusedCode::InvalidClient, why)
}

/// About this client, when it is one that there is: a name that someone made up is not
/// written down.
fn about(client: &Client) -> impl Fn(Refused) -> Ends + use<> {
    let id = client.id.clone();
    move |r| Ends::Refused(r, Some(id.clone()))
}

impl Ask<'_> {
    /// The client that asks at the token endpoint, proven.
    ///
    /// # Errors
    /// [`Ends`] saying what is wrong with its proof.
    pub(super) async fn client(&self) -> Result<(Client, Proof), Ends> {
        let basic = self.basic()?;
        let named = self.field("client_id")?;
        let secret = self.field("client_secret")?;
        let assertion = self.field("client_assertion")?;
        let ways = [basic.is_some(), secret.is_some(), assertion.is_some()];
        if ways.into_iter().filter(|w| *w).count() > 1 {
            return Err(refused(
                RefusedCode::InvalidRequest,
                "a client proves itself in one way, not in two",
            ));
        }
        if let Some(assertion) = assertion {
            if self.field("client_assertion_type")? != Some(JWT_BEARER) {
                return Err(no("client_assertion_type is not that of a JWT"));
            }
            return self.asserted(assertion, named).await;
        }
        let (id, secret) = match (&basic, named, secret) {
            (Some((id, secret)), named, _) => {
                if named.is_some_and(|n| n != id) {
                    return Err(no("client_id is another than in the Authorization header"));
                }
                (id.as_str(), Some(secret.as_str()))
            }
            (None, Some(id), secret) => (id, secret),
            (None, None, _) => return Err(no("no client is named")),
        };
        let client = self.find(id)?;
        let about = about(&client);
        let refuse = |why| about(Refused::new(RefusedCode::InvalidClient, why));
        match secret {
            Some(secret) => {
                if client.kind != ClientKind::Confidential || !client.knows_secret(secret) {
                    return Err(refuse("the client's secret is another"));
                }
                Ok((client, Proof::Secret))
            }
            None if client.kind == ClientKind::Public => Ok((client, Proof::None)),
            None => match &self.certificate {
                Some(c) if client.certificates.iter().any(|known| **known == *c.sha256) => {
                    Ok((client, Proof::Certificate))
                }
                // A name is worth something when a CA vouches for it (RFC 8705 section 2.1).
                Some(c)
                    if client.certificate_name.as_ref().is_some_and(|name| {
                        c.called.as_ref().is_some_and(|called| name.is(called))
                    }) =>
                {
                    Ok((client, Proof::Certificate))
                }
                Some(_) => Err(refuse("the certificate is none of the client's")),
                None => Err(refuse("the client does not prove itself")),
            },
        }
    }

    /// The public app that a refresh token was given to, when the request names none:
    /// SMART's own library leaves the name out, and RFC 6749 section 6 asks it only of
    /// clients that prove themselves.
    ///
    /// # Errors
    /// A store's.
    pub(super) fn unnamed(&self) -> Result<Option<Client>, Ends> {
        let named = self.headers.contains_key(axum::http::header::AUTHORIZATION)
            || self.field("client_id")?.is_some()
            || self.field("client_assertion")?.is_some();
        let refreshes = self.field("grant_type")? == Some("refresh_token");
        let token = self.field("refresh_token")?.filter(|_| refreshes && !named);
        let Some(token) = token else { return Ok(None) };
        let Some(id) = self.app.apps.given_to(&self.tenant_id, token)? else { return Ok(None) };
        let found = Clients::new(self.control()).find(&id)?;
        Ok(found.filter(|c| c.may_ask() && c.kind == ClientKind::Public))
    }

    async fn asserted(
        &self,
        assertion: &str,
        named: Option<&str>,
    ) -> Result<(Client, Proof), Ends> {
        let assertion = Assertion::read(assertion)?;
        let id = assertion.client()?;
        if named.is_some_and(|n| n != id) {
            return Err(no("client_id is another than in the assertion"));
        }
        let client = self.find(id)?;
        let about = about(&client);
        let kid = assertion.kid().map_err(&about)?;
        let config = self.app.config();
        let keys = self.app.key_sets.of(&config, &client, kid, self.info.at).await;
        let keys = keys.map_err(&about)?;
        let audience = format!("{}/oauth/token", self.root);
        let tickets = self.app.apps.tickets();
        let proof = assertion
            .verify(&client, &keys, &audience, tickets, &self.tenant_id, self.info.at)
            .map_err(&about)?;
        Ok((client, proof))
    }

    /// A client that there is.
    pub(super) fn find(&self, id: &str) -> Result<Client, Ends> {
        let found = Clients::new(self.control()).find(id)?;
        let client = found.filter(|c| c.active).ok_or_else(|| no("there is no such client"))?;
        if client.waits {
            let why = "the app waits for an administrator's word";
            return Err(about(&client)(Refused::new(RefusedCode::InvalidClient, why)));
        }
        Ok(client)
    }

    /// Name and secret of the Authorization header, form-encoded as RFC 6749 section 2.3.1
    /// has it.
    fn basic(&self) -> Result<Option<(String, String)>, Ends> {
        let Some(header) = self.headers.get(axum::http::header::AUTHORIZATION) else {
            return Ok(None);
        };
        let bad = || no("the Authorization header has not the form of Basic");
        let text = header.to_str().map_err(|_| bad())?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(bad)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(bad());
        }
        let bytes = STANDARD.decode(rest.trim()).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (id, secret) = text.split_once(':').ok_or_else(bad)?;
        let plain = |t: &str| {
            let t = t.replace('+', " ");
            percent_encoding::percent_decode_str(&t).decode_utf8().map(|t| t.into_owned())
        };
        Ok(Some((plain(id).map_err(|_| bad())?, plain(secret).map_err(|_| bad())?)))
    }
}
