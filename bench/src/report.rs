//! The table that a benchmark prints.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use phial_base::Clock as _;

/// One measured row.
pub(crate) struct Row {
    name: String,
    what: String,
    value: f64,
    unit: &'static str,
    budget: Option<(f64, bool)>,
}

impl Row {
    /// A rate that should reach `budget`.
    pub(crate) fn rate(
        name: &str,
        what: &str,
        value: f64,
        budget: f64,
        unit: &'static str,
    ) -> Self {
        Row {
            name: name.to_owned(),
            what: what.to_owned(),
            value,
            unit,
            budget: Some((budget, true)),
        }
    }

    /// A cost that should stay within `budget`.
    pub(crate) fn limit(
        name: &str,
        what: &str,
        value: f64,
        budget: f64,
        unit: &'static str,
    ) -> Self {
        Row {
            name: name.to_owned(),
            what: what.to_owned(),
            value,
            unit,
            budget: Some((budget, false)),
        }
    }

    /// A figure without a budget.
    pub(crate) fn note(name: &str, what: &str, value: f64, unit: &'static str) -> Self {
        Row { name: name.to_owned(), what: what.to_owned(), value, unit, budget: None }
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

pub(crate) fn percentile(values: &mut [f64], p: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index from a fraction"
    )]
    let at = ((values.len() as f64 - 1.0) * p) as usize;
    values.get(at).copied().unwrap_or(0.0)
}

/// The rows as a dated table, with what was on and on what it was measured.
pub(crate) fn table(rows: &[Row], stored: u64, runs: usize, seconds: u64) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut out = format!(
        "## {}: {cores} cores, {stored} resources, medians of {runs} runs of {seconds} s\n\n\
         TLS, durable audit, encryption and policy on; load generator on the same cores.\n\n\
         | row | measured | budget | | what |\n|---|---|---|---|---|\n",
        phial_base::SystemClock.now().strftime("%Y-%m-%d")
    );
    for r in rows {
        let (budget, held) = match r.budget {
            Some((b, true)) => {
                (format!("≥ {}", figure(b)), if r.value >= b { "held" } else { "missed" })
            }
            Some((b, false)) => {
                (format!("≤ {}", figure(b)), if r.value <= b { "held" } else { "missed" })
            }
            None => (String::new(), ""),
        };
        let value = format!("{} {}", figure(r.value), r.unit);
        out.push_str(&format!(
            "| {} | {} | {budget} | {held} | {} |\n",
            r.name,
            value.trim_end(),
            r.what
        ));
    }
    out
}

/// A number as people read it: thousands apart, no digits that say nothing.
fn figure(value: f64) -> String {
    if value < 100.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn print(table: &str) {
    println!("\n{table}");
}

/// Puts the table before the first table of the file, so that the newest comes first.
///
/// # Errors
/// When the file can't be read or written.
pub(crate) fn write(file: &std::path::Path, table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let at = text.find("\n## ").map_or(text.len(), |at| at + 1);
    let (intro, rest) = text.split_at(at);
    std::fs::write(file, format!("{intro}{table}\n{rest}"))?;
    Ok(())
}
