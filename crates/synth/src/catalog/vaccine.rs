//! Vaccines by age.

/// One vaccine: CVX code, display, and the ages in months at which it is due.
#[derive(Debug)]
pub(crate) struct Vaccine {
    pub(crate) cvx: &'static str,
    pub(crate) display: &'static str,
    pub(crate) due: &'static [i32],
}

const fn vaccine(cvx: &'static str, display: &'static str, due: &'static [i32]) -> Vaccine {
    Vaccine { cvx, display, due }
}

/// The yearly one, of which the last few autumns are recorded.
pub(crate) const INFLUENZA: Vaccine =
    vaccine("140", "Influenza, seasonal, injectable, preservative free", &[]);

pub(crate) const VACCINES: &[Vaccine] = &[
    vaccine("08", "Hep B, adolescent or pediatric", &[0, 2, 6]),
    vaccine("20", "DTaP", &[2, 4, 6, 16, 52]),
    vaccine("10", "IPV", &[2, 4, 10, 52]),
    vaccine("133", "Pneumococcal conjugate PCV 13", &[2, 4, 12]),
    vaccine("03", "MMR", &[13, 50]),
    vaccine("21", "varicella", &[13, 50]),
    vaccine("83", "Hep A, ped/adol, 2 dose", &[14, 22]),
    vaccine("114", "meningococcal MCV4P", &[136, 196]),
    vaccine("115", "Tdap", &[134]),
    vaccine("113", "Td (adult) preservative free", &[258, 378, 498, 618, 738, 858]),
    vaccine("121", "zoster", &[612]),
    vaccine("33", "pneumococcal polysaccharide vaccine, 23 valent", &[785]),
];
