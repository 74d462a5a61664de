//! What is kept of a subscription beside its record: who is told on whose behalf, how
//! far it has come, which events are under way.

use std::collections::BTreeMap;

use phial_base::{LogicalId, Purpose, RowId, Seq, SubjectId, Version};
use phial_fhir::subscription::{Change, Standing};
use phial_store::Error as StoreError;
use phial_store::outbox::Outbox;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// A secret, overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// One numbered event, by the record version that it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) row: RowId,
    pub(super) version: Version,
    /// Microseconds since the epoch.
    pub(super) at: i64,
    pub(super) change: Change,
}

/// An event as it is kept: names are part of the format, only append.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptEvent {
    number: u64,
    row: String,
    version: u32,
    at: i64,
    change: String,
}

impl Event {
    fn kept(&self) -> KeptEvent {
        KeptEvent {
            number: self.number,
            row: self.row.to_string(),
            version: self.version.0,
            at: self.at,
            change: self.change.name().to_owned(),
        }
    }

    fn of(kept: &KeptEvent) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupt("an event of the outbox");
        Ok(Event {
            number: kept.number,
            row: RowId::from_hex(&kept.row).map_err(|_| damaged())?,
            version: Version(kept.version),
            at: kept.at,
            change: Change::from_name(&kept.change).ok_or_else(damaged)?,
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(&self.kept())
            .map_err(|_| StoreError::Invalid("an event that can't be encoded"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let kept = serde_json::from_slice(bytes)
            .map_err(|_| StoreError::Corrupt("an event of the outbox"))?;
        Event::of(&kept)
    }
}

/// Who wrote a version of a subscription, and what of it its record does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    pub(super) owner: SubjectId,
    pub(super) purpose: Purpose,
    pub(super) endpoint: String,
    pub(super) headers: Vec<Secret>,
}

/// A version that is about to be written: it counts once the record log holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    pub(super) version: u32,
    /// SHA-256 of the sealed version, hexadecimal: two writers may meet at one number.
    pub(super) hash: String,
    pub(super) terms: Terms,
    /// Whether only its standing was written, by the keeper.
    pub(super) kept: bool,
    /// The end of the record log before it was written.
    pub(super) head: u64,
}

/// One subscription.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) row: RowId,
    pub(super) id: LogicalId,
    /// The version that holds; 0 before the first is known to be written.
    pub(super) version: u32,
    pub(super) terms: Option<Terms>,
    pub(super) standing: Standing,
    pub(super) reason: Option<String>,
    /// Events were looked for up to here.
    pub(super) seen: Seq,
    /// The number of the last event.
    pub(super) number: u64,
    /// Events under way.
    pub(super) flight: Vec<Event>,
    /// How often in a row its endpoint did not take what it was sent.
    pub(super) attempts: u32,
    /// Nothing is sent before.
    pub(super) again: i64,
    /// When its endpoint last took something.
    pub(super) told: i64,
    pub(super) offers: Vec<Offer>,
    /// When it was last looked at; not kept.
    pub(super) looked: i64,
    /// Since when its record is missed; not kept.
    pub(super) gone: i64,
    /// Up to where events were looked for, as it is kept.
    pub(super) kept_seen: Seq,
}

/// A place as it is kept: names are part of the format, only append.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    row: String,
    id: String,
    version: u32,
    terms: Option<Terms>,
    standing: String,
    reason: Option<String>,
    seen: u64,
    number: u64,
    flight: Vec<KeptEvent>,
    attempts: u32,
    again: i64,
    told: i64,
    offers: Vec<Offer>,
}

