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

#[rustfmt::skip]
pub(crate) const A1C: Test = test("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", "%", 1, Some(40), Some(56), 53, 2);
#[rustfmt::skip]
pub(crate) const GLUCOSE: Test = test("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0, Some(65), Some(99), 88, 7);
#[rustfmt::skip]
pub(crate) const UREA: Test = test("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0, Some(6), Some(20), 14, 3);
#[rustfmt::skip]
pub(crate) const CREATININE: Test = test("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 2, Some(57), Some(117), 87, 13);
#[rustfmt::skip]
pub(crate) const EGFR: Test = test("98979-8", "Glomerular filtration rate/1.73 sq M.predicted by Creatinine-based formula (CKD-EPI 2021)", "mL/min/1.73m2", "mL/min/{1.73_m2}", 0, Some(60), None, 95, 11);
#[rustfmt::skip]
pub(crate) const SODIUM: Test = test("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 0, Some(136), Some(145), 140, 2);
#[rustfmt::skip]
pub(crate) const POTASSIUM: Test = test("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 1, Some(35), Some(51), 42, 3);
#[rustfmt::skip]
pub(crate) const CHLORIDE: Test = test("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 0, Some(98), Some(107), 103, 2);
#[rustfmt::skip]
pub(crate) const CALCIUM: Test = test("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 1, Some(86), Some(103), 95, 3);
#[rustfmt::skip]
pub(crate) const ALT: Test = test("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", "U/L", 0, Some(7), Some(45), 24, 8);
#[rustfmt::skip]
pub(crate) const AST: Test = test("1920-8", "Aspartate aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", "U/L", 0, Some(8), Some(40), 22, 6);
#[rustfmt::skip]
pub(crate) const CHOLESTEROL: Test = test("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0, None, Some(199), 178, 19);
#[rustfmt::skip]
pub(crate) const TRIGLYCERIDE: Test = test("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0, None, Some(149), 112, 24);
#[rustfmt::skip]
pub(crate) const HDL: Test = test("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 0, Some(40), None, 54, 8);
#[rustfmt::skip]
pub(crate) const LDL: Test = test("13457-7", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation", "mg/dL", "mg/dL", 0, None, Some(129), 102, 17);
#[rustfmt::skip]
pub(crate) const LEUKOCYTES: Test = test("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", "10*3/uL", 1, Some(45), Some(110), 70, 14);
#[rustfmt::skip]
pub(crate) const HEMOGLOBIN: Test = test("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "g/dL", 1, Some(120), Some(172), 144, 10);
#[rustfmt::skip]
pub(crate) const HEMATOCRIT: Test = test("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", "%", 1, Some(360), Some(504), 428, 27);
#[rustfmt::skip]
pub(crate) const PLATELETS: Test = test("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", "10*3/uL", 0, Some(150), Some(400), 255, 48);
#[rustfmt::skip]
pub(crate) const TSH: Test = test("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", "m[IU]/L", 2, Some(40), Some(450), 190, 70);
#[rustfmt::skip]
pub(crate) const URATE: Test = test("3084-1", "Urate [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 1, Some(24), Some(72), 54, 8);
#[rustfmt::skip]
pub(crate) const BNP: Test = test("33762-6", "Natriuretic peptide.B prohormone N-Terminal [Mass/volume] in Serum or Plasma", "pg/mL", "pg/mL", 0, None, Some(125), 70, 22);
#[rustfmt::skip]
pub(crate) const ALBUMINURIA: Test = test("14959-1", "Microalbumin/Creatinine [Mass Ratio] in Urine", "mg/g", "mg/g", 0, None, Some(30), 12, 5);
#[rustfmt::skip]
pub(crate) const VIRAL_LOAD: Test = test("20447-9", "HIV 1 RNA [#/volume] (viral load) in Serum or Plasma by NAA with probe detection", "copies/mL", "{copies}/mL", 0, None, Some(20), 20, 0);
#[rustfmt::skip]
pub(crate) const CD4: Test = test("24467-3", "CD3+CD4+ (T4 helper) cells [#/volume] in Blood", "cells/uL", "{cells}/uL", 0, Some(490), Some(1740), 640, 130);
#[rustfmt::skip]
pub(crate) const INR: Test = test("6301-6", "INR in Platelet poor plasma by Coagulation assay", "{INR}", "{INR}", 1, Some(9), Some(11), 25, 3);

#[rustfmt::skip]
pub(crate) const PSA: Test = test("2857-1", "Prostate specific Ag [Mass/volume] in Serum or Plasma", "ng/mL", "ng/mL", 1, None, Some(40), 14, 8);
#[rustfmt::skip]
pub(crate) const FERRITIN: Test = test("2276-4", "Ferritin [Mass/volume] in Serum or Plasma", "ng/mL", "ng/mL", 0, Some(15), Some(150), 62, 24);
#[rustfmt::skip]
pub(crate) const CRP: Test = test("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", "mg/L", 1, None, Some(80), 22, 14);
#[rustfmt::skip]
pub(crate) const LITHIUM: Test = test("14334-7", "Lithium [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 2, Some(60), Some(120), 82, 12);
#[rustfmt::skip]
pub(crate) const VITAMIN_D: Test = test("1989-3", "25-hydroxyvitamin D3 [Mass/volume] in Serum or Plasma", "ng/mL", "ng/mL", 0, Some(30), Some(100), 41, 9);
#[rustfmt::skip]
pub(crate) const TROPONIN: Test = test("89579-7", "Troponin I.cardiac [Mass/volume] in Serum or Plasma by High sensitivity method", "pg/mL", "pg/mL", 0, None, Some(20), 8, 4);
#[rustfmt::skip]
pub(crate) const EJECTION: Test = test("10230-1", "Left ventricular Ejection fraction", "%", "%", 0, Some(52), Some(72), 60, 4);
#[rustfmt::skip]
pub(crate) const ALBUMIN: Test = test("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", "g/dL", 1, Some(35), Some(52), 43, 3);
#[rustfmt::skip]
pub(crate) const BILIRUBIN: Test = test("1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", "mg/dL", 1, Some(2), Some(12), 6, 2);
#[rustfmt::skip]
pub(crate) const ALP: Test = test("6768-6", "Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma", "U/L", "U/L", 0, Some(44), Some(121), 74, 16);
#[rustfmt::skip]
pub(crate) const PROTEIN: Test = test("2885-2", "Protein [Mass/volume] in Serum or Plasma", "g/dL", "g/dL", 1, Some(60), Some(83), 71, 4);
#[rustfmt::skip]
pub(crate) const BICARBONATE: Test = test("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", "mmol/L", 0, Some(20), Some(29), 25, 2);
#[rustfmt::skip]
pub(crate) const ERYTHROCYTES: Test = test("789-8", "Erythrocytes [#/volume] in Blood by Automated count", "10*6/uL", "10*6/uL", 2, Some(400), Some(560), 475, 32);
#[rustfmt::skip]
pub(crate) const MCV: Test = test("787-2", "MCV [Entitic volume] by Automated count", "fL", "fL", 0, Some(80), Some(100), 90, 4);

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
    tests: &[
        GLUCOSE,
        UREA,
        CREATININE,
        EGFR,
        SODIUM,
        POTASSIUM,
        CHLORIDE,
        BICARBONATE,
        CALCIUM,
        PROTEIN,
        ALBUMIN,
        BILIRUBIN,
        ALP,
        ALT,
        AST,
    ],
};
pub(crate) const LIPIDS: Panel = Panel {
    loinc: "24331-1",
    display: "Lipid 1996 panel - Serum or Plasma",
    tests: &[CHOLESTEROL, TRIGLYCERIDE, HDL, LDL],
};
pub(crate) const COUNT: Panel = Panel {
    loinc: "58410-2",
    display: "CBC panel - Blood by Automated count",
    tests: &[LEUKOCYTES, ERYTHROCYTES, HEMOGLOBIN, HEMATOCRIT, MCV, PLATELETS],
};
