//! What the synthetic world is made of: names, places, illnesses, tests, vaccines.
//! Codes are facts of SNOMED CT, LOINC, RxNorm, CVX and ICD-10-CM; every sentence and
//! every list of names is our own. Holds no record of anybody.

pub(crate) mod illness;
pub(crate) mod laboratory;
pub(crate) mod name;
pub(crate) mod place;
pub(crate) mod vaccine;
