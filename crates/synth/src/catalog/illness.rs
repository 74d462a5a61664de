//! Illnesses: codes, who gets them, who follows them, what is prescribed, and what
//! clinicians write about them. Notes hold placeholders; `crate::note` lists them.

use super::laboratory::Test;
use crate::directory::Job;
use crate::shape::Labels;

mod acute;
mod chronic;
mod protected;

pub(crate) use acute::{ACUTE, BIRTH, MISCARRIAGE, NEWBORN, PNEUMONIA, PREGNANCY};
pub(crate) use chronic::CHRONIC;
pub(crate) use protected::{MILD, PROTECTED};

/// Who may get an illness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    Women,
    Men,
}

/// A medicine for an illness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drug {
    pub(crate) rxnorm: &'static str,
    pub(crate) display: &'static str,
    /// How much at a time, of what, and how often a day.
    pub(crate) amount: i64,
    pub(crate) unit: &'static str,
    pub(crate) daily: i64,
    /// Days of one supply.
    pub(crate) days: i64,
    /// Given as needed.
    pub(crate) as_needed: bool,
}

const fn drug(
    rxnorm: &'static str,
    display: &'static str,
    amount: i64,
    unit: &'static str,
    daily: i64,
    days: i64,
) -> Drug {
    Drug { rxnorm, display, amount, unit, daily, days, as_needed: false }
}

/// One tablet, so often a day, for 90 days.
const fn tablet(rxnorm: &'static str, display: &'static str, daily: i64) -> Drug {
    drug(rxnorm, display, 1, "tablet", daily, 90)
}

impl Drug {
    const fn as_needed(mut self) -> Drug {
        self.as_needed = true;
        self
    }
}

/// One illness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Illness {
    pub(crate) snomed: &'static str,
    pub(crate) display: &'static str,
    pub(crate) icd: &'static str,
    pub(crate) icd_display: &'static str,
    /// How plain people say it, within a sentence.
    pub(crate) plain: &'static str,
    pub(crate) chronic: bool,
    /// Earliest and latest age of onset in years.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// How many of a thousand have it (or, when acute, its weight among reasons of a
    /// visit): under 18, under 60, older.
    pub(crate) per_mille: [u64; 3],
    pub(crate) whom: Whom,
    /// Sensitivity labels of every record that tells of it.
    pub(crate) labels: Labels,
    /// Who follows it.
    pub(crate) by: Job,
    /// Visits for it in three years.
    pub(crate) visits: i64,
    /// Whether it may bring someone to the emergency department.
    pub(crate) urgent: bool,
    pub(crate) drugs: &'static [Drug],
    /// What is measured to follow it.
    pub(crate) tests: &'static [Test],
    /// What is aimed at.
    pub(crate) goal: &'static str,
    pub(crate) notes: &'static [&'static str],
}

/// An illness that stays: SNOMED CT, ICD-10-CM, plain name, earliest age, per mille.
const fn chronic(
    (snomed, display): (&'static str, &'static str),
    (icd, icd_display): (&'static str, &'static str),
    plain: &'static str,
    from: i64,
    per_mille: [u64; 3],
) -> Illness {
    Illness {
        snomed,
        display,
        icd,
        icd_display,
        plain,
        chronic: true,
        from,
        until: 95,
        per_mille,
        whom: Whom::All,
        labels: &[],
        by: Job::Family,
        visits: 0,
        urgent: false,
        drugs: &[],
        tests: &[],
        goal: "",
        notes: &[],
    }
}

/// An illness that passes: codes, plain name, weights, notes.
const fn acute(
    snomed: (&'static str, &'static str),
    icd: (&'static str, &'static str),
    plain: &'static str,
    per_mille: [u64; 3],
    notes: &'static [&'static str],
) -> Illness {
    let mut illness = chronic(snomed, icd, plain, 0, per_mille);
    illness.chronic = false;
    illness.notes = notes;
    illness
}

