//! Illnesses that are specially protected, with the labels that every record of them
//! bears: 42 CFR Part 2, State laws on mental health, HIV, sexual and reproductive health,
//! genetic testing, and abuse.

use super::{Illness, Whom, acute, chronic, drug, tablet};
use crate::catalog::laboratory::{CD4, LITHIUM, VIRAL_LOAD};
use crate::directory::Job;

/// Milder ones, which come by chance.
pub(crate) const MILD: &[Illness] = &[
    chronic(
        ("370143000", "Major depressive disorder (disorder)"),
        ("F32.9", "Major depressive disorder, single episode, unspecified"),
        "depression",
        14,
        [20, 60, 45],
    )
    .labels(&["MH"])
    .followed(Job::Family, 2, "PHQ-9 below 5")
    .drugs(&[drug("310385", "FLUoxetine 20 MG Oral Capsule", 1, "capsule", 1, 90)])
    .notes(&[
        "{name} sleeps through again and went back to the choir. No thoughts of death. Continue for six months at least.",
        "{title} feels flat on the capsule but does not want to go back to where {he} was in January.",
        "Back at {employer} half days. {rel} checks in every evening at {phone}.",
    ]),
    chronic(
        ("21897009", "Generalized anxiety disorder (disorder)"),
        ("F41.1", "Generalized anxiety disorder"),
        "anxiety",
        14,
        [25, 55, 25],
    )
    .labels(&["MH"])
    .followed(Job::Therapist, 2, "GAD-7 below 5")
    .drugs(&[tablet("312941", "sertraline 50 MG Oral Tablet", 1)])
    .notes(&[
        "{given} drove on the highway for the first time since {prev}. Breathing exercise practised here.",
        "Worries circle around {rel}. {name} keeps the worry hour and mostly holds to it.",
    ]),
];

