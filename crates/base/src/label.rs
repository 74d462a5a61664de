//! Sensitivity labels (HL7 v3-ActCode, v3-ActReason), as they stand in `meta.security`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A sensitivity label that policies speak of. `Unknown` stands for every code
/// from a label system that is not listed here: such a record is denied (invariant 7).
///
/// The numbers are part of the sealed format: never reorder, only append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the HL7 code of the same spelling")]
pub enum Label {
    Unknown = 0,
    ETH = 1,
    SUD = 2,
    ETHUD = 3,
    OPIOIDUD = 4,
    HIV = 5,
    STD = 6,
    MH = 7,
    PSY = 8,
    PSYTHPN = 9,
    BH = 10,
    SDV = 11,
    SEX = 12,
    GDIS = 13,
    PREGNANT = 14,
    ADOL = 15,
    VIP = 16,
    EMP = 17,
    PRS = 18,
    Part2 = 19,
    Restricted = 20,
    VeryRestricted = 21,
    HTEST = 22,
    TBOO = 23,
    HIPAASelfPay = 24,
}

const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

impl Label {
    /// All labels, in the order of their numbers.
    pub const ALL: [Label; 25] = [
        Label::Unknown,
        Label::ETH,
        Label::SUD,
        Label::ETHUD,
        Label::OPIOIDUD,
        Label::HIV,
        Label::STD,
        Label::MH,
        Label::PSY,
        Label::PSYTHPN,
        Label::BH,
        Label::SDV,
        Label::SEX,
        Label::GDIS,
        Label::PREGNANT,
        Label::ADOL,
        Label::VIP,
        Label::EMP,
        Label::PRS,
        Label::Part2,
        Label::Restricted,
        Label::VeryRestricted,
        Label::HTEST,
        Label::TBOO,
        Label::HIPAASelfPay,
    ];

    /// The code as HL7 spells it; `Unknown` for [`Label::Unknown`].
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Label::Unknown => "Unknown",
            Label::ETH => "ETH",
            Label::SUD => "SUD",
            Label::ETHUD => "ETHUD",
            Label::OPIOIDUD => "OPIOIDUD",
            Label::HIV => "HIV",
            Label::STD => "STD",
            Label::MH => "MH",
            Label::PSY => "PSY",
            Label::PSYTHPN => "PSYTHPN",
            Label::BH => "BH",
            Label::SDV => "SDV",
            Label::SEX => "SEX",
            Label::GDIS => "GDIS",
            Label::PREGNANT => "PREGNANT",
            Label::ADOL => "ADOL",
            Label::VIP => "VIP",
            Label::EMP => "EMP",
            Label::PRS => "PRS",
            Label::Part2 => "42CFRPart2",
            Label::Restricted => "R",
            Label::VeryRestricted => "V",
            Label::HTEST => "HTEST",
            Label::TBOO => "TBOO",
            Label::HIPAASelfPay => "HIPAASelfPay",
        }
    }

    /// What a `meta.security` coding means for access. `None`: the coding carries
    /// no sensitivity (normal or lower confidentiality, a handling instruction, a
    /// marker that something was already taken out). A code that is not known is
    /// `Some(Label::Unknown)`, which no policy permits.
    #[must_use]
    pub fn from_coding(system: Option<&str>, code: Option<&str>) -> Option<Label> {
        let code = code.unwrap_or("");
        match system {
            Some(CONFIDENTIALITY) => match code {
                "U" | "L" | "M" | "N" => None,
                "R" => Some(Label::Restricted),
                "V" => Some(Label::VeryRestricted),
                _ => Some(Label::Unknown),
            },
            Some(ACT_REASON) => match code {
                "HTEST" => Some(Label::HTEST),
                // Purposes of use restrict what a recipient may do with the record;
                // they add no sensitivity of their own.
                "TREAT" | "ETREAT" | "BTG" | "HPAYMT" | "HOPERAT" | "HRESCH" | "PUBHLTH"
                | "PATRQT" | "HLEGAL" => None,
                _ => Some(Label::Unknown),
            },
            Some(OBSERVATION_VALUE) => match code {
                "REDACTED" | "SUBSETTED" | "MASKED" | "ANONYED" | "PSEUDED" => None,
                _ => Some(Label::Unknown),
            },
            Some(ACT_CODE) => match code {
                "AOD" | "AUDIT" | "DEID" | "ENCRYPT" | "MASK" | "MINEC" | "PERSISTLABEL"
                | "REDACT" | "NORDSCLCD" | "NODSCLCD" | "NOAUTH" | "NOREUSE" | "HIPAAROA"
                | "HIPAAAuth" => None,
                "HIPAAPsyNotes" => Some(Label::PSYTHPN),
                _ => Some(
                    Self::ALL
                        .into_iter()
                        .find(|l| {
                            l.code() == code
                                && !matches!(
                                    l,
                                    Label::Unknown
                                        | Label::Restricted
                                        | Label::VeryRestricted
                                        | Label::HTEST
                                )
                        })
                        .unwrap_or(Label::Unknown),
                ),
            },
            _ => Some(Label::Unknown),
        }
    }
}

/// A set of labels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelSet(u32);

impl LabelSet {
    /// No label: an ordinary record.
    pub const NONE: LabelSet = LabelSet(0);

    /// This set with `label` added.
    #[must_use]
    pub const fn with(self, label: Label) -> Self {
        LabelSet(self.0 | 1 << label as u32)
    }

    /// Labels in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        LabelSet(self.0 | other.0)
    }

    /// Whether `label` is in the set.
    #[must_use]
    pub const fn has(self, label: Label) -> bool {
        self.0 & (1 << label as u32) != 0
    }

    /// Whether there is no label.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The labels in the set.
    pub fn iter(self) -> impl Iterator<Item = Label> {
        Label::ALL.into_iter().filter(move |l| self.has(*l))
    }

    /// The set as bits, bit n for label number n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set from bits. A bit that no label has becomes [`Label::Unknown`], so a
    /// record labelled by a newer version is denied, not shown.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        let known = (1u32 << 25) - 1;
        if bits & !known == 0 { LabelSet(bits) } else { LabelSet(bits & known | 1) }
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<I: IntoIterator<Item = Label>>(iter: I) -> Self {
        iter.into_iter().fold(LabelSet::NONE, LabelSet::with)
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Label::code)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (i, l) in Label::ALL.into_iter().enumerate() {
            assert_eq!(l as usize, i);
        }
    }

    #[test]
    fn an_unknown_code_is_unknown_not_unlabelled() {
        assert_eq!(Label::from_coding(Some(ACT_CODE), Some("NEWCODE")), Some(Label::Unknown));
        assert_eq!(Label::from_coding(None, Some("N")), Some(Label::Unknown));
        assert_eq!(Label::from_coding(Some(CONFIDENTIALITY), Some("N")), None);
        assert_eq!(Label::from_coding(Some(ACT_CODE), Some("42CFRPart2")), Some(Label::Part2));
        assert_eq!(Label::from_coding(Some(ACT_CODE), Some("R")), Some(Label::Unknown));
        assert!(LabelSet::from_bits(1 << 30).has(Label::Unknown));
        assert!(LabelSet::from_bits(1 << 25).has(Label::Unknown));
        assert_eq!(LabelSet::from_bits(1 << 24), LabelSet::NONE.with(Label::HIPAASelfPay));
        assert_eq!(LabelSet::from_bits(1 << 23), LabelSet::NONE.with(Label::TBOO));
    }
}
