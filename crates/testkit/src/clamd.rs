//! A malware scanner as ClamAV's daemon speaks, in few lines: it finds what contains a
//! given word, in streams that are not too long. For tests alone.
#![expect(clippy::unwrap_used, reason = "a scanner that can't be served fails its test")]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What the scanner takes for malware.
pub const INFECTED: &[u8] = b"X5-PHIAL-TEST-MALWARE";

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It scans.
    Scans,
    /// It says that something went wrong.
    Fails,
    /// It closes the connection without a verdict.
    HangsUp,
    /// It answers cut short.
    Mumbles,
}

/// A running scanner.
#[derive(Clone)]
pub struct FakeClamd {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    limit: usize,
    scans: Arc<AtomicUsize>,
}

impl FakeClamd {
    /// Starts one on a free port, which takes streams of at most `limit` bytes. It serves
    /// until the process ends.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start(limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scanner = FakeClamd {
            address,
            mood: Arc::new(Mutex::new(Mood::Scans)),
            limit,
            scans: Arc::default(),
        };
        let serving = scanner.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let scanner = serving.clone();
                thread::spawn(move || scanner.scan(stream));
            }
        });
        scanner
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// It behaves so from now on.
    pub fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// How many scans were begun.
    #[must_use]
    pub fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }

    fn scan(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut command = [0; 10];
        stream.read_exact(&mut command)?;
        let _ = self.scans.fetch_add(1, Ordering::SeqCst);
        if &command != b"zINSTREAM\0" {
            return stream.write_all(b"UNKNOWN COMMAND\0");
        }
        let mut all = Vec::new();
        loop {
            let mut len = [0; 4];
            stream.read_exact(&mut len)?;
            let len = u32::from_be_bytes(len) as usize;
            if len == 0 {
                break;
            }
            let mut piece = vec![0; len];
            stream.read_exact(&mut piece)?;
            all.extend_from_slice(&piece);
            if all.len() > self.limit {
                return stream.write_all(b"INSTREAM size limit exceeded. ERROR\0");
            }
        }
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        match mood {
            Mood::Fails => stream.write_all(b"stream: Can't allocate memory ERROR\0"),
            Mood::HangsUp => Ok(()),
            Mood::Mumbles => stream.write_all(b"stream: O"),
            Mood::Scans if all.windows(INFECTED.len()).any(|w| w == INFECTED) => {
                stream.write_all(b"stream: Phial.Test-1 FOUND\0")
            }
            Mood::Scans => stream.write_all(b"stream: OK\0"),
        }
    }
}
