//! Clinical notes: documents with the text attached, clinical impressions, letters and
//! telephone notes. Every author has a hand: headings, ways of writing dates and
//! numbers, and whole phrases differ from one to the next.

use super::plan::{Kind, Visit};
use super::{Chart, Scene};
use crate::catalog::illness::BIRTH;
use crate::json::set;
use crate::note::Text;
use crate::shape::{Concept, Labels, Ref, Shown, Told, base64, coding, hl7, loinc};

const CATEGORY: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category";
const FORMAT: &str = "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem";

const HEADERS: &[&str] = &[
    "{clinic}\nPatient: {CAPS}   DOB: {dob}   MRN: {mrn}\nDate: {date}   Seen by: {signed}\n",
    "{clinic}, {date}\nRe: {name}, born {dob}, record {mrn}\nAddress on file: {street}, {city}, {state} {zip}. Phone {phone}.\n",
    "Name: {name}\nMRN {mrn}, DOB {dob}\nVisit {date} at {clinic} with {doctor}\n",
    "{CAPS} / {mrn} / {dob}\n{date}\n",
];

/// Headings, by the author's hand: reason, history, problems, examination, plan.
const HEADINGS: &[[&str; 5]] = &[
    ["REASON", "HISTORY", "PROBLEMS", "EXAMINATION", "PLAN"],
    ["CC:", "HPI:", "PMH:", "PE:", "A/P:"],
    ["Chief complaint", "Subjective", "Active problems", "Objective", "Assessment and plan"],
    ["S:", "", "Hx:", "O:", "P:"],
];

const CLOSINGS: &[&str] = &[
    "Continue as before. Next visit in three months, sooner if anything changes.",
    "Laboratory as ordered; will call {title} at {mobile} with the results.",
    "Discussed and agreed with {title}, who repeated the plan in {his} own words.",
    "No change today. {He} knows when to call.",
    "Return on {next}. Results by e-mail to {email}, as {he} prefers.",
    "Copy of this note to {gp}. {rel} will pick up the papers.",
    "{nick} to bring a list of questions next time. Recheck {next}.",
    "Work note for {employer} until {next}.",
    "Letter goes to {street}, {city} {zip}. Call back at {phone} if not received.",
    "Reviewed with {nurse}. Instructions printed and given to {rel}.",
];

const SOCIAL: &[&str] = &[
    "Lives on {street} with {rel}.",
    "Works as {job} at {employer}.",
    "{kin} came along; number {kinphone}.",
    "Goes by {nick}. Prefers messages to {mobile}.",
    "Moved to {city} some years ago; {rel} lives close.",
    "Identity confirmed by name and date of birth ({dob}).",
    "Here with {rel}, who keeps the papers in order.",
    "Insurance card checked, member {member}.",
];

const YEARLY: &[&str] = &[
    "{name}, {years} {person}, comes for the yearly visit and feels well.",
    "Yearly visit of {name}, {age}. No new complaints.",
    "{title} comes for a check-up; {he} wants to know whether all is in order.",
    "{years} {person}, known here for years. {given} sleeps well, walks most days, has no complaints.",
    "{given} is here for {his} physical. {He} was last seen on {prev}.",
];

const CHILD: &[&str] = &[
    "{given} is a {years} {person}, brought by {rel} for the well visit. Eats and sleeps well.",
    "Well visit of {name}, born {dob}. {rel} has no worries. Growth along the usual line.",
    "{nick} is lively, plays with the stethoscope. {rel} asks about sleep; advice given.",
    "{rel} reports that {given} plays well with others and has had one cold since {prev}.",
];

const CALLS: &[&str] = &[
    "Called {mobile} at the request of {doctor}. {name} answered, confirmed DOB {dob}. Result given, no questions. Next visit {next}.",
    "{kin} called from {kinphone} on {date}: {nick} ran out of tablets. Refill sent. Address confirmed as {street}, {city}.",
    "Left a message at {phone} without details. {given} called back and asked for the letter to go to {email}.",
    "{name} ({mrn}) cannot come on {next}; moved. Wants to be seen by {gp} only.",
    "Portal message from {email}: cough is better. Told {title} to finish the course. Signed, {signed}.",
];