impl Illness {
    const fn only(mut self, whom: Whom) -> Illness {
        self.whom = whom;
        self
    }

    const fn until(mut self, age: i64) -> Illness {
        self.until = age;
        self
    }

    const fn since(mut self, age: i64) -> Illness {
        self.from = age;
        self
    }

    const fn labels(mut self, labels: Labels) -> Illness {
        self.labels = labels;
        self
    }

    /// Who follows it, in how many visits, towards what.
    const fn followed(mut self, by: Job, visits: i64, goal: &'static str) -> Illness {
        (self.by, self.visits, self.goal) = (by, visits, goal);
        self
    }

    const fn urgent(mut self) -> Illness {
        self.urgent = true;
        self
    }

    const fn drugs(mut self, drugs: &'static [Drug]) -> Illness {
        self.drugs = drugs;
        self
    }

    const fn tests(mut self, tests: &'static [Test]) -> Illness {
        self.tests = tests;
        self
    }

    const fn notes(mut self, notes: &'static [&'static str]) -> Illness {
        self.notes = notes;
        self
    }

    /// Whether someone of this sex and age may have it.
    pub(crate) fn fits(&self, female: bool, age: i64) -> bool {
        let sex = match self.whom {
            Whom::All => true,
            Whom::Women => female,
            Whom::Men => !female,
        };
        sex && self.from < age && (self.chronic || age <= self.until)
    }
}

/// Codes that other modules speak of.
pub(crate) const DIABETES: &str = "44054006";
pub(crate) const HYPERTENSION: &str = "59621000";
pub(crate) const LIPIDS: &str = "55822004";
pub(crate) const OBESITY: &str = "162864005";
pub(crate) const COPD: &str = "13645005";
pub(crate) const ASTHMA: &str = "195967001";
pub(crate) const HEART_FAILURE: &str = "88805009";
pub(crate) const FIBRILLATION: &str = "49436004";
pub(crate) const CORONARY: &str = "53741008";
pub(crate) const KIDNEY: &str = "433144002";
pub(crate) const ANEMIA: &str = "271737000";
pub(crate) const THYROID: &str = "40930008";
pub(crate) const GOUT: &str = "90560007";
pub(crate) const DEPRESSION: &str = "370143000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_illness_has_codes_and_notes() {
        let one = [BIRTH, MISCARRIAGE, NEWBORN, PNEUMONIA, PREGNANCY];
        for i in CHRONIC.iter().chain(ACUTE).chain(PROTECTED).chain(MILD).chain(&one) {
            assert!(i.snomed.bytes().all(|b| b.is_ascii_digit()), "{}", i.display);
            assert!(!i.icd.is_empty() && !i.notes.is_empty(), "{}", i.display);
            assert!(i.notes.iter().all(|n| n.len() > 20), "{}", i.display);
            assert!(i.visits == 0 || !i.goal.is_empty(), "{}", i.display);
        }
    }

    #[test]
    fn snomed_identifiers_pass_their_check_digit() {
        // Verhoeff's dihedral group of order ten, SNOMED CT release format 2.
        let times = |a: u8, b: u8| match (a < 5, b < 5) {
            (true, true) => (a + b) % 5,
            (true, false) => (a + b - 5) % 5 + 5,
            (false, true) => (a + 5 - b) % 5 + 5,
            (false, false) => (a + 5 - b) % 5,
        };
        let turn = |digit: u8, place: usize| {
            const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
            (0..place % 8).fold(digit, |d, _| STEP[d as usize])
        };
        for i in CHRONIC.iter().chain(ACUTE).chain(PROTECTED).chain(MILD) {
            let check = i
                .snomed
                .bytes()
                .rev()
                .enumerate()
                .fold(0, |c, (place, b)| times(c, turn(b - b'0', place)));
            assert_eq!(check, 0, "{} {}", i.snomed, i.display);
        }
    }
}
