//! What passes: infections, injuries, pregnancy and birth.

use super::{Drug, Illness, Whom, acute, drug};
use crate::directory::Job;

const ACETAMINOPHEN: Drug =
    drug("313782", "acetaminophen 325 MG Oral Tablet", 2, "tablet", 4, 5).as_needed();
const IBUPROFEN: Drug =
    drug("310965", "ibuprofen 200 MG Oral Tablet", 2, "tablet", 3, 7).as_needed();
const AMOXICILLIN: Drug = drug("308182", "amoxicillin 250 MG Oral Capsule", 1, "capsule", 3, 10);

pub(crate) const PREGNANCY: Illness = Illness {
    by: Job::Obstetrician,
    ..acute(
        ("72892002", "Normal pregnancy (finding)"),
        ("Z34.90", "Encounter for supervision of normal pregnancy, unspecified, unspecified trimester"),
        "pregnancy",
        [0, 0, 0],
        &[
            "Fundal height fits the dates, heart tones 146. {name} feels movement. {rel} came along.",
            "Glucose test passed. {given} plans to work at {employer} until week 36.",
            "Swelling of the ankles only. Birth plan discussed; {rel} will drive. Call {mobile} with the culture.",
        ],
    )
}
.only(Whom::Women)
.labels(&["PREGNANT"]);

pub(crate) const BIRTH: Illness = Illness {
    by: Job::Midwife,
    ..acute(
        ("177184002", "Normal delivery procedure (procedure)"),
        ("O80", "Encounter for full-term uncomplicated delivery"),
        "labor",
        [0, 0, 0],
        &[
            "Spontaneous birth of a vigorous child at term after nine hours. {name} and {rel} are well and tired.",
            "Labor began at home on {street}. Quick second stage, small tear, two stitches. {given} nurses already.",
        ],
    )
}
.only(Whom::Women);

pub(crate) const MISCARRIAGE: Illness = Illness {
    by: Job::Obstetrician,
    ..acute(
        ("19169002", "Miscarriage in first trimester (disorder)"),
        ("O03.9", "Complete or unspecified spontaneous abortion without complication"),
        "bleeding",
        [0, 0, 0],
        &["Empty uterus on ultrasound. {name} wept, then asked practical questions. Nothing about this by mail to {street}, please."],
    )
}
.only(Whom::Women)
.labels(&["SEX"]);

pub(crate) const NEWBORN: Illness = Illness {
    by: Job::Pediatrician,
    ..acute(
        ("442311008", "Liveborn born in hospital (situation)"),
        ("Z38.00", "Single liveborn infant, delivered vaginally"),
        "birth",
        [0, 0, 0],
        &[
            "Term newborn of {rel}, Apgar 9 and 10, roots and sucks. Home with the family to {street} on day two.",
        ],
    )
};

pub(crate) const PNEUMONIA: Illness = Illness {
    by: Job::Hospitalist,
    ..acute(
        ("233604007", "Pneumonia (disorder)"),
        ("J18.9", "Pneumonia, unspecified organism"),
        "pneumonia",
        [0, 0, 0],
        &[
            "Fever and rigors for two days, crackles at the right base, film agrees. {name} needs oxygen at two liters; {rel} was called at {phone}.",
            "{title} clearer today, eats, walks the corridor. Home tomorrow if the night is good.",
        ],
    )
}
.urgent()
.drugs(&[AMOXICILLIN]);

