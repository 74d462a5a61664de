//! Trains the compression dictionaries that are part of the sealed format.
//!
//! ```text
//! cargo run --release -p phial-crypto --example train_dictionary -- INPUT OUTPUT [OTHER]
//! ```
//!
//! INPUT is a directory with one file of texts a kind, each text behind its length (u32,
//! little-endian), as `phial-synth`'s example `fragments` writes them. One dictionary a
//! file is written to the directory OUTPUT; none is overwritten, for a dictionary in use
//! is part of the format. With OTHER, another such directory, it is shown what the texts
//! there take on average with each.
//!
//! Refuses real data only in that nobody may give it any: what a dictionary holds can be
//! read by everyone who has the program.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// As the packing does it.
const LEVEL: i32 = 6;
/// More samples take longer and no longer make a better dictionary.
const MOST_SAMPLE_BYTES: usize = 48 << 20;
/// What a frame with one block adds to the block: magic number, frame and block header.
const FRAME: usize = 9;

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

/// How large a dictionary is made, by kind: where most bytes are, most pay.
fn size_of(kind: &str) -> usize {
    match kind {
        "header" | "contact" | "identifier" | "government-identifier" => 8 << 10,
        "administrative" | "clinical" | "financial" | "laboratory" => 48 << 10,
        _ => 24 << 10,
    }
}

fn run(arguments: Vec<PathBuf>) -> io::Result<()> {
    let (input, output, other) = match arguments.as_slice() {
        [input, output] => (input, output, None),
        [input, output, other] => (input, output, Some(other)),
        _ => return Err(io::Error::other("usage: train_dictionary INPUT OUTPUT [OTHER]")),
    };
    fs::create_dir_all(output)?;
    let mut kinds = fs::read_dir(input)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    // The same input gives the same dictionary.
    kinds.sort();
    for file in kinds {
        let Some(kind) = file.file_name().and_then(|n| n.to_str()) else { continue };
        let samples = texts(&file)?;
        let all: usize = samples.iter().map(Vec::len).sum();
        let step = all.div_ceil(MOST_SAMPLE_BYTES).max(1);
        let samples: Vec<Vec<u8>> = samples.into_iter().step_by(step).collect();
        let dictionary = match zstd::dict::from_samples(&samples, size_of(kind).min(all / 4)) {
            Ok(dictionary) => dictionary,
            Err(error) => {
                writeln!(io::stdout(), "{kind}: none from {} texts: {error}", samples.len())?;
                continue;
            }
        };
        let path = output.join(format!("{kind}.zstd"));
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(&dictionary)?;
        write!(io::stdout(), "{kind}: {} bytes from {} texts", dictionary.len(), samples.len())?;
        write!(io::stdout(), "; these take {:.1}", average(&samples, &dictionary)?)?;
        if let Some(other) = other
            && let Ok(texts) = texts(&other.join(kind))
        {
            let taken = average(&texts, &dictionary)?;
            write!(io::stdout(), "; {} others {taken:.1}", texts.len())?;
        }
        writeln!(io::stdout())?;
    }
    Ok(())
}

fn texts(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let cut = || io::Error::other("a file of texts is cut");
    let bytes = fs::read(file)?;
    let mut rest = bytes.as_slice();
    let mut texts = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(io::Error::other)?;
        let (text, after) = after.split_at_checked(len).ok_or_else(cut)?;
        texts.push(text.to_vec());
        rest = after;
    }
    if rest.is_empty() { Ok(texts) } else { Err(cut()) }
}

/// What a text takes on average.
fn average(texts: &[Vec<u8>], dictionary: &[u8]) -> io::Result<f64> {
    let mut compressor = Compressor::with_dictionary(LEVEL, dictionary)?;
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    let mut taken = 0.0;
    for text in texts {
        let frame = compressor.compress(text)?.len().saturating_sub(FRAME);
        #[expect(clippy::cast_precision_loss, reason = "a length")]
        let len = frame.min(text.len()) as f64;
        taken += len;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let count = texts.len().max(1) as f64;
    Ok(taken / count)
}
