//! Scanning for malware before anything is stored: the protocol of ClamAV's daemon
//! (clamd(8), command INSTREAM), over a Unix socket or TCP. It refuses to take anything
//! but a plain `OK` for one: no answer, an answer cut short, a limit of the scanner's, an
//! answer not understood are all "not scanned", and what was not scanned is not stored.
//!
//! One connection a scan: `zINSTREAM`, a zero byte, then pieces, each behind its length
//! (u32, big-endian), then a length of zero. The answer ends with a zero byte: `stream:
//! OK`, `stream: NAME FOUND`, or an error.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `host:port`. What is scanned crosses it unencrypted.
    Tcp(String),
}

/// A daemon that scans.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Where.
    pub address: Address,
    /// How long it may take for each piece, and for its answer.
    pub patience: Duration,
}

/// What the scanner said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It found nothing.
    Clean,
    /// It found something, which it calls so. At most 64 letters, digits and `._-/:`.
    Infected(String),
}

/// Nothing was said that can be relied on.
#[derive(Debug, thiserror::Error)]
#[error("the malware scanner did not answer: {0}")]
pub struct NotScanned(&'static str);

/// The longest piece that is sent at once.
const PIECE: usize = 64 * 1024;
/// The longest answer that is read.
const ANSWER: usize = 1024;

trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// One scan under way.
pub struct Scan {
    wire: Box<dyn Wire>,
    patience: Duration,
}

impl Scanner {
    /// Begins a scan.
    ///
    /// # Errors
    /// [`NotScanned`] when the daemon can't be reached.
    pub async fn begin(&self) -> Result<Scan, NotScanned> {
        let connected = async {
            Ok::<Box<dyn Wire>, std::io::Error>(match &self.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            })
        };
        let wire = within(self.patience, connected).await?;
        let mut scan = Scan { wire, patience: self.patience };
        scan.send(b"zINSTREAM\0").await?;
        Ok(scan)
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, NotScanned> {
    match timeout(patience, work).await {
        Ok(Ok(done)) => Ok(done),
        // The daemon closes when a stream is longer than its StreamMaxLength.
        Ok(Err(_)) => Err(NotScanned("the connection failed or was closed")),
        Err(_) => Err(NotScanned("it took too long")),
    }
}

impl Scan {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), NotScanned> {
        within(self.patience, self.wire.write_all(bytes)).await
    }

    /// Sends more of what is to be scanned.
    ///
    /// # Errors
    /// [`NotScanned`] when the daemon went away.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), NotScanned> {
        for piece in bytes.chunks(PIECE) {
            let len = u32::try_from(piece.len()).unwrap_or(0).to_be_bytes();
            self.send(&len).await?;
            self.send(piece).await?;
        }
        Ok(())
    }

    /// The end of what is to be scanned, and the verdict over it.
    ///
    /// # Errors
    /// [`NotScanned`] for anything but a verdict.
    pub async fn finish(mut self) -> Result<Verdict, NotScanned> {
        self.send(&[0; 4]).await?;
        let mut answer = Vec::new();
        let read = async {
            let mut byte = [0u8; 1];
            while answer.len() < ANSWER && self.wire.read(&mut byte).await? == 1 {
                match byte {
                    [0] => return Ok(true),
                    [b] => answer.push(b),
                }
            }
            Ok(false)
        };
        if !within(self.patience, read).await? {
            return Err(NotScanned("its answer was cut short"));
        }
        verdict(&answer).ok_or(NotScanned("its answer was no verdict"))
    }
}

fn verdict(answer: &[u8]) -> Option<Verdict> {
    let said = std::str::from_utf8(answer).ok()?.strip_prefix("stream: ")?;
    if said == "OK" {
        return Some(Verdict::Clean);
    }
    let name = said.strip_suffix(" FOUND")?;
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._-/:".contains(*c);
    Some(Verdict::Infected(name.chars().filter(plain).take(64).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verdict_is_one() {
        assert_eq!(verdict(b"stream: OK"), Some(Verdict::Clean));
        let found = |s: &str| Some(Verdict::Infected(s.to_owned()));
        assert_eq!(verdict(b"stream: Eicar-Signature FOUND"), found("Eicar-Signature"));
        assert_eq!(verdict(b"stream: a\nb{c}\x1b FOUND"), found("abc"));
        for other in [
            &b""[..],
            b"OK",
            b"stream: ",
            b"stream: OK ",
            b"stream: OK\n",
            b"stream: not OK",
            b"INSTREAM size limit exceeded. ERROR",
            b"stream: Can't allocate memory ERROR",
            b"stream: \xff FOUND",
        ] {
            assert_eq!(verdict(other), None, "{other:?}");
        }
    }
}
