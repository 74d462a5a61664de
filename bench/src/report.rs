//! The table that a benchmark prints.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

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

pub(crate) fn print(rows: &[Row], stored: u64, runs: usize, seconds: u64) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\nTLS, durable audit, encryption and policy on; load generator on the same {cores} cores; \
         {stored} resources; medians of {runs} runs of {seconds} s\n"
    );
    println!("| row | measured | budget | | what |");
    println!("|---|---|---|---|---|");
    for r in rows {
        let (budget, held) = match r.budget {
            Some((b, true)) => (format!(">= {b:.0}"), if r.value >= b { "held" } else { "MISSED" }),
            Some((b, false)) => {
                (format!("<= {b:.0}"), if r.value <= b { "held" } else { "MISSED" })
            }
            None => (String::new(), ""),
        };
        println!("| {} | {:.1} {} | {budget} | {held} | {} |", r.name, r.value, r.unit, r.what);
    }
}
