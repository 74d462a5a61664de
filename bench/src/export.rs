//! How fast `$export` goes: from the kick-off to the manifest, every record written down.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::{self, Client};

/// Resources a second of one export of the whole system, and how many those were.
pub(crate) fn once(client: &Client) -> anyhow::Result<(f64, u64)> {
    let begun = Instant::now();
    let (head, _) = client.whole(&client::get("/fhir/$export").later())?;
    let place = header(&head, "content-location").context("no Content-Location")?;
    let path = place.find("/fhir/").and_then(|at| place.get(at..)).context("no path in it")?;
    let manifest = loop {
        let (head, body) = client.whole(&client::get(path))?;
        if !head.starts_with("HTTP/1.1 202") {
            break body;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let took = begun.elapsed().as_secs_f64();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let files = manifest.get("output").and_then(|o| o.as_array()).context("no files")?;
    let count: u64 = files.iter().filter_map(|f| f.get("count")?.as_u64()).sum();
    ensure!(count > 0, "nothing was exported");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok((count as f64 / took, count))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|l| l.split_once(':'));
    lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}
