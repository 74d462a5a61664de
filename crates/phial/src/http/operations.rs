//! FHIR operations over HTTP: what of a request makes up the question to the engine
//! (<https://hl7.org/fhir/R4/operations.html>).

use axum::body::Body;
use axum::http::{Response, StatusCode};
use phial_base::LogicalId;
use phial_engine::Failure;
use phial_engine::access::glass::{Ask, DEFAULT_MINUTES, Reason};
use phial_engine::operation::everything::Everything;
use phial_engine::operation::meta::Change;
use phial_engine::operation::parameters::pairs_of;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;

use super::answer;
use super::serve::{Incoming, Stop};

impl Incoming<'_> {
    /// Parameters of the query and, when posted, of the body.
    pub(super) async fn asked(
        self,
        posted: bool,
        query: &str,
    ) -> Result<Vec<(String, String)>, Stop> {
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // An operation without parameters of its own may be posted with nothing.
        if posted && !self.content_type().is_empty() {
            pairs.extend(pairs_of(&self.resource().await?)?);
        }
        Ok(pairs)
    }

    pub(super) async fn everything(
        self,
        ty: ResourceType,
        id: LogicalId,
        posted: bool,
        query: &str,
    ) -> Result<Response<Body>, Stop> {
        let (app, caller, base) = (self.app, self.caller.clone(), self.base.clone());
        let pairs = self.asked(posted, query).await?;
        let asked = Everything { ty, id, pairs, base };
        Ok(answer::released(app.engine.everything(&caller, asked).await?, None))
    }

    /// Asks for sight of a patient's records in an emergency: `reason` (a code), `text`,
    /// `minutes`. What it answers holds nothing of the patient.
    pub(super) async fn break_glass(
        self,
        patient: LogicalId,
        query: &str,
    ) -> Result<Response<Body>, Stop> {
        let (app, caller) = (self.app, self.caller.clone());
        let pairs = self.asked(true, query).await?;
        let invalid = |path: &str, text: String| -> Stop {
            Failure::invalid(IssueCode::Value, path, text).into()
        };
        let (mut reason, mut text, mut minutes) = (None, String::new(), DEFAULT_MINUTES);
        for (name, value) in pairs {
            match name.as_str() {
                "reason" => {
                    let codes: Vec<&str> = Reason::ALL.iter().map(|r| r.code()).collect();
                    let known = Reason::from_code(&value).ok_or_else(|| {
                        invalid("reason", format!("a reason is one of {}", codes.join(", ")))
                    })?;
                    reason = Some(known);
                }
                "text" => text = value,
                "minutes" => {
                    minutes = value
                        .parse()
                        .map_err(|_| invalid("minutes", "a number of minutes".to_owned()))?;
                }
                _ => {
                    return Err(invalid(
                        "Parameters.parameter",
                        "the parameters are reason, text and minutes".to_owned(),
                    ));
                }
            }
        }
        let Some(reason) = reason else {
            return Err(invalid("reason", "a reason is needed".to_owned()));
        };
        let ask = Ask { patient, reason, text, minutes };
        let grant = app.engine.break_glass(&caller, ask).await?;
        let body = serde_json::json!({
            "resourceType": "Parameters",
            "parameter": [
                {"name": "grant", "valueString": grant.id},
                {"name": "from", "valueInstant": format!("{:.3}", grant.from)},
                {"name": "until", "valueInstant": format!("{:.3}", grant.until)},
            ],
        });
        Ok(answer::json(StatusCode::OK, body.to_string().into()))
    }

    /// Ends the caller's own emergency access to a patient.
    pub(super) async fn end_break_glass(self, patient: LogicalId) -> Result<Response<Body>, Stop> {
        self.app.engine.end_break_glass(&self.caller, Some(&patient), None).await?;
        Ok(answer::empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn change_meta(
        self,
        ty: ResourceType,
        id: LogicalId,
        change: Change,
    ) -> Result<Response<Body>, Stop> {
        let (app, caller) = (self.app, self.caller.clone());
        let asked = self.resource().await?;
        match app.engine.change_meta(&caller, ty, &id, change, &asked).await? {
            Some(released) => Ok(answer::released(released, None)),
            None => Ok(answer::empty(StatusCode::NO_CONTENT)),
        }
    }
}