const LETTERS: &[&str] = &[
    "{clinic}\n{date}\n\nDear {gp},\n\nRe: {name}, DOB {dob}, MRN {mrn}\n{street}, {city}, {state} {zip}, phone {phone}\n\nThank you for sending {title}, whom I saw on {date}. ",
    "To: {gp}\nFrom: {signed}, {clinic}\nDate: {date}\nConcerning {CAPS} (born {dob}, record number {mrn})\n\n{title} came with {kin}. ",
];

const THERAPY: &[&str] = &[
    "Session notes, kept apart from the record.\n{title} spoke at length about {his} father and the winter when {he} left home. Silence for some minutes; then anger, which {he} has not shown here before. To take up next time.\n",
    "Process notes, {date}. {nick} brought a dream: the house on {street}, empty, {rel} calling from the cellar. {He} laughed, then did not. We stayed with it.\n",
    "Session of {date}, not part of the chart. {given} cancelled {prev} and came today to say why. Shame about {employer}; {rel} does not know.\n",
];

impl<'a> Chart<'a> {
    pub(super) fn documents(&mut self) {
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let scene = self.scene(visit.day, visit.worker);
            let mut text = Text::default();
            let referred = visit.kind == Kind::FollowUp && visit.worker.id != self.doctor.id;
            let letter = referred && self.dice.chance(450);
            if letter {
                let opening = self.choose(LETTERS, scene.worker);
                self.phrase(&mut text, opening, scene);
                self.body(&mut text, &visit, scene);
                self.phrase(&mut text, "\nWith kind regards,\n{signed}\n", scene);
            } else {
                let header = self.by_hand(HEADERS, scene.hand);
                self.phrase(&mut text, header, scene);
                self.body(&mut text, &visit, scene);
                if self.dice.chance(600) {
                    self.phrase(
                        &mut text,
                        "\nElectronically signed by {signed} on {date}.\n",
                        scene,
                    );
                }
            }
            let kind = match visit.kind {
                _ if letter => ("11488-4", "Consult note"),
                Kind::Wellness | Kind::Newborn => ("34117-2", "History and physical note"),
                Kind::Emergency => ("34111-5", "Emergency department Note"),
                Kind::Inpatient | Kind::Birth => ("18842-5", "Discharge summary"),
                Kind::Virtual => ("34748-4", "Telephone encounter Note"),
                Kind::Home | Kind::FollowUp | Kind::Acute => ("11506-3", "Progress note"),
            };
            self.document(&visit, kind, text, visit.labels());
            if visit.labels().contains(&"PSY") && visit.kind == Kind::FollowUp {
                let mut text = Text::default();
                let template = self.choose(THERAPY, scene.worker);
                self.phrase(&mut text, template, scene);
                let kind = ("34788-0", "Psychiatry Consult note");
                self.document(&visit, kind, text, &["PSY", "PSYTHPN"]);
            }
            let passing = visit.kind == Kind::Acute && visit.labels().is_empty();
            if visit.kind == Kind::Emergency || (passing && self.dice.chance(250)) {
                self.impression(&visit, scene);
            }
            if matches!(visit.kind, Kind::Wellness | Kind::Acute) && self.dice.chance(180) {
                let mut text = Text::default();
                let nurse = visit.nurse.unwrap_or(self.nurse);
                let scene = Scene { worker: nurse, hand: nurse.id.low() >> 8, ..scene };
                let template = self.choose(CALLS, scene.worker);
                self.phrase(&mut text, template, scene);
                let kind = ("34748-4", "Telephone encounter Note");
                self.document(&visit, kind, text, visit.labels());
            }
        }
    }

    fn by_hand(&self, from: &'static [&'static str], hand: u64) -> &'static str {
        from.get((hand >> 3) as usize % from.len()).copied().unwrap_or("{name} {date}\n")
    }

    /// What an author writes of a visit.
    fn body(&mut self, text: &mut Text, visit: &Visit<'a>, scene: Scene<'a>) {
        let p = self.p;
        let headings = HEADINGS
            .get((scene.hand >> 9) as usize % HEADINGS.len())
            .copied()
            .unwrap_or(["", "", "", "", ""]);
        let [reason, history, problems, examination, plan] = headings;
        let child = p.age(visit.day) < 14;
        heading(text, reason);
        match (&visit.about, visit.kind) {
            (Some(has), _) => {
                let opening = *self.dice.pick(&[
                    "{name}, {years} {person}, comes because of ",
                    "{years} {person} with ",
                    "{title} was seen on {date} for ",
                    "{given} is here about ",
                ]);
                self.phrase(text, opening, scene);
                text.plain(has.illness.plain).plain(". ");
                heading(text, history);
                if visit.kind == Kind::Birth {
                    let template = self.choose(BIRTH.notes, scene.worker);
                    self.phrase(text, template, scene);
                } else {
                    self.remark(text, has, scene);
                    if visit.stays() && has.illness.notes.len() > 1 {
                        text.plain(" ");
                        let second = has.illness.notes.last().copied().unwrap_or("");
                        if self.sayable(second, scene.worker)
                            && !text.text.contains(first_words(second))
                        {
                            self.phrase(text, second, scene);
                        }
                    }
                }
            }
            (None, _) => {
                let template = self.choose(if child { CHILD } else { YEARLY }, scene.worker);
                self.phrase(text, template, scene);
            }
        }
        if self.dice.chance(450) {
            let template = self.choose(SOCIAL, scene.worker);
            text.plain(" ");
            self.phrase(text, template, scene);
        }
        self.problem_list(text, visit, problems);
        self.examined(text, visit, examination);
        heading(text, plan);
        if visit.fatal {
            self.phrase(
                text,
                "Comfort care from the second day, as {he} had wished. {name} died in the early morning with {rel} present. {gp} was told.",
                scene,
            );
        } else {
            let closing = self.choose(CLOSINGS, scene.worker);
            self.phrase(text, closing, scene);
        }
        text.plain("\n");
    }

    /// What is specially protected is told of only in documents that carry its label.
    fn problem_list(&mut self, text: &mut Text, visit: &Visit<'a>, title: &str) {
        let p = self.p;
        let known = p
            .chronic
            .iter()
            .filter(|h| h.onset <= visit.day && visit.about.is_none_or(|a| a.id != h.id))
            .filter(|h| h.illness.labels.iter().all(|l| visit.labels().contains(l)));
        let (mut names, mut drugs): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for has in known {
            names.push(has.illness.plain);
            for (at, drug) in has.illness.drugs.iter().enumerate().take(3) {
                if self.takes(has, at) {
                    drugs.push(drug.display);
                }
            }
        }
        if !names.is_empty() {
            heading(text, title);
            text.plain(&names.join(", ")).plain(".");
        }
        drugs.dedup();
        if !drugs.is_empty() && self.dice.chance(500) {
            text.plain("\nMedicines: ").plain(&drugs.join("; ")).plain(".");
        }
    }

    fn examined(&mut self, text: &mut Text, visit: &Visit<'a>, title: &str) {
        if visit.kind == Kind::Virtual {
            return;
        }
        let m = self.measure(visit);
        heading(text, title);
        if self.p.age(visit.day) >= 3 {
            text.plain("BP ").number(m.systolic).plain("/").number(m.diastolic).plain(", ");
        }
        text.plain("pulse ").number(m.rate);
        if !matches!(visit.kind, Kind::Emergency | Kind::Birth) {
            text.plain(", weight ").decimal(m.weight, 1).plain(" kg");
        }
        if matches!(visit.kind, Kind::Acute | Kind::Emergency | Kind::Inpatient) {
            text.plain(", temperature ").decimal(m.warm, 1).plain(" C, SpO2 ");
            text.number(m.saturation).plain("%");
        }
        text.plain(". ");
        let young: &[&str] = &[
            "Alert, in no distress. Lungs clear. Heart regular, no murmur.",
            "Fontanelle and ears fine, hips stable, good tone.",
        ];
        let grown: &[&str] = &[
            "Alert, in no distress. Lungs clear. Heart regular, no murmur.",
            "Looks well. Abdomen soft. No edema.",
            "Chest clear, belly soft, no rash. Gait steady.",
            "Well appearing, makes eye contact, speech clear.",
            "Neck supple, no nodes. Heart sounds normal.",
        ];
        let infant = self.p.age(visit.day) < 1;
        text.plain(self.dice.pick::<&str>(if infant { young } else { grown }));
    }

    /// A short judgement, as its own record.
    fn impression(&mut self, visit: &Visit<'a>, scene: Scene<'a>) {
        let id = self.id();
        self.begin("ClinicalImpression", id, "", visit.labels());
        set!(self.out, "status": "completed", "subject": (self.subject_shown()));
        set!(self.out,
            "encounter": (Ref("Encounter", visit.id)),
            "effectiveDateTime": (self.at(visit.day, visit.minute + 25)),
            "date": (self.at(visit.day, visit.minute + 30)),
            "assessor": (visit.worker.reference()),
        );
        if let Some(has) = &visit.about {
            set!(self.out, "problem": [(Ref("Condition", has.id))]);
        }
        let mut text = Text::default();
        let template = *self.dice.pick(&[
            "{years} {person}, stable. {rel} informed at {kinphone}. Home with instructions; {gp} to see {him} by {next}.",
            "{name} ({mrn}): improved, no sign of anything worse. Copy to {gp}.",
            "Assessment of {date}: likely benign course. {title} understands when to return to {clinic}.",
        ]);
        self.phrase(&mut text, template, scene);
        self.told("summary", text, ("ClinicalImpression", id), "ClinicalImpression.summary");
        self.end("ClinicalImpression", id);
    }

    fn document(
        &mut self,
        visit: &Visit<'a>,
        (code, display): (&'static str, &'static str),
        text: Text,
        labels: Labels,
    ) {
        let id = self.id();
        let written = self.at(visit.day, visit.end_minute() + 3);
        self.begin("DocumentReference", id, "us-core-documentreference", labels);
        self.identifier("document", "D");
        set!(self.out,
            "status": "current",
            "docStatus": "final",
            "type": (Told(loinc(code, display))),
            "category": [(Concept(coding(CATEGORY, "clinical-note", "Clinical Note")))],
            "subject": (self.subject_shown()),
            "date": (written),
            "author": [(visit.worker.reference())],
            "custodian": (Shown("Organization", visit.dept.organization, visit.dept.name)),
        );
        self.out.key("content");
        self.out.open('[');
        self.out.open('{');
        self.out.key("attachment");
        self.out.open('{');
        set!(self.out, "contentType": "text/plain; charset=utf-8", "language": "en-US");
        self.out.key("data");
        self.out.bare(|out| {
            out.push('"');
            base64(text.text.as_bytes(), out);
            out.push('"');
        });
        set!(self.out,
            "size": (text.text.len() as i64),
            "title": (display),
            "creation": (written),
        );
        self.out.close('}');
        set!(self.out, "format": (coding(FORMAT, "urn:ihe:iti:xds:2017:mimeTypeSufficient", "mimeType Sufficient")));
        self.out.close('}');
        self.out.close(']');
        set!(self.out, "context": {
            "encounter": [(Ref("Encounter", visit.id))],
            "period": {
                "start": (self.at(visit.day, visit.minute)),
                "end": (self.at(visit.day, visit.end_minute())),
            },
            "facilityType": (Told(hl7("v3-RoleCode", visit.dept.row().code, visit.dept.row().display))),
        });
        self.end("DocumentReference", id);
        self.remember(text, ("DocumentReference", id), "DocumentReference.content.attachment.data");
    }
}

/// A heading on its own line, or a blank line where the author has none.
fn heading(text: &mut Text, title: &str) {
    if title.ends_with(':') {
        text.plain("\n").plain(title).plain(" ");
    } else {
        text.plain("\n").plain(title).plain("\n");
    }
}

fn first_words(template: &str) -> &str {
    template.split(['{', ',']).next().filter(|w| w.len() > 6).unwrap_or(template)
}
