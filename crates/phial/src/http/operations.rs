//! FHIR operations over HTTP: what of a request makes up the question to the engine
//! (<https://hl7.org/fhir/R4/operations.html>).

use axum::body::Body;
use axum::http::{Response, StatusCode};
use phial_base::LogicalId;
use phial_engine::operation::everything::Everything;
use phial_engine::operation::meta::Change;
use phial_engine::operation::parameters::pairs_of;
use phial_fhir::definitions::ResourceType;

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