pub(crate) const ACUTE: &[Illness] = &[
    acute(
        ("444814009", "Viral sinusitis (disorder)"),
        ("J01.90", "Acute sinusitis, unspecified"),
        "a sinus infection",
        [60, 200, 170],
        &[
            "Pressure over both cheeks for five days, no fever. {name} will rinse and wait; no antibiotic.",
            "Third time since last fall. {given} wanted antibiotics for the trip on {next}; explained, agreed to wait.",
        ],
    ),
    acute(
        ("10509002", "Acute bronchitis (disorder)"),
        ("J20.9", "Acute bronchitis, unspecified"),
        "bronchitis",
        [90, 160, 200],
        &[
            "Coughing for ten days, chest clear apart from a few rhonchi. {title} to return if short of breath.",
            "Half of {employer} is coughing, says {nick}. Afebrile, saturation fine.",
        ],
    )
    .drugs(&[ACETAMINOPHEN]),
    acute(
        ("195662009", "Acute viral pharyngitis (disorder)"),
        ("J02.9", "Acute pharyngitis, unspecified"),
        "a sore throat",
        [200, 140, 60],
        &[
            "Throat red, no exudate, rapid test negative. {name} may go back when the fever is gone for a day.",
            "Drinks well, voice hoarse. {rel} has the same. Note for {employer} given.",
        ],
    ),
    acute(
        ("65363002", "Otitis media (disorder)"),
        ("H66.90", "Otitis media, unspecified, unspecified ear"),
        "an ear infection",
        [240, 20, 15],
        &[
            "Left drum bulging. Pulled at the ear all night. Ten days of amoxicillin for {name}, recheck if still febrile on day three.",
            "{rel} noticed fever on the evening of {prev}. Right drum red and dull.",
        ],
    )
    .drugs(&[AMOXICILLIN]),
    acute(
        ("68566005", "Urinary tract infectious disease (disorder)"),
        ("N39.0", "Urinary tract infection, site not specified"),
        "a urinary infection",
        [20, 110, 170],
        &[
            "Burning and frequency for two days, no flank pain. Dipstick positive; culture sent for {name}.",
            "Same as on {prev}. {given} would like the result by phone at {mobile}.",
        ],
    )
    .drugs(&[drug(
        "562251",
        "amoxicillin 250 MG / clavulanate 125 MG Oral Tablet",
        1,
        "tablet",
        2,
        7,
    )]),
    acute(
        ("44465007", "Sprain of ankle (disorder)"),
        (
            "S93.409A",
            "Sprain of unspecified ligament of unspecified ankle, initial encounter",
        ),
        "a sprained ankle",
        [120, 100, 60],
        &[
            "Turned the ankle on the steps at {street}. Can bear weight, no bony tenderness, so no film. {title} has crutches for three days.",
            "Landed badly at basketball. Swollen outside, stable. {rel} drove {him} in.",
        ],
    )
    .since(5)
    .drugs(&[IBUPROFEN])
    .urgent(),
    acute(
        ("283371005", "Laceration of forearm (disorder)"),
        (
            "S51.819A",
            "Laceration without foreign body of unspecified forearm, initial encounter",
        ),
        "a cut on the forearm",
        [50, 70, 50],
        &[
            "Two inches, clean edges, a kitchen knife. Five sutures; {name} returns in ten days to have them out.",
            "Sheet metal at {employer}. Tendons intact. Report for the employer signed; tetanus is current.",
        ],
    )
    .urgent(),
    acute(
        ("43878008", "Streptococcal sore throat (disorder)"),
        ("J02.0", "Streptococcal pharyngitis"),
        "strep throat",
        [150, 40, 10],
        &[
            "Rapid strep positive. {name} may return to school or work after a day of penicillin; the whole course matters.",
            "Tonsils coated, nodes tender. {rel} to be tested too.",
        ],
    )
    .since(3)
    .drugs(&[drug("834102", "penicillin V potassium 500 MG Oral Tablet", 1, "tablet", 2, 10)]),
    acute(
        ("25374005", "Gastroenteritis (disorder)"),
        ("K52.9", "Noninfective gastroenteritis and colitis, unspecified"),
        "stomach flu",
        [140, 90, 90],
        &[
            "Two days of vomiting, keeps sips down now. Mouth moist, belly soft. {title} knows the signs of drying out.",
            "The whole household at {street} has it. Rehydration at home; {rel} will call on {next}.",
        ],
    )
    .urgent(),
    acute(
        ("9826008", "Conjunctivitis (disorder)"),
        ("H10.9", "Unspecified conjunctivitis"),
        "a red eye",
        [110, 45, 30],
        &["Left eye sticky in the morning, vision unchanged. {name} may go back when it no longer runs."],
    ),
    acute(
        ("6142004", "Influenza (disorder)"),
        ("J11.1", "Influenza due to unidentified influenza virus with other respiratory manifestations"),
        "influenza",
        [90, 80, 70],
        &[
            "Sudden fever and aches since yesterday. {rel} had it last week. Rest, fluids; return if breathing is hard.",
            "Rapid test A positive. {given} stays away from {employer} until {next}.",
        ],
    )
    .drugs(&[ACETAMINOPHEN]),
    acute(
        ("840539006", "Disease caused by severe acute respiratory syndrome coronavirus 2 (disorder)"),
        ("U07.1", "COVID-19"),
        "COVID-19",
        [60, 90, 100],
        &["Home test positive on {prev}. Saturation 97. {name} isolates in the upper room at {street}; {rel} leaves meals at the door."],
    ),
    acute(
        ("40275004", "Contact dermatitis (disorder)"),
        ("L25.9", "Unspecified contact dermatitis, unspecified cause"),
        "a rash",
        [50, 60, 45],
        &["Itchy lines on both forearms after yard work. {title} cleared ivy behind the garage."],
    )
    .drugs(&[drug("106258", "hydrocortisone 10 MG/ML Topical Cream", 1, "application", 2, 10)]),
    acute(
        ("128045006", "Cellulitis (disorder)"),
        ("L03.90", "Cellulitis, unspecified"),
        "an infection of the skin",
        [15, 35, 70],
        &["Warm, red shin, edge marked with a pen at {date}. No fever. {name} shows it to the nurse in two days."],
    )
    .drugs(&[AMOXICILLIN])
    .urgent(),
    acute(
        ("29857009", "Chest pain (finding)"),
        ("R07.9", "Chest pain, unspecified"),
        "chest pain",
        [5, 60, 110],
        &[
            "Pressure for an hour at rest, gone on arrival. Tracing unchanged from {prev}, two troponins low. {title} wants to go home to {street}; {rel} will stay the night.",
            "Reproducible at the third rib. {given} moved house on the weekend. Reassured.",
        ],
    )
    .since(15)
    .urgent(),
    acute(
        ("74400008", "Appendicitis (disorder)"),
        ("K37", "Unspecified appendicitis"),
        "pain in the belly",
        [8, 8, 4],
        &["Pain moved from the navel to the right since last night. Guarding. {name} goes to theater; {rel} signed and waits at {mobile}."],
    )
    .since(6)
    .urgent(),
    acute(
        ("110030002", "Concussion injury of brain (disorder)"),
        ("S06.0X0A", "Concussion without loss of consciousness, initial encounter"),
        "a blow to the head",
        [30, 12, 15],
        &["No loss of consciousness, remembers everything. {rel} wakes {given} twice tonight. No sports until {next}."],
    )
    .since(3)
    .urgent(),
    acute(
        ("33737001", "Fracture of rib (disorder)"),
        ("S22.39XA", "Fracture of one rib, unspecified side, initial encounter for closed fracture"),
        "a fall",
        [0, 8, 45],
        &["Slipped on ice outside {street}. One rib, lung up. {name} breathes deep on command, curses softly."],
    )
    .since(20)
    .drugs(&[ACETAMINOPHEN])
    .urgent(),
];
