//! Laboratory tests and panels: LOINC codes, UCUM units, ranges, and where a healthy
//! adult's values lie. All numbers are counted in the last decimal that is reported.

/// One measured quantity.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) loinc: &'static str,
    pub(crate) display: &'static str,
    pub(crate) unit: &'static str,
    /// The UCUM code.
    pub(crate) ucum: &'static str,
    /// Digits after the point.
    pub(crate) decimals: u32,
    /// Reference range, both ends included; an end that is `None` is open.
    pub(crate) low: Option<i64>,
    pub(crate) high: Option<i64>,
    pub(crate) mean: i64,
    pub(crate) deviation: i64,
}

#[expect(clippy::too_many_arguments, reason = "one row of a table")]
const fn test(
    loinc: &'static str,
    display: &'static str,
    unit: &'static str,
    ucum: &'static str,
    decimals: u32,
    low: Option<i64>,
    high: Option<i64>,
    mean: i64,
    deviation: i64,
) -> Test {
    Test { loinc, display, unit, ucum, decimals, low, high, mean, deviation }
}

pub(crate) const A1C: Test = test(
    "4548-4",
    "Hemoglobin A1c/Hemoglobin.total in Blood",
    "%",
    "%",
    1,
    Some(40),
    Some(56),
    53,
    2,
);
pub(crate) const GLUCOSE: Test = test(
    "2345-7",
    "Glucose [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    0,
    Some(65),
    Some(99),
    88,
    7,
);
pub(crate) const UREA: Test = test(
    "3094-0",
    "Urea nitrogen [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    0,
    Some(6),
    Some(20),
    14,
    3,
);
pub(crate) const CREATININE: Test = test(
    "2160-0",
    "Creatinine [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    2,
    Some(57),
    Some(117),
    87,
    13,
);
pub(crate) const EGFR: Test = test(
    "98979-8",
    "Glomerular filtration rate/1.73 sq M.predicted by Creatinine-based formula (CKD-EPI 2021)",
    "mL/min/1.73m2",
    "mL/min/{1.73_m2}",
    0,
    Some(60),
    None,
    95,
    11,
);
pub(crate) const SODIUM: Test = test(
    "2951-2",
    "Sodium [Moles/volume] in Serum or Plasma",
    "mmol/L",
    "mmol/L",
    0,
    Some(136),
    Some(145),
    140,
    2,
);
pub(crate) const POTASSIUM: Test = test(
    "2823-3",
    "Potassium [Moles/volume] in Serum or Plasma",
    "mmol/L",
    "mmol/L",
    1,
    Some(35),
    Some(51),
    42,
    3,
);
pub(crate) const CHLORIDE: Test = test(
    "2075-0",
    "Chloride [Moles/volume] in Serum or Plasma",
    "mmol/L",
    "mmol/L",
    0,
    Some(98),
    Some(107),
    103,
    2,
);
pub(crate) const CALCIUM: Test = test(
    "17861-6",
    "Calcium [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    1,
    Some(86),
    Some(103),
    95,
    3,
);
pub(crate) const ALT: Test = test(
    "1742-6",
    "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma",
    "U/L",
    "U/L",
    0,
    Some(7),
    Some(45),
    24,
    8,
);
pub(crate) const AST: Test = test(
    "1920-8",
    "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma",
    "U/L",
    "U/L",
    0,
    Some(8),
    Some(40),
    22,
    6,
);
pub(crate) const CHOLESTEROL: Test = test(
    "2093-3",
    "Cholesterol [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    0,
    None,
    Some(199),
    178,
    19,
);
pub(crate) const TRIGLYCERIDE: Test = test(
    "2571-8",
    "Triglyceride [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    0,
    None,
    Some(149),
    112,
    24,
);
pub(crate) const HDL: Test = test(
    "2085-9",
    "Cholesterol in HDL [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    0,
    Some(40),
    None,
    54,
    8,
);
pub(crate) const LDL: Test = test(
    "13457-7",
    "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation",
    "mg/dL",
    "mg/dL",
    0,
    None,
    Some(129),
    102,
    17,
);
pub(crate) const LEUKOCYTES: Test = test(
    "6690-2",
    "Leukocytes [#/volume] in Blood by Automated count",
    "10*3/uL",
    "10*3/uL",
    1,
    Some(45),
    Some(110),
    70,
    14,
);
pub(crate) const HEMOGLOBIN: Test = test(
    "718-7",
    "Hemoglobin [Mass/volume] in Blood",
    "g/dL",
    "g/dL",
    1,
    Some(120),
    Some(172),
    144,
    10,
);
pub(crate) const HEMATOCRIT: Test = test(
    "4544-3",
    "Hematocrit [Volume Fraction] of Blood by Automated count",
    "%",
    "%",
    1,
    Some(360),
    Some(504),
    428,
    27,
);
pub(crate) const PLATELETS: Test = test(
    "777-3",
    "Platelets [#/volume] in Blood by Automated count",
    "10*3/uL",
    "10*3/uL",
    0,
    Some(150),
    Some(400),
    255,
    48,
);
pub(crate) const TSH: Test = test(
    "3016-3",
    "Thyrotropin [Units/volume] in Serum or Plasma",
    "m[IU]/L",
    "m[IU]/L",
    2,
    Some(40),
    Some(450),
    190,
    70,
);
pub(crate) const URATE: Test = test(
    "3084-1",
    "Urate [Mass/volume] in Serum or Plasma",
    "mg/dL",
    "mg/dL",
    1,
    Some(24),
    Some(72),
    54,
    8,
);
pub(crate) const BNP: Test = test(
    "33762-6",
    "Natriuretic peptide.B prohormone N-Terminal [Mass/volume] in Serum or Plasma",
    "pg/mL",
    "pg/mL",
    0,
    None,
    Some(125),
    70,
    22,
);
pub(crate) const ALBUMINURIA: Test = test(
    "14959-1",
    "Microalbumin/Creatinine [Mass Ratio] in Urine",
    "mg/g",
    "mg/g",
    0,
    None,
    Some(30),
    12,
    5,
);
pub(crate) const VIRAL_LOAD: Test = test(
    "20447-9",
    "HIV 1 RNA [#/volume] (viral load) in Serum or Plasma by NAA with probe detection",
    "copies/mL",
    "{copies}/mL",
    0,
    None,
    Some(20),
    20,
    0,
);
pub(crate) const CD4: Test = test(
    "24467-3",
    "CD3+CD4+ (T4 helper) cells [#/volume] in Blood",
    "cells/uL",
    "{cells}/uL",
    0,
    Some(490),
    Some(1740),
    640,
    130,
);
pub(crate) const INR: Test = test(
    "6301-6",
    "INR in Platelet poor plasma by Coagulation assay",
    "{INR}",
    "{INR}",
    1,
    Some(20),
    Some(30),
    25,
    3,
);

/// Tests that are ordered and reported together.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) loinc: &'static str,
    pub(crate) display: &'static str,
    pub(crate) tests: &'static [Test],
}

pub(crate) const METABOLIC: Panel = Panel {
    loinc: "24323-8",
    display: "Comprehensive metabolic 2000 panel - Serum or Plasma",
    tests: &[GLUCOSE, UREA, CREATININE, EGFR, SODIUM, POTASSIUM, CHLORIDE, CALCIUM, ALT, AST],
};
pub(crate) const LIPIDS: Panel = Panel {
    loinc: "57698-3",
    display: "Lipid panel with direct LDL - Serum or Plasma",
    tests: &[CHOLESTEROL, TRIGLYCERIDE, HDL, LDL],
};
pub(crate) const COUNT: Panel = Panel {
    loinc: "58410-2",
    display: "CBC panel - Blood by Automated count",
    tests: &[LEUKOCYTES, HEMOGLOBIN, HEMATOCRIT, PLATELETS],
};
