//! Free text as clinicians write it, with the truth beside: which bytes of it tell who
//! the patient is. De-identification is measured against these spans.
//!
//! Templates hold placeholders: `{name}`, `{given}`, `{nick}`, `{title}` (Mr. or Ms. and
//! the family name; a child's first name), `{he}`, `{his}`, `{him}` (capitalised when the
//! placeholder is), `{age}`, `{dob}`, `{mrn}`, `{member}`, `{phone}`, `{mobile}`,
//! `{email}`, `{street}`, `{city}`, `{zip}`, `{rel}` (a relative and how related),
//! `{kin}` (the relative's full name), `{job}`, `{employer}`, `{doctor}` (who writes),
//! `{gp}` (the patient's own physician), `{clinic}`, `{hospital}`, `{date}` (of the
//! visit), `{prev}` (of the one before), `{next}` (a day to come).

use crate::day::{Day, two};

/// What a span of a note tells. The kinds follow 45 CFR 164.514(b)(2)(i).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKind {
    /// The patient's name or a part of it, nicknames included.
    PatientName,
    /// The name of a relative or member of the household.
    RelativeName,
    /// The name of someone on the staff.
    StaffName,
    /// The patient's date of birth.
    BirthDate,
    /// Any other date of the patient's: visits, days to come.
    Date,
    /// An age over 89.
    Age,
    /// Street and number.
    Street,
    /// A city or town.
    City,
    /// A postal code.
    Zip,
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
    /// A medical record number.
    RecordNumber,
    /// A number by which an insurer knows the patient.
    MemberNumber,
    /// A business, school or other organization that employs or teaches the patient.
    Employer,
    /// A clinic, ward or hospital.
    Facility,
}

/// A stretch of a note that identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins, in bytes of the note's text.
    pub start: usize,
    /// How many bytes it has.
    pub len: usize,
    /// What it tells.
    pub kind: SpanKind,
}

/// One piece of free text of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The record: `DocumentReference/` and its logical id.
    pub resource: String,
    /// The element that holds the text. The data of an attachment is the base64 of it.
    pub element: &'static str,
    /// The text.
    pub text: String,
    /// Its identifying spans, in order, none overlapping.
    pub spans: Vec<Span>,
}

/// Text being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) spans: Vec<Span>,
}

impl Text {
    /// Adds text that identifies nobody.
    pub(crate) fn plain(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds text that identifies.
    pub(crate) fn mark(&mut self, kind: SpanKind, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.spans.push(Span { start: self.text.len(), len: text.len(), kind });
            self.text.push_str(text);
        }
        self
    }

    /// Adds a whole number.
    pub(crate) fn number(&mut self, n: i64) -> &mut Self {
        crate::json::Decimal(n, 0).write(&mut self.text);
        self
    }

    /// Adds a number counted in its last decimal.
    pub(crate) fn decimal(&mut self, n: i64, decimals: u32) -> &mut Self {
        crate::json::Decimal(n, decimals).write(&mut self.text);
        self
    }

    /// Adds a template, each placeholder filled in.
    pub(crate) fn fill(&mut self, template: &str, mut put: impl FnMut(&mut Text, &str)) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            self.plain(before);
            let Some((name, after)) = after.split_once('}') else {
                self.plain(after);
                return;
            };
            put(self, name);
            rest = after;
        }
        self.plain(rest);
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A date as people write it, in one of six ways.
pub(crate) fn written(day: Day, way: u64) -> String {
    let (year, month, date) = day.parts();
    let name = MONTHS.get((month - 1) as usize).copied().unwrap_or("January");
    let mut text = String::with_capacity(20);
    match way % 6 {
        0 | 1 => {
            two(&mut text, month);
            text.push('/');
            two(&mut text, date);
            text.push_str(&format!("/{year}"));
        }
        2 => text = format!("{month}/{date}/{:02}", year % 100),
        3 => text = format!("{name} {date}, {year}"),
        4 => text = format!("{date} {} {year}", name.get(..3).unwrap_or(name)),
        _ => day.write(&mut text),
    }
    text
}

/// A telephone number as people write it, in one of four ways.
pub(crate) fn dialled(number: &str, way: u64) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    let part = |from: usize, to: usize| -> String {
        digits.get(from..to).unwrap_or_default().iter().collect()
    };
    let (area, exchange, line) = (part(0, 3), part(3, 6), part(6, 10));
    match way % 4 {
        0 => number.to_owned(),
        1 => format!("{area}-{exchange}-{line}"),
        2 => format!("{area}.{exchange}.{line}"),
        _ => format!("+1 {area} {exchange} {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_spans() {
        let mut text = Text::default();
        text.fill("Seen {name}, {age}.", |t, name| {
            match name {
                "name" => t.mark(SpanKind::PatientName, "Ana Solís"),
                _ => t.plain("41"),
            };
        });
        assert_eq!(text.text, "Seen Ana Solís, 41.");
        assert_eq!(text.spans, [Span { start: 5, len: 10, kind: SpanKind::PatientName }]);
    }

    #[test]
    fn dates_and_numbers_are_written_in_several_ways() {
        let day = Day::new(2025, 3, 9);
        let ways: Vec<String> = (0..6).map(|w| written(day, w)).collect();
        assert_eq!(ways.get(2).map(String::as_str), Some("3/9/25"));
        assert_eq!(ways.get(3).map(String::as_str), Some("March 9, 2025"));
        assert_eq!(ways.get(5).map(String::as_str), Some("2025-03-09"));
        assert_eq!(dialled("(419) 555-0123", 2), "419.555.0123");
    }
}
