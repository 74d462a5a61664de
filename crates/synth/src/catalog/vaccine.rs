//! Vaccines by age. CVX codes of the CDC; schedules as they were when they were due.

use crate::day::Day;

/// One vaccine: CVX code, display, the ages in months at which it is due, and the years
/// in which it was given.
#[derive(Debug)]
pub(crate) struct Vaccine {
    pub(crate) cvx: &'static str,
    pub(crate) display: &'static str,
    pub(crate) due: &'static [i64],
    pub(crate) from: i32,
    pub(crate) until: i32,
    /// By mouth instead of into a muscle.
    pub(crate) oral: bool,
}

const fn vaccine(cvx: &'static str, display: &'static str, due: &'static [i64]) -> Vaccine {
    Vaccine { cvx, display, due, from: 0, until: 9999, oral: false }
}

impl Vaccine {
    const fn years(mut self, from: i32, until: i32) -> Vaccine {
        (self.from, self.until) = (from, until);
        self
    }

    /// Whether it was given on a day.
    pub(crate) const fn available(&self, day: Day) -> bool {
        let (year, ..) = day.parts();
        self.from <= year && year <= self.until
    }
}

const ROTAVIRUS: Vaccine = Vaccine {
    cvx: "116",
    display: "rotavirus, pentavalent",
    due: &[2, 4, 6],
    from: 2006,
    until: 9999,
    oral: true,
};

#[rustfmt::skip]
pub(crate) const VACCINES: &[Vaccine] = &[
    vaccine("08", "Hep B, adolescent or pediatric", &[0, 2, 6]).years(1992, 9999),
    ROTAVIRUS,
    vaccine("20", "DTaP", &[2, 4, 6, 16, 52]).years(1997, 9999),
    vaccine("49", "Hib (PRP-OMP)", &[2, 4, 13]).years(1991, 9999),
    vaccine("10", "IPV", &[2, 4, 10, 52]).years(1998, 9999),
    vaccine("133", "Pneumococcal conjugate PCV 13", &[2, 4, 6, 13]).years(2010, 2022),
    vaccine("215", "Pneumococcal conjugate PCV15, polysaccharide CRM197 conjugate, adjuvant, PF", &[2, 4, 6, 13]).years(2023, 9999),
    vaccine("03", "MMR", &[13, 50]),
    vaccine("21", "varicella", &[13, 50]).years(1996, 9999),
    vaccine("83", "Hep A, ped/adol, 2 dose", &[14, 22]).years(2000, 9999),
    vaccine("114", "meningococcal MCV4P", &[136, 196]).years(2005, 9999),
    vaccine("115", "Tdap", &[134]).years(2006, 9999),
    vaccine("165", "HPV9", &[138, 146]).years(2015, 9999),
    vaccine("113", "Td (adult) preservative free", &[258, 378, 498, 618, 738, 858]),
    vaccine("187", "zoster recombinant", &[604, 608]).years(2018, 9999),
    vaccine("33", "pneumococcal polysaccharide vaccine, 23 valent", &[785]).years(1997, 2021),
    vaccine("216", "Pneumococcal conjugate PCV20, polysaccharide CRM197 conjugate, adjuvant, PF", &[785]).years(2022, 9999),
];

/// The yearly one: each autumn's, by year; `older` is given from 65 on.
pub(crate) const fn influenza(year: i32, older: bool) -> (&'static str, &'static str) {
    match (older, year) {
        (true, ..=2023) => ("197", "influenza, high-dose, quadrivalent"),
        (true, _) => ("135", "Influenza, high dose seasonal, preservative-free"),
        (false, ..=2023) => ("150", "influenza, injectable, quadrivalent, preservative free"),
        (false, _) => ("140", "Influenza, seasonal, injectable, preservative free"),
    }
}

/// Against COVID-19, by season; for those from twelve years on.
pub(crate) const COVID: &[(Day, &str, &str)] = &[
    (Day::new(2021, 4, 10), "208", "COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose"),
    (Day::new(2021, 5, 4), "208", "COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose"),
    (Day::new(2023, 10, 5), "309", "COVID-19, mRNA, LNP-S, PF, tris-sucrose, 30 mcg/0.3 mL"),
    (Day::new(2024, 10, 8), "309", "COVID-19, mRNA, LNP-S, PF, tris-sucrose, 30 mcg/0.3 mL"),
];
