//! Trains the compression dictionary that is part of the sealed format.
//!
//! ```text
//! cargo run --release -p phial-crypto --example train_dictionary -- INPUT OUTPUT [SIZE]
//! ```
//!
//! INPUT is a file of fragments, one per line (the segments of synthetic records,
//! as they are sealed), or a directory of such files. OUTPUT is never overwritten:
//! a dictionary in use is part of the format. SIZE is at most 32768, the default.
//! Refuses real data only in that nobody may give it any: what the dictionary
//! holds can be read by everyone who has the program.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const LARGEST: usize = 32 << 10;
/// More samples take longer and no longer make a better dictionary.
const MOST_SAMPLES: usize = 200_000;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads a failure to write to standard error.
            let _ = writeln!(io::stderr(), "train_dictionary: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<PathBuf>) -> io::Result<()> {
    let usage = || io::Error::other("usage: train_dictionary INPUT OUTPUT [SIZE]");
    let (input, output, size) = match arguments.as_slice() {
        [input, output] => (input, output, LARGEST),
        [input, output, size] => {
            let size = size.to_str().and_then(|s| s.parse().ok()).ok_or_else(usage)?;
            (input, output, size)
        }
        _ => return Err(usage()),
    };
    if !(256..=LARGEST).contains(&size) {
        return Err(io::Error::other("SIZE is from 256 to 32768"));
    }

    let mut samples: Vec<Vec<u8>> = Vec::new();
    for file in files(input)? {
        samples.extend(
            fs::read(file)?.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec),
        );
    }
    let step = samples.len().div_ceil(MOST_SAMPLES).max(1);
    let samples: Vec<Vec<u8>> = samples.into_iter().step_by(step).collect();
    let dictionary = zstd::dict::from_samples(&samples, size)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(output)?;
    file.write_all(&dictionary)?;
    writeln!(io::stdout(), "{} bytes from {} fragments", dictionary.len(), samples.len())
}

fn files(input: &Path) -> io::Result<Vec<PathBuf>> {
    if !input.is_dir() {
        return Ok(vec![input.to_owned()]);
    }
    let mut files = fs::read_dir(input)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|f| f.is_file());
    // The same input gives the same dictionary.
    files.sort();
    Ok(files)
}
