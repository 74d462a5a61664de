//! Times sealing and opening of a 1.2 KB record in three parts, on one thread.
//!
//! ```text
//! cargo run --release -p phial-crypto --example seal_timing
//! ```

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use phial_base::{KeyHandle, RowId, SystemRng, TenantId, Version};
use phial_crypto::{
    Error, RecordKey, RecordName, SecretKey, Text, locate, row_id, seal_record, unlock_record,
};

const ROUNDS: u32 = 50_000;

const ADMINISTRATIVE: &str = r#""resourceType":"Observation","id":"7f1c6c1e-3a54-4b8e-9a90-2b1f0d6c5e11","meta":{"versionId":"1","lastUpdated":"2026-03-04T09:12:44.120Z","profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-vital-signs"]},"status":"final","subject":{"reference":"Patient/0b6e2f3c-8a51-4f0e-8a76-51b8a8f0b1d2"},"encounter":{"reference":"Encounter/e4c1d8a2-6a1f-4f7b-9a0e-7d2c4b1a9f63"}"#;
const LABORATORY: &str = r#""category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"}],"text":"Heart rate"},"effectiveDateTime":"2026-03-04T09:10:00-05:00","issued":"2026-03-04T09:12:44.120-05:00","valueQuantity":{"value":72,"unit":"/min","system":"http://unitsofmeasure.org","code":"/min"}"#;
const NOTES: &str = r#""note":[{"text":"Measured sitting, after five minutes of rest; the patient reports no palpitations and feels well today."}]"#;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rng = SystemRng::new();
    let tenant = TenantId::new("default")?;
    let (patient, locator_key, id_key) =
        (SecretKey::random(&rng), SecretKey::random(&rng), SecretKey::random(&rng));
    let name = RecordName { tenant: &tenant, row: RowId([7; 16]), version: Version(1) };
    let key = RecordKey { handle: KeyHandle([9; 16]), version: 1, key: &patient };
    // Ids, times and a plan.
    let dense: [u8; 45] = std::array::from_fn(|n| (n * 151 % 251) as u8);
    let header = Text { dense: &dense, text: &[0, 0x12, 0, 0, 0x14, 0x10, 0, 9, 0, 9, 10] };
    let parts = [
        (16, Text { dense: &dense[..16], text: ADMINISTRATIVE.as_bytes() }),
        (25, Text { dense: &dense[..4], text: LABORATORY.as_bytes() }),
        (26, Text::plain(NOTES.as_bytes())),
    ];
    let seal = || seal_record(&name, &key, &locator_key, header, &parts, &rng);
    let open = |blob: Vec<u8>| {
        let locator = locate(&blob, &name, &locator_key)?;
        unlock_record(blob, &name, &locator, &patient)
    };
    let blob = seal()?;

    let mut out = io::stdout();
    let plain: usize = parts.iter().map(|(_, t)| t.dense.len() + t.text.len()).sum();
    writeln!(out, "{plain} bytes in {} parts, blob of {} bytes", parts.len(), blob.len())?;
    time(&mut out, "row id", || Ok(row_id(&id_key, "Observation", "7f1c6c1e")))?;
    time(&mut out, "seal", seal)?;
    time(&mut out, "locate and unlock", || open(blob.clone()))?;
    time(&mut out, "locate, unlock and open 3 parts", || {
        let record = open(blob.clone())?;
        for part in [16, 25, 26] {
            black_box(record.open(part)?);
        }
        Ok(())
    })?;
    Ok(())
}

fn time<T>(
    out: &mut impl Write,
    what: &str,
    mut work: impl FnMut() -> Result<T, Error>,
) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..ROUNDS / 10 {
        black_box(work()?);
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(work()?);
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    writeln!(out, "{micros:8.2} µs  {what}")?;
    Ok(())
}