/// Those that certain patients of each group of households have.
pub(crate) const PROTECTED: &[Illness] = &[
    chronic(
        ("7200002", "Alcoholism (disorder)"),
        ("F10.20", "Alcohol dependence, uncomplicated"),
        "alcohol use",
        24,
        [0, 8, 8],
    )
    .labels(&["ETHUD", "42CFRPart2"])
    .followed(Job::Addiction, 3, "Abstinence")
    .drugs(&[tablet("1483744", "naltrexone hydrochloride 50 MG Oral Tablet", 1)])
    .notes(&[
        "{name} has been sober for eleven weeks, with one slip at a funeral. Goes to the Thursday group. Does not want {employer} to know.",
        "{title} takes the tablet under the eyes of {rel}. Cravings are less in the evening.",
        "Counselor called {mobile} after a missed group; {nick} answered, had overslept, came on {date}.",
    ]),
    chronic(
        ("86406008", "Human immunodeficiency virus infection (disorder)"),
        ("Z21", "Asymptomatic human immunodeficiency virus [HIV] infection status"),
        "HIV",
        22,
        [0, 4, 2],
    )
    .labels(&["HIV"])
    .followed(Job::Infection, 3, "Viral load below 20 copies/mL")
    .drugs(&[tablet(
        "1999667",
        "bictegravir 50 MG / emtricitabine 200 MG / tenofovir alafenamide 25 MG Oral Tablet",
        1,
    )])
    .tests(&[VIRAL_LOAD, CD4])
    .notes(&[
        "Undetectable again. {name} has not missed a dose this quarter and has told {his} partner.",
        "{title} asks that nothing about this is sent to {street}. Results to {email} only.",
        "{given} fills at a pharmacy across town so that nobody from {employer} sees the bottle.",
    ]),
    chronic(
        ("13746004", "Bipolar disorder (disorder)"),
        ("F31.9", "Bipolar disorder, unspecified"),
        "bipolar disorder",
        20,
        [0, 6, 4],
    )
    .labels(&["PSY"])
    .followed(Job::Psychiatrist, 3, "No episode that needs the hospital")
    .drugs(&[drug("197889", "lithium carbonate 300 MG Oral Capsule", 1, "capsule", 2, 90)])
    .tests(&[LITHIUM])
    .notes(&[
        "{name} has slept seven hours a night since the dose was raised. Spending is under control; {rel} holds the card.",
        "Mood even. {title} knows the early signs and whom to call.",
        "Tremor is slight. {nick} writes songs again and sells none, which {he} finds funny.",
    ]),
    chronic(
        ("5602001", "Opioid abuse (disorder)"),
        ("F11.10", "Opioid abuse, uncomplicated"),
        "opioid use",
        20,
        [0, 7, 3],
    )
    .labels(&["OPIOIDUD", "42CFRPart2"])
    .followed(Job::Addiction, 4, "No use other than as prescribed")
    .drugs(&[drug(
        "351266",
        "buprenorphine 2 MG / naloxone 0.5 MG Sublingual Tablet",
        1,
        "tablet",
        2,
        28,
    )])
    .notes(&[
        "{name} is stable on the tablet, urine as expected. Hours at {employer} fit the clinic.",
        "{title} carries naloxone and showed {rel} how to use it.",
        "Lost the bottle on the bus, {given} says; replaced once, counted from now on. Sponsor's number on file besides {mobile}.",
    ]),
    acute(
        ("706893006", "Victim of intimate partner abuse (finding)"),
        ("T74.11XA", "Adult physical abuse, confirmed, initial encounter"),
        "injuries after a quarrel",
        [0, 3, 1],
        &[
            "Bruises on both upper arms of different ages. {name} spoke alone with the social worker. Safe number is {mobile}; do NOT call the number at {street}.",
            "{given} stays with a friend since {prev} and has a protective order. Asks that the address not be shown on any paper.",
        ],
    )
    .since(17)
    .labels(&["SDV"])
    .urgent(),
    chronic(
        ("93461009", "Gender dysphoria (finding)"),
        ("F64.9", "Gender identity disorder, unspecified"),
        "gender dysphoria",
        16,
        [0, 3, 0],
    )
    .labels(&["SEX"])
    .followed(Job::Family, 2, "Well-being in the affirmed gender")
    .notes(&[
        "{name} goes by {nick} among friends and asks us to do the same. Family at {street} does not know yet.",
        "Letter for the name change signed on {date}; {given} fetched it in person.",
    ]),
    chronic(
        ("412734009", "BRCA1 gene mutation positive (finding)"),
        ("Z15.01", "Genetic susceptibility to malignant neoplasm of breast"),
        "an inherited risk",
        24,
        [0, 4, 3],
    )
    .labels(&["GDIS"])
    .followed(Job::Oncologist, 2, "Screening every six months")
    .notes(&[
        "Variant confirmed in the report of {prev}. {name} has told {rel} and nobody at {employer}, for fear of the insurer.",
        "Screening reviewed. {given} will decide about surgery after the holidays; no hurry from our side.",
    ]),
    chronic(
        ("58214004", "Schizophrenia (disorder)"),
        ("F20.9", "Schizophrenia, unspecified"),
        "schizophrenia",
        19,
        [0, 4, 3],
    )
    .labels(&["PSY"])
    .followed(Job::Psychiatrist, 3, "Voices do not command")
    .notes(&[
        "Voices are quieter. {name} takes the injection at the clinic; {rel} brings {him} by bus.",
        "{title} kept the flat at {street} in order. Case worker visits on Mondays.",
    ]),
    acute(
        ("15628003", "Gonorrhea (disorder)"),
        ("A54.9", "Gonococcal infection, unspecified"),
        "an infection",
        [0, 6, 1],
        &[
            "Test positive. Treated today. {name} prefers that results go to {mobile}, never to the landline at home.",
            "Partner of {given} will be told by the health department without a name.",
        ],
    )
    .since(16)
    .labels(&["STD", "SEX"])
    .drugs(&[drug("308460", "azithromycin 250 MG Oral Tablet", 4, "tablet", 1, 1)]),
    chronic(
        ("31956009", "Cocaine dependence (disorder)"),
        ("F14.20", "Cocaine dependence, uncomplicated"),
        "cocaine use",
        20,
        [0, 4, 0],
    )
    .labels(&["SUD", "42CFRPart2"])
    .followed(Job::Addiction, 3, "Abstinence")
    .notes(&[
        "Ninety days on {date}. {name} got a token and a cake. {rel} came along for the first time.",
        "{nick} changed phones to lose old numbers; reach {him} at {mobile}.",
    ]),
    chronic(
        ("6738008", "Female infertility (disorder)"),
        ("N97.9", "Female infertility, unspecified"),
        "the wish for a child",
        24,
        [0, 5, 0],
    )
    .only(Whom::Women)
    .until(44)
    .labels(&["SEX"])
    .followed(Job::Obstetrician, 2, "Pregnancy")
    .notes(&[
        "Second cycle of treatment begun. {name} has told no one but {rel}.",
        "Ultrasound as hoped. {given} asks for calls to {mobile} after five, not to {employer}.",
    ]),
    chronic(
        ("58756001", "Huntington's chorea (disorder)"),
        ("G10", "Huntington's disease"),
        "an inherited illness of the nerves",
        32,
        [0, 1, 1],
    )
    .labels(&["GDIS"])
    .followed(Job::Internist, 2, "Independent at home")
    .notes(&["Restless hands, gait a little wide. {name} has not told the children; {rel} knows."]),
];
