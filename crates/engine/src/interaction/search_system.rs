//! `search-system`: records of several types, or of all
//! (<https://hl7.org/fhir/R4/http.html#search>).
//!
//! Each type is searched by itself, under the same rules as a search of that type alone,
//! and the matches are merged in one order. Parameters must be known to every type.

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::interaction::search::Asked;
use crate::released::Released;

/// A search of the whole server as it came in.
#[derive(Clone, Debug)]
pub struct SystemSearch {
    /// Parameters in the order given, decoded; `_type` names the types, else it is all.
    pub pairs: Vec<(String, String)>,
    /// The FHIR base URL, for links and `fullUrl`.
    pub base: String,
    /// As in a search of one type.
    pub lenient: bool,
}

impl Engine {
    /// One page of matches of several types as a searchset Bundle, or the count alone.
    ///
    /// # Errors
    /// As [`Engine::search`], for any of the types.
    pub async fn search_system(
        &self,
        caller: &Caller,
        search: SystemSearch,
    ) -> Result<Released, Failure> {
        let SystemSearch { pairs, base, lenient } = search;
        let search = Asked { scope: None, pairs, compartment: None, base, lenient };
        self.search_scope(caller, search).await
    }
}