impl Place {
    pub(super) fn new(row: RowId, id: LogicalId, head: Seq) -> Self {
        Place {
            row,
            id,
            version: 0,
            terms: None,
            standing: Standing::Requested,
            reason: None,
            seen: head,
            number: 0,
            flight: Vec::new(),
            attempts: 0,
            again: 0,
            told: 0,
            offers: Vec::new(),
            looked: i64::MIN,
            gone: i64::MIN,
            kept_seen: head,
        }
    }

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let kept = Kept {
            row: self.row.to_string(),
            id: self.id.as_str().to_owned(),
            version: self.version,
            terms: self.terms.clone(),
            standing: self.standing.code().to_owned(),
            reason: self.reason.clone(),
            seen: self.seen.0,
            number: self.number,
            flight: self.flight.iter().map(Event::kept).collect(),
            attempts: self.attempts,
            again: self.again,
            told: self.told,
            offers: self.offers.clone(),
        };
        serde_json::to_vec(&kept)
            .map(Zeroizing::new)
            .map_err(|_| StoreError::Invalid("a place that can't be encoded"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupt("a place of the outbox");
        let k: Kept = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        Ok(Place {
            row: RowId::from_hex(&k.row).map_err(|_| damaged())?,
            id: LogicalId::new(&k.id).map_err(|_| damaged())?,
            version: k.version,
            terms: k.terms,
            standing: Standing::from_code(&k.standing).ok_or_else(damaged)?,
            reason: k.reason,
            seen: Seq(k.seen),
            number: k.number,
            flight: k.flight.iter().map(Event::of).collect::<Result<_, _>>()?,
            attempts: k.attempts,
            again: k.again,
            told: k.told,
            offers: k.offers,
            looked: i64::MIN,
            gone: i64::MIN,
            kept_seen: Seq(k.seen),
        })
    }
}

/// The places of one tenant, read once.
#[derive(Default)]
pub(crate) struct Subscriptions {
    read: bool,
    places: BTreeMap<RowId, Place>,
}

impl Subscriptions {
    pub(super) fn read(&mut self, outbox: &Outbox) -> Result<(), StoreError> {
        if self.read {
            return Ok(());
        }
        let mut places = BTreeMap::new();
        for bytes in outbox.places()? {
            let place = Place::decode(&bytes)?;
            places.insert(place.row, place);
        }
        self.places = places;
        self.read = true;
        Ok(())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    pub(super) fn place(&self, row: RowId) -> Option<&Place> {
        self.places.get(&row)
    }

    /// What needs not to be kept is noted.
    pub(super) fn note(&mut self, row: RowId, note: impl FnOnce(&mut Place)) {
        if let Some(place) = self.places.get_mut(&row) {
            note(place);
        }
    }

    /// Keeps a place as it now is, durably, then holds it so. After a failure nobody
    /// knows what the file holds, so it is read again before anything else is done.
    pub(super) fn keep(
        &mut self,
        outbox: &Outbox,
        mut place: Place,
        fresh: &[Event],
        anew: bool,
    ) -> Result<(), StoreError> {
        let events = fresh.iter().map(Event::encode).collect::<Result<Vec<_>, _>>()?;
        let first = fresh.first().map_or(0, |e| e.number);
        if let Err(e) = outbox.keep(place.row, &place.encode()?, first, &events, anew) {
            self.read = false;
            return Err(e);
        }
        place.kept_seen = place.seen;
        self.places.insert(place.row, place);
        Ok(())
    }

    pub(super) fn forget(&mut self, outbox: &Outbox, row: RowId) -> Result<(), StoreError> {
        if let Err(e) = outbox.forget(row) {
            self.read = false;
            return Err(e);
        }
        self.places.remove(&row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_place_is_frozen() {
        let row = RowId([7; 16]);
        let mut place = Place::new(row, LogicalId::new("s1").unwrap(), Seq(40));
        let terms = Terms {
            owner: SubjectId::new("sys").unwrap(),
            purpose: Purpose::TREAT,
            endpoint: "https://a.example/in".to_owned(),
            headers: vec![Secret("X: y".to_owned())],
        };
        place.terms = Some(terms.clone());
        place.offers.push(Offer { version: 2, hash: "00".to_owned(), terms, kept: true, head: 41 });
        place.flight.push(Event {
            number: 9,
            row: RowId([8; 16]),
            version: Version(3),
            at: 5,
            change: Change::Updated,
        });
        let text = String::from_utf8(place.encode().unwrap().to_vec()).unwrap();
        let terms = r#"{"owner":"sys","purpose":"TREAT","endpoint":"https://a.example/in","headers":["X: y"]}"#;
        assert_eq!(
            text,
            format!(
                r#"{{"row":"{}","id":"s1","version":0,"terms":{terms},"standing":"requested","reason":null,"seen":40,"number":0,"flight":[{{"number":9,"row":"{}","version":3,"at":5,"change":"updated"}}],"attempts":0,"again":0,"told":0,"offers":[{{"version":2,"hash":"00","terms":{terms},"kept":true,"head":41}}]}}"#,
                "07".repeat(16),
                "08".repeat(16)
            )
        );
        let back = Place::decode(text.as_bytes()).unwrap();
        assert_eq!(back.encode().unwrap(), place.encode().unwrap());
        let event = place.flight[0];
        assert!(Event::decode(&event.encode().unwrap()).unwrap() == event);
        assert!(Place::decode(b"{}").is_err() && Event::decode(b"{}").is_err());
    }
}
