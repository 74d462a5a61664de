//! A subscriber of the stage: it asks to be told of changes of patients, takes what it is
//! sent, and knows afterwards whether it was told everything, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use phial_base::SubjectId;
use phial_engine::Write;
use phial_engine::operation::subscription::{KEEPER, Next};
use phial_fhir::definitions::ResourceType;
use phial_fhir::{Doc, Limits};
use phial_store::vessel::Vessel;

use super::{Done, Model, Stage, id, patient, said};

/// The role of the subscription's owner: one that may choose ids.
const OWNER: &str = "import-client";

fn ty() -> ResourceType {
    ResourceType::from_name("Subscription").unwrap()
}

/// Takes in a notification: a number stands for one event, however often it is told.
fn hear(heard: &mut BTreeMap<u64, String>, body: &[u8]) {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    let all = json["entry"][0]["resource"]["parameter"].as_array().unwrap();
    for event in all.iter().filter(|p| p["name"] == "notification-event") {
        let part = |name: &str| {
            event["part"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap().clone()
        };
        let number = part("event-number")["valueString"].as_str().unwrap().parse().unwrap();
        let text = format!("{} {}", part("focus"), part("timestamp"));
        let known = heard.entry(number).or_insert_with(|| text.clone());
        assert_eq!(*known, text, "event {number}");
    }
}

impl Model {
    /// The same, when the subscriber was told this much.
    pub(crate) fn having(self, heard: BTreeMap<u64, String>) -> Self {
        Model { heard, ..self }
    }
}

impl Stage {
    pub(super) fn subscribe(&mut self) -> Done {
        let text = r#"{"resourceType":"Subscription","id":"s1","meta":{"tag":[{"system":"http://snomed.info/sct","code":"87915002"}]},"status":"requested","reason":"x","criteria":"urn:phial:topic:changed:Patient","channel":{"type":"rest-hook","endpoint":"https://hooks.example/in"}}"#;
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let engine = self.live()?.engine.clone();
        let caller = self.caller(OWNER);
        self.wait(engine.write(&caller, Write::update(ty(), id("s1"), doc), None)).map_err(said)?;
        self.model.subscribed = true;
        Ok(())
    }

    /// The subscriber takes whatever it is sent, until there is nothing more.
    pub(super) fn tell(&mut self) -> Done {
        self.tell_as(OWNER)
    }

    /// As [`Op::Tell`], when its owner has this role by now.
    pub(crate) fn tell_as(&mut self, role: &str) -> Done {
        let engine = self.live()?.engine.clone();
        let keeper = self.caller(KEEPER);
        let owner = self.caller(role);
        let heard = Arc::new(Mutex::new(std::mem::take(&mut self.model.heard)));
        let told = Arc::clone(&heard);
        let task = self.runtime.spawn(async move {
            let home = engine.tenant(&keeper.subject.tenant).unwrap();
            let row = home.vessel.row_id(ty(), &id("s1")).map_err(said)?;
            let owners = |_: &SubjectId, _| Ok(Some(owner.clone()));
            loop {
                let base = "https://here/fhir";
                let next = engine.next_notification(home, &keeper, row, &owners, base).await;
                match next.map_err(said)? {
                    Next::Gone | Next::Quiet => return Ok(()),
                    Next::Again => {}
                    Next::Send(sent) => {
                        hear(&mut told.lock().unwrap(), sent.body.body());
                        engine.delivered(home, &keeper, &sent).map_err(said)?;
                    }
                }
            }
        });
        let done = self.wait(task).unwrap();
        self.model.heard = std::mem::take(&mut heard.lock().unwrap());
        done
    }

    /// What the subscription's record says of how it stands.
    pub(crate) fn standing(&self) -> String {
        let engine = &self.live.as_ref().unwrap().engine;
        let read = self.wait(engine.read(&self.caller("import-client"), ty(), &id("s1"))).unwrap();
        let json: serde_json::Value = serde_json::from_slice(read.body()).unwrap();
        json["status"].as_str().unwrap().to_owned()
    }

    /// Whoever follows the log for some types is shown what whoever follows it for all is
    /// shown of these, however it is cut into stretches, and opens no head for a type that is
    /// known and not wanted.
    pub(super) fn walks_agree(&self, why: &str) {
        self.vessel(|v| {
            let all: Vec<_> = v
                .records()
                .changes(phial_base::Seq(0), usize::MAX)
                .unwrap()
                .into_iter()
                .filter_map(|row| {
                    let seq = row.seq;
                    Some((seq, v.unseal_under(row, None).unwrap()?.header.ty))
                })
                .collect();
            let walk = |wanted: &dyn Fn(ResourceType) -> bool, enough: usize, limit: usize| {
                let (mut after, mut found, mut opened) = (phial_base::Seq(0), Vec::new(), 0);
                loop {
                    let stretch = v.changes_of(after, (enough, limit), wanted).unwrap();
                    assert!(stretch.found.len() <= enough && stretch.opened <= limit, "{why}");
                    found.extend(stretch.found.into_iter().map(|(seq, f)| (seq, f.header.ty)));
                    opened += stretch.opened;
                    if !stretch.more {
                        return (found, opened);
                    }
                    assert!(stretch.seen > after, "{why}: it stands still");
                    after = stretch.seen;
                }
            };
            for (enough, limit) in [(1, 1), (2, 3), (usize::MAX, usize::MAX)] {
                assert_eq!(walk(&|_| true, enough, limit).0, all, "{why}");
                let patients: Vec<_> =
                    all.iter().copied().filter(|(_, ty)| *ty == patient()).collect();
                let (found, opened) = walk(&|ty| ty == patient(), enough, limit);
                assert_eq!(found, patients, "{why}");
                // Those whose key is gone are tried again: it may have been a store's fault.
                let closed = v.unreadable().unwrap().len();
                assert!(opened <= patients.len() + closed, "{why}: {opened} were opened");
            }
        })
        .unwrap();
    }

    pub(super) fn unsubscribe(&mut self) -> Done {
        self.model.subscribed = false;
        let caller = self.caller("system-client");
        let engine = self.live()?.engine.clone();
        self.wait(engine.write(&caller, Write::delete(ty(), id("s1")), None))
            .map(|_| ())
            .map_err(said)
    }

    /// Every change was told, each under one number, and nothing else was.
    pub(super) fn all_was_told(&mut self, why: &str) {
        if !self.model.subscribed {
            return;
        }
        self.tell().unwrap_or_else(|e| panic!("{why}: {e}"));
        let versions: usize = self
            .model
            .told
            .keys()
            .map(|name| {
                let of = |v: &Vessel| {
                    v.records().versions(v.row_id(patient(), &id(name)).unwrap()).unwrap()
                };
                self.vessel(|v| of(v).len()).unwrap()
            })
            .sum();
        let numbers: Vec<u64> = self.model.heard.keys().copied().collect();
        let all: Vec<u64> = (1..=u64::try_from(versions).unwrap()).collect();
        assert_eq!(numbers, all, "{why}: {:?}", self.model.heard);
    }
}
