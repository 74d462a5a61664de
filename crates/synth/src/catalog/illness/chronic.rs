//! Illnesses that stay, and hold nothing that is specially protected.

use super::{Drug, Illness, Whom, chronic, drug, tablet};
use crate::catalog::laboratory::{
    A1C, ALBUMINURIA, BNP, CHOLESTEROL, CRP, EGFR, EJECTION, FERRITIN, HEMOGLOBIN, INR, LDL,
    POTASSIUM, PSA, TSH, URATE, VITAMIN_D,
};
use crate::directory::Job;

const IBUPROFEN: Drug =
    drug("310965", "ibuprofen 200 MG Oral Tablet", 2, "tablet", 3, 10).as_needed();
const ACETAMINOPHEN: Drug =
    drug("198440", "acetaminophen 500 MG Oral Tablet", 2, "tablet", 3, 30).as_needed();
const ALBUTEROL: Drug = drug(
    "2123111",
    "NDA020503 200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
    2,
    "puff",
    4,
    30,
)
.as_needed();

pub(crate) const CHRONIC: &[Illness] = &[
    chronic(
        ("44054006", "Diabetes mellitus type 2 (disorder)"),
        ("E11.9", "Type 2 diabetes mellitus without complications"),
        "type 2 diabetes",
        32,
        [0, 90, 250],
    )
    .followed(Job::Internist, 3, "Hemoglobin A1c below 7 percent")
    .drugs(&[tablet("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet", 2)])
    .tests(&[A1C, ALBUMINURIA])
    .notes(&[
        "{name} checks glucose most mornings and brought the log. Fasting values run a little high after weekends. Went over carbohydrate counting again; {he} will walk after dinner.",
        "{title} takes the evening dose with food now and the stomach upset is gone. No low readings. Feet examined: pulses good, monofilament felt on both sides.",
        "Discussed the last A1c with {given}. {He} would rather change diet first than add a second drug; we agreed to look again in three months.",
        "Eye examination is overdue since {prev}. {title} promised to call the ophthalmology office this week; {rel} will drive {him}.",
        "Meter downloaded. Mean 148 over two weeks, no lows under 70. {nick} eats late on the days {he} closes at {employer}; moved the walk to lunch.",
    ]),
    chronic(
        ("59621000", "Essential hypertension (disorder)"),
        ("I10", "Essential (primary) hypertension"),
        "high blood pressure",
        28,
        [0, 190, 560],
    )
    .followed(Job::Family, 2, "Blood pressure below 130/80")
    .drugs(&[
        tablet("314076", "lisinopril 10 MG Oral Tablet", 1),
        tablet("197361", "amLODIPine 5 MG Oral Tablet", 1),
        tablet("310798", "hydroCHLOROthiazide 25 MG Oral Tablet", 1),
    ])
    .tests(&[POTASSIUM])
    .notes(&[
        "Home readings of {title} average in the low 140s; higher here, as always. No headaches, no dizziness on standing.",
        "{name} stopped adding salt at the table. Pressure has come down since {prev}; no change of medicine today.",
        "{He} forgets the tablet on days off. Suggested keeping it beside the coffee; {title} laughed and said that would do it.",
        "Cuff at home reads within 4 of ours. {given} will send readings to the portal from {email}.",
    ]),
    chronic(
        ("55822004", "Hyperlipidemia (disorder)"),
        ("E78.5", "Hyperlipidemia, unspecified"),
        "high cholesterol",
        30,
        [0, 150, 430],
    )
    .followed(Job::Family, 1, "LDL cholesterol below 100 mg/dL")
    .drugs(&[tablet("312961", "simvastatin 20 MG Oral Tablet", 1)])
    .tests(&[CHOLESTEROL, LDL])
    .notes(&[
        "Muscle aches that {name} mentioned on {prev} are gone. Continue the statin at night.",
        "Father of {title} had a heart attack at 58, so the target stays strict. {He} understands why.",
        "{given} asked whether fish oil would do instead. It would not; {he} agreed to stay on the tablet.",
    ]),
    chronic(
        ("162864005", "Body mass index 30+ - obesity (finding)"),
        ("E66.9", "Obesity, unspecified"),
        "overweight",
        14,
        [60, 240, 260],
    )
    .notes(&[
        "{name} lost some weight in spring and regained half of it. Not interested in surgery; would like to see the dietitian again.",
        "Talked about sleep and meal times with {title}, who works nights. Aim for five percent by the end of the year.",
        "{nick} joined the walking group in {city} with {rel}. Down two kilograms.",
    ]),
    chronic(
        ("195967001", "Asthma (disorder)"),
        ("J45.909", "Unspecified asthma, uncomplicated"),
        "asthma",
        4,
        [95, 75, 60],
    )
    .followed(Job::Family, 1, "No night waking, rescue inhaler at most twice a week")
    .drugs(&[
        ALBUTEROL,
        drug(
            "895994",
            "120 ACTUAT fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler",
            2,
            "puff",
            2,
            30,
        ),
    ])
    .notes(&[
        "Rescue inhaler about twice a month, mostly when the pollen is up. {name} showed me {his} technique: good, but shake it first.",
        "No night waking since the old carpet at {street} was taken out. Spacer replaced.",
        "Wheeze with colds only. Action plan reviewed with {given} and {rel}; both can say what the yellow zone means.",
    ]),
    chronic(
        ("13645005", "Chronic obstructive lung disease (disorder)"),
        ("J44.9", "Chronic obstructive pulmonary disease, unspecified"),
        "COPD",
        48,
        [0, 15, 110],
    )
    .followed(Job::Internist, 2, "No exacerbation that needs the hospital")
    .drugs(&[
        drug(
            "896209",
            "60 ACTUAT fluticasone propionate 0.25 MG/ACTUAT / salmeterol 0.05 MG/ACTUAT Dry Powder Inhaler",
            1,
            "inhalation",
            2,
            30,
        ),
        ALBUTEROL,
    ])
    .notes(&[
        "{title} stops once on the stairs now. No fever, sputum is white. {He} has the rescue pack at home and knows when to start it.",
        "{name} has not smoked since Christmas. Told {him} plainly that this matters more than anything I prescribe.",
        "Saturation holds on walking. Oxygen company will call {phone} about the concentrator.",
    ]),
    chronic(
        ("40930008", "Hypothyroidism (disorder)"),
        ("E03.9", "Hypothyroidism, unspecified"),
        "an underactive thyroid",
        25,
        [3, 40, 100],
    )
    .followed(Job::Internist, 1, "TSH within the reference range")
    .drugs(&[tablet("892246", "levothyroxine sodium 0.1 MG Oral Tablet", 1)])
    .tests(&[TSH])
    .notes(&[
        "{name} takes it on an empty stomach, an hour before breakfast. Less tired than in winter.",
        "Dose unchanged. {title} will have the thyroid value repeated in six months, sooner if {he} feels cold again.",
    ]),
    chronic(
        ("396275006", "Osteoarthritis (disorder)"),
        ("M19.90", "Unspecified osteoarthritis, unspecified site"),
        "osteoarthritis",
        45,
        [0, 50, 300],
    )
    .drugs(&[ACETAMINOPHEN])
    .notes(&[
        "Right knee is worse than the left. {title} manages the garden with breaks. Physical therapy helped; will renew.",
        "{name} asked about injections. We will wait while the tablets are enough.",
        "Hands are stiff for half an hour in the morning; {nick} has trouble with jars, {rel} opens them.",
    ]),
    chronic(
        ("235595009", "Gastroesophageal reflux disease (disorder)"),
        ("K21.9", "Gastro-esophageal reflux disease without esophagitis"),
        "reflux",
        20,
        [4, 110, 180],
    )
    .drugs(&[drug("198051", "omeprazole 20 MG Delayed Release Oral Capsule", 1, "capsule", 1, 90)])
    .notes(&[
        "Heartburn only after late suppers. {name} raised the head of the bed. No trouble swallowing, weight steady.",
        "{title} tried to stop the capsule and symptoms came back within a week; continue.",
    ]),
    chronic(
        ("53741008", "Coronary arteriosclerosis (disorder)"),
        (
            "I25.10",
            "Atherosclerotic heart disease of native coronary artery without angina pectoris",
        ),
        "coronary heart disease",
        50,
        [0, 10, 130],
    )
    .followed(Job::Cardiologist, 2, "No angina at ordinary effort")
    .drugs(&[
        tablet("309362", "clopidogrel 75 MG Oral Tablet", 1),
        tablet("243670", "aspirin 81 MG Oral Tablet", 1),
    ])
    .tests(&[LDL])
    .notes(&[
        "No chest pain on the treadmill. {title} carries the spray and has not needed it since the stent.",
        "{name} finished cardiac rehabilitation and still goes on Tuesdays. Wants to drive the grandchildren to the lake; no objection.",
        "Reviewed the catheterization of {prev} with {given} and {rel}. Medical treatment; they will call {clinic} if pain comes at rest.",
    ]),
    chronic(
        ("49436004", "Atrial fibrillation (disorder)"),
        ("I48.91", "Unspecified atrial fibrillation"),
        "atrial fibrillation",
        52,
        [0, 5, 90],
    )
    .followed(Job::Cardiologist, 2, "INR between 2 and 3")
    .drugs(&[tablet("855332", "warfarin sodium 5 MG Oral Tablet", 1)])
    .tests(&[INR])
    .notes(&[
        "Pulse irregular, rate controlled. {name} has not bled, keeps greens at the same amount each week.",
        "{title} felt the heart race once, ten minutes, settled by itself. Told when to call.",
        "INR clinic will phone {phone} with the dose; {rel} writes it on the calendar.",
    ]),
    chronic(
        ("88805009", "Chronic congestive heart failure (disorder)"),
        ("I50.9", "Heart failure, unspecified"),
        "heart failure",
        58,
        [0, 3, 70],
    )
    .followed(Job::Cardiologist, 3, "Weight within two kilograms of dry weight")
    .drugs(&[
        tablet("313988", "furosemide 40 MG Oral Tablet", 1),
        tablet("200033", "carvedilol 25 MG Oral Tablet", 2),
    ])
    .tests(&[BNP, EJECTION])
    .notes(&[
        "{title} weighs every morning and wrote it all down. Up two pounds over the holiday, down again. Ankles slim today.",
        "{name} sleeps on two pillows, as before. Reminded of the fluid limit; {rel} keeps count.",
        "Breathless on the second flight at {street}. Doubled the water tablet for three days; nurse to call on {next}.",
    ]),
    chronic(
        ("433144002", "Chronic kidney disease stage 3 (disorder)"),
        ("N18.30", "Chronic kidney disease, stage 3 unspecified"),
        "chronic kidney disease",
        55,
        [0, 10, 130],
    )
    .followed(Job::Internist, 2, "No fall of the filtration rate by more than 5 a year")
    .tests(&[EGFR, ALBUMINURIA])
    .notes(&[
        "Kidney function is where it was a year ago. {name} avoids ibuprofen, as asked.",
        "Explained to {title} what the number means; {he} had feared dialysis, which is far off.",
    ]),
    chronic(
        ("271737000", "Anemia (disorder)"),
        ("D64.9", "Anemia, unspecified"),
        "anemia",
        12,
        [10, 30, 70],
    )
    .drugs(&[tablet("310325", "ferrous sulfate 325 MG Oral Tablet", 1)])
    .tests(&[HEMOGLOBIN, FERRITIN])
    .notes(&[
        "{name} tolerates the iron every other day. Less short of breath; color better. Recheck the count in eight weeks.",
        "Source looked for on {prev}, none found. {given} gives no blood for now.",
    ]),
    chronic(
        ("64859006", "Osteoporosis (disorder)"),
        ("M81.0", "Age-related osteoporosis without current pathological fracture"),
        "osteoporosis",
        60,
        [0, 0, 160],
    )
    .only(Whom::Women)
    .drugs(&[tablet("904419", "alendronic acid 10 MG Oral Tablet", 1)])
    .tests(&[VITAMIN_D])
    .notes(&[
        "No falls this year. {title} sits upright after the tablet and takes vitamin D. Loose rugs at home have been taken away.",
        "Bone density of {prev} a little better at the hip. {nick} is proud of that.",
    ]),
    chronic(
        ("37796009", "Migraine (disorder)"),
        ("G43.909", "Migraine, unspecified, not intractable, without status migrainosus"),
        "migraine",
        12,
        [25, 100, 35],
    )
    .drugs(&[drug("849574", "naproxen sodium 220 MG Oral Tablet", 2, "tablet", 2, 10).as_needed()])
    .notes(&[
        "{name} counts three attacks a month, with flickering first. Dark room and an early dose help. A diary of triggers was handed out.",
        "Missed two days at {employer} since {prev}. {given} wants no daily medicine yet.",
    ]),
    chronic(
        ("61582004", "Allergic rhinitis (disorder)"),
        ("J30.9", "Allergic rhinitis, unspecified"),
        "hay fever",
        5,
        [150, 140, 80],
    )
    .drugs(&[drug("1014676", "cetirizine hydrochloride 5 MG Oral Tablet", 1, "tablet", 1, 30).as_needed()])
    .notes(&[
        "Worst in May. {name} does well on the tablet and rinses with salt water at night.",
        "Turbinates pale, no polyps. {nick} keeps the windows shut on mowing days.",
    ]),
    chronic(
        ("24079001", "Atopic dermatitis (disorder)"),
        ("L20.9", "Atopic dermatitis, unspecified"),
        "eczema",
        0,
        [120, 30, 15],
    )
    .drugs(&[drug("106258", "hydrocortisone 10 MG/ML Topical Cream", 1, "application", 2, 14).as_needed()])
    .notes(&[
        "Elbow creases of {name} are calm today. Short baths, thick cream right after.",
        "Flare behind the knees after swimming. {given} scratches at night; cotton gloves suggested.",
    ]),
    chronic(
        ("90560007", "Gout (disorder)"),
        ("M10.9", "Gout, unspecified"),
        "gout",
        40,
        [0, 25, 75],
    )
    .only(Whom::Men)
    .drugs(&[tablet("197319", "allopurinol 100 MG Oral Tablet", 1)])
    .tests(&[URATE])
    .notes(&[
        "One attack since {prev}, big toe, after a wedding. {title} drinks less beer and more water.",
        "Uric acid is at target. {nick} asked to stop the tablet; explained why not.",
    ]),
    chronic(
        ("279039007", "Low back pain (finding)"),
        ("M54.50", "Low back pain, unspecified"),
        "low back pain",
        22,
        [0, 130, 150],
    )
    .drugs(&[IBUPROFEN])
    .notes(&[
        "Pain of {name} stays in the back, nothing down the leg. Lifts boxes as {job}; a letter for {employer} was written.",
        "{title} does the exercises on most days. Imaging would not change what we do.",
        "Light duty at {employer} until {next}. No red flags.",
    ]),
    chronic(
        ("406506008", "Attention deficit hyperactivity disorder (disorder)"),
        ("F90.9", "Attention-deficit hyperactivity disorder, unspecified type"),
        "attention deficit disorder",
        6,
        [60, 15, 0],
    )
    .notes(&[
        "The teacher's form from {employer} came back better than last term. {name} sits in front now and has the plan at school.",
        "{rel} reports fewer quarrels over homework. {given} plays drums; that helps more than expected.",
    ]),
    chronic(
        ("254837009", "Malignant neoplasm of breast (disorder)"),
        ("C50.919", "Malignant neoplasm of unspecified site of unspecified female breast"),
        "breast cancer",
        42,
        [0, 10, 50],
    )
    .only(Whom::Women)
    .followed(Job::Oncologist, 2, "No recurrence")
    .drugs(&[tablet("199224", "anastrozole 1 MG Oral Tablet", 1)])
    .notes(&[
        "Three years out from surgery and no sign of return. {name} still worries before every scan; we talked about that more than about the pills.",
        "Joint aches on the tablet, bearable. Mammogram of {prev} clear. {nick} goes back to {employer} full time next month.",
    ]),
    chronic(
        ("399068003", "Malignant tumor of prostate (disorder)"),
        ("C61", "Malignant neoplasm of prostate"),
        "prostate cancer",
        55,
        [0, 2, 70],
    )
    .only(Whom::Men)
    .followed(Job::Oncologist, 2, "PSA stable")
    .tests(&[PSA])
    .notes(&[
        "PSA flat over three readings. {title} prefers to watch and wait; {rel} agrees.",
        "No bone pain, stream is fair. Next reading before {next}.",
    ]),
    chronic(
        ("266569009", "Benign prostatic hyperplasia (disorder)"),
        ("N40.0", "Benign prostatic hyperplasia without lower urinary tract symptoms"),
        "an enlarged prostate",
        55,
        [0, 15, 200],
    )
    .only(Whom::Men)
    .drugs(&[drug("863669", "tamsulosin hydrochloride 0.4 MG Oral Capsule", 1, "capsule", 1, 90)])
    .notes(&[
        "{title} gets up once a night now instead of three times. No dizziness on the capsule.",
        "Stream better. {given} will bring the diary on {next}.",
    ]),
    chronic(
        ("78275009", "Obstructive sleep apnea syndrome (disorder)"),
        ("G47.33", "Obstructive sleep apnea (adult) (pediatric)"),
        "sleep apnea",
        30,
        [0, 50, 90],
    )
    .notes(&[
        "Mask on for six hours a night by the machine's own count. {rel} reports silence.",
        "{name} dozed off at work as {job} before the machine; not since.",
    ]),
    chronic(
        ("26929004", "Alzheimer's disease (disorder)"),
        ("G30.9", "Alzheimer's disease, unspecified"),
        "Alzheimer's disease",
        70,
        [0, 0, 45],
    )
    .followed(Job::Internist, 2, "Safe at home with help")
    .drugs(&[tablet("997223", "donepezil hydrochloride 10 MG Oral Tablet", 1)])
    .notes(&[
        "{rel} does the talking. {title} knew {his} birthday, {dob}, but not the year. Stove has been disconnected at {street}.",
        "Wandered once since {prev}; neighbors called {phone}. Bracelet ordered, door alarm discussed with {rel}.",
    ]),
    chronic(
        ("69896004", "Rheumatoid arthritis (disorder)"),
        ("M06.9", "Rheumatoid arthritis, unspecified"),
        "rheumatoid arthritis",
        28,
        [0, 12, 25],
    )
    .drugs(&[drug("105585", "methotrexate 2.5 MG Oral Tablet", 6, "tablet", 1, 28)])
    .tests(&[CRP])
    .notes(&[
        "Two swollen joints today, eight in spring. {name} takes folic acid on the other days.",
        "Grip is stronger. {given} types again without splints at {employer}.",
    ]),
    chronic(
        ("84757009", "Epilepsy (disorder)"),
        ("G40.909", "Epilepsy, unspecified, not intractable, without status epilepticus"),
        "epilepsy",
        3,
        [8, 9, 10],
    )
    .notes(&[
        "No seizure since {prev}. {name} may ask the motor vehicle office again in three months.",
        "Levels not needed. {rel} knows the rescue dose; school has the letter.",
    ]),
    chronic(
        ("15188001", "Hearing loss (disorder)"),
        ("H91.90", "Unspecified hearing loss, unspecified ear"),
        "hearing loss",
        60,
        [0, 0, 160],
    )
    .notes(&["Aids in both ears, batteries fresh. {title} asks that we do not phone; write to {email} instead."]),
    chronic(
        ("56294008", "Nicotine dependence (disorder)"),
        ("F17.200", "Nicotine dependence, unspecified, uncomplicated"),
        "smoking",
        18,
        [0, 110, 70],
    )
    .notes(&[
        "{nick} smokes ten a day, mostly on breaks at {employer}. Set {next} as the day to stop.",
        "Tried patches last year. {name} is not ready today and said so; will ask again.",
    ]),
    chronic(
        ("9014002", "Psoriasis (disorder)"),
        ("L40.9", "Psoriasis, unspecified"),
        "psoriasis",
        18,
        [3, 25, 25],
    )
    .notes(&["Plaques at both elbows and the scalp, thinner than on {prev}. {given} goes without sleeves again."]),
];
