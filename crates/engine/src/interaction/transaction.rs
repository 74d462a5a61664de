//! `transaction`: several interactions, all or nothing
//! (<https://hl7.org/fhir/R4/http.html#transaction>).

use phial_audit::EventKind;
use phial_fhir::json::Doc;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;
use crate::interaction::batch::{Asked, Terms, assemble};
use crate::released::Released;
use crate::write::Write;

impl Engine {
    /// Does all entries or none: deletes, creates and updates are one commit under
    /// one announced intent, reads see their result. `urn:uuid` and conditional
    /// references are resolved. A `provenance` is created with it, about all that it writes.
    ///
    /// # Errors
    /// As [`Engine::write`]; nothing was stored then.
    pub async fn transaction(
        &self,
        caller: &Caller,
        doc: &Doc,
        terms: &Terms,
        provenance: Option<Doc>,
    ) -> Result<Released, Failure> {
        self.may_send(caller, EventKind::Transaction).await?;
        let asked = self.entries(doc, Some(terms))?;
        let mut issues = Vec::new();
        let mut writes: Vec<Write> = Vec::new();
        let mut reads = Vec::new();
        // For each entry, whether its answer is the next write or the next read.
        let mut order = Vec::with_capacity(asked.len());
        for one in asked {
            match one {
                Ok((Asked::Write(write), _)) => {
                    order.push(true);
                    writes.push(write);
                }
                Ok(read) => {
                    order.push(false);
                    reads.push(read);
                }
                Err(Failure::Invalid(mut refusal)) => issues.append(&mut refusal.issues),
                Err(other) => return Err(other),
            }
        }
        if !issues.is_empty() {
            return Err(Failure::Invalid(Refusal { issues }));
        }
        let written = if writes.is_empty() {
            Vec::new()
        } else {
            self.write_all(caller, EventKind::Transaction, writes, provenance).await?
        };
        let mut written = written.into_iter();
        let mut reads = reads.into_iter();
        let mut answered = Vec::with_capacity(order.len());
        for is_write in order {
            if is_write {
                if let Some(written) = written.next() {
                    answered.push(self.give_back(caller, written, terms.returning).await);
                }
            } else if let Some((read, known)) = reads.next() {
                answered.push(self.answer(caller, read, &known, terms).await);
            }
        }
        Ok(assemble("transaction-response", answered, &terms.base))
    }
}
