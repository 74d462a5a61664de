//! Log-ins while somebody floods the door: 1,000 attempts a second with wrong passwords
//! from this machine, and beside them a person who logs in from the usual browser.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use phial_testkit::browser::{Browser, PASSWORD};

use crate::report::{Row, median, percentile};
use crate::server::{self, Server};

/// Attempts a second.
const FLOOD: u64 = 1_000;
/// Threads that make them.
const FLOODERS: u64 = 8;

/// The rows: how long a right password takes from a known browser, quiet and flooded, and
/// how many attempts the flood really made.
pub(crate) fn rows(
    phial: &Path,
    home: &Path,
    server: &Server,
    seconds: u64,
) -> anyhow::Result<Vec<Row>> {
    let ca = home.join("tls").join("ca.pem");
    let origin = format!("https://{}", server.address);
    let person = server::invite(phial, home, "bench")?;
    let mut browser = Browser::to(phial_testkit::world::client(&ca), &origin);
    let codes = browser.accept(&person);
    ensure!(codes.status == 200, "the invitation was not taken");
    let _ = browser.post("/", "/logout", &[]);
    let mut quiet = log_ins(&mut browser, Duration::from_secs(seconds.min(4)))?;

    let (over, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut flooded, attempts, took) = std::thread::scope(|scope| {
        for n in 0..FLOODERS {
            let (over, made, ca, origin) = (&over, &made, &ca, &origin);
            scope.spawn(move || flood(n, ca, origin, over, made));
        }
        let began = Instant::now();
        let flooded = log_ins(&mut browser, Duration::from_secs(seconds));
        let (attempts, took) = (made.load(Ordering::Relaxed), began.elapsed());
        over.store(true, Ordering::Relaxed);
        (flooded, attempts, took)
    });
    let flooded = flooded.as_mut().map_err(|e| anyhow::anyhow!("{e}"))?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = attempts as f64 / took.as_secs_f64();
    let what = "right password, known browser, beside a flood of wrong ones";
    Ok(vec![
        Row::limit("log-in flooded p99", what, percentile(flooded, 0.99), 5_000.0, "ms"),
        Row::note("log-in flooded", "median of the same", median(flooded), "ms"),
        Row::note("log-in quiet", "median without the flood", median(&mut quiet), "ms"),
        Row::note("log-in flood", "wrong attempts that were answered", rate, "attempts/s"),
    ])
}

/// Right passwords, one after the other; milliseconds each.
fn log_ins(browser: &mut Browser, how_long: Duration) -> anyhow::Result<Vec<f64>> {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < how_long {
        let page = browser.get("/login").text();
        let asked = Instant::now();
        let fields = [("user", "bench"), ("password", PASSWORD)];
        let answer = browser.answer(&page, "/login", &fields);
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 303, "a right password was answered {}", answer.status);
    }
    ensure!(!times.is_empty(), "no log-in was finished");
    Ok(times)
}

/// Wrong passwords at a steady rate, over many names.
fn flood(n: u64, ca: &Path, origin: &str, over: &AtomicBool, made: &AtomicU64) {
    let mut browser = Browser::to(phial_testkit::world::client(ca), origin);
    let page = browser.get("/login").text();
    let pause = Duration::from_micros(1_000_000 * FLOODERS / FLOOD);
    let (began, mut i) = (Instant::now(), 0u32);
    while !over.load(Ordering::Relaxed) {
        let user = format!("user-{}", (u64::from(i) * FLOODERS + n) % 500);
        let fields = [("user", user.as_str()), ("password", "a wrong password")];
        let _ = browser.answer(&page, "/login", &fields);
        made.fetch_add(1, Ordering::Relaxed);
        i += 1;
        if let Some(wait) = (pause * i).checked_sub(began.elapsed()) {
            #[expect(clippy::disallowed_methods, reason = "a load of its own, at its own pace")]
            std::thread::sleep(wait);
        }
    }
}
