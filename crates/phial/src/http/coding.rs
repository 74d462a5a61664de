//! Content codings: gzip, zstd and br, of answers when the client asks (`Accept-Encoding`)
//! and of bodies when it says so (`Content-Encoding`; RFC 9110 §8.4, §12.5.3). It refuses
//! bodies that grow beyond what a body may be, before they have grown.
//!
//! An answer that is compressed tells by its length how well its parts fit each other
//! (CRIME, BREACH). Why that is held to be safe here, and what the tail of white space is
//! for: decision 60.

use std::io::{self, Read, Write};

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderValue};
use futures_util::StreamExt as _;
use phial_base::Rng;

use super::negotiate::weight;

/// What `Accept-Encoding` of a refusal says (RFC 9110 §15.5.16).
pub(crate) const UNDERSTOOD: &str = "zstd, gzip, br";

/// Shorter bodies go as they are: they would fit in one packet either way.
pub(crate) const LEAST: u64 = 1024;

/// A coding that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878; the window is within RFC 9659's 8 MiB.
    Zstd,
    /// RFC 1952
    Gzip,
    /// RFC 7932
    Brotli,
}

impl Coding {
    /// What costs least comes first.
    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Gzip, Coding::Brotli];

    const fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        match name {
            "x-gzip" => Some(Coding::Gzip),
            _ => Coding::ALL.into_iter().find(|c| c.name() == name),
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// The coding that the client wants its answer in, if any.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let mut best: Option<(u16, Coding)> = None;
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let said: Vec<(String, u16)> = lines
        .flat_map(|line| line.split(','))
        .map(|item| {
            let (name, rest) = item.split_once(';').unwrap_or((item, ""));
            let q = rest.trim().strip_prefix("q=").or_else(|| rest.trim().strip_prefix("Q="));
            (name.trim().to_ascii_lowercase(), weight(q))
        })
        .collect();
    for coding in Coding::ALL {
        let named = said.iter().find(|(name, _)| Coding::of_name(name) == Some(coding));
        // Anything at all: the one that everybody reads.
        let any = || said.iter().find(|(name, _)| name == "*" && coding == Coding::Gzip);
        let Some((_, weight)) = named.or_else(any) else { continue };
        if *weight > 0 && best.is_none_or(|(w, _)| *weight > w) {
            best = Some((*weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

/// Compresses piece by piece.
enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3)?),
            Coding::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(4),
            )),
            Coding::Brotli => {
                Encoder::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 8192, 4, 20)))
            }
        })
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Zstd(e) => e.write_all(bytes),
            Encoder::Gzip(e) => e.write_all(bytes),
            Encoder::Brotli(e) => e.write_all(bytes),
        }
    }

    /// What has come out since it was last asked.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Encoder::Zstd(e) => e.get_mut(),
            Encoder::Gzip(e) => e.get_mut(),
            Encoder::Brotli(e) => e.get_mut(),
        })
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Zstd(e) => e.finish(),
            Encoder::Gzip(e) => e.finish(),
            Encoder::Brotli(e) => Ok(e.into_inner()),
        }
    }
}

/// A whole body, compressed, with `tail` at its end.
pub(crate) fn encode(coding: Coding, body: &[u8], tail: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(coding)?;
    encoder.push(body)?;
    encoder.push(tail)?;
    encoder.finish()
}

/// A body that comes piece by piece, compressed as it comes.
pub(crate) fn encode_stream(coding: Coding, body: Body) -> io::Result<Body> {
    let start = (body.into_data_stream(), Some(Encoder::new(coding)?));
    let stream = futures_util::stream::try_unfold(start, |(mut source, encoder)| async move {
        let Some(mut encoder) = encoder else { return Ok(None) };
        loop {
            let Some(piece) = source.next().await else {
                return Ok::<_, axum::BoxError>(Some((encoder.finish()?, (source, None))));
            };
            encoder.push(&piece?)?;
            let out = encoder.take();
            if !out.is_empty() {
                return Ok(Some((out, (source, Some(encoder)))));
            }
        }
    });
    Ok(Body::from_stream(stream))
}

/// White space of a length and kind that nobody can foretell: at the end of JSON it means
/// nothing, and hides what few bytes more or less would tell.
pub(crate) fn tail(rng: &dyn Rng) -> Vec<u8> {
    let mut random = [0u8; 33];
    rng.fill(&mut random);
    let [length, symbols @ ..] = random;
    let spaces = symbols.iter().flat_map(|byte| {
        [0, 2, 4, 6].map(|shift| match (byte >> shift) & 3 {
            0 => b' ',
            1 => b'\t',
            2 => b'\n',
            _ => b'\r',
        })
    });
    spaces.take(usize::from(length & 127)).collect()
}

/// Why a body has no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecoded {
    /// Its coding is not spoken.
    Unknown,
    /// It grows beyond the limit.
    TooLarge,
    /// It is not what it says.
    Broken,
}

/// The coding of a body; `None` when it comes as it is.
pub(crate) fn sent(headers: &HeaderMap) -> Result<Option<Coding>, Undecoded> {
    let mut found = None;
    for line in headers.get_all(header::CONTENT_ENCODING) {
        let line = line.to_str().map_err(|_| Undecoded::Unknown)?;
        for name in line.split(',').map(|n| n.trim().to_ascii_lowercase()) {
            if name.is_empty() || name == "identity" {
                continue;
            }
            let coding = Coding::of_name(&name).ok_or(Undecoded::Unknown)?;
            // One in the other is how bombs are made.
            if found.replace(coding).is_some() {
                return Err(Undecoded::Unknown);
            }
        }
    }
    Ok(found)
}

/// What a body unpacks to, when that is at most `limit` bytes. No more than those are
/// ever held, and a window of 8 MiB for zstd, 16 MiB for br.
pub(crate) fn decode(coding: Coding, body: &[u8], limit: usize) -> Result<Bytes, Undecoded> {
    if body.is_empty() {
        return Err(Undecoded::Broken);
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    let read = match coding {
        Coding::Gzip => flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut out),
        Coding::Brotli => brotli::Decompressor::new(body, 8192).take(most).read_to_end(&mut out),
        Coding::Zstd => zstd::stream::read::Decoder::with_buffer(body)
            .and_then(|mut d| d.window_log_max(23).map(|()| d))
            .and_then(|d| d.take(most).read_to_end(&mut out)),
    };
    match read {
        Ok(_) if out.len() > limit => Err(Undecoded::TooLarge),
        Ok(_) => Ok(Bytes::from(out)),
        Err(_) => Err(Undecoded::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phial_base::SystemRng;
    use proptest::prelude::*;

    fn accept(text: &str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
        wanted(&headers)
    }

    #[test]
    fn an_answer_is_in_the_coding_that_the_client_likes_best() {
        assert_eq!(wanted(&HeaderMap::new()), None);
        for (text, expected) in [
            ("", None),
            ("identity", None),
            ("deflate, compress", None),
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("ZSTD", Some(Coding::Zstd)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate, br", Some(Coding::Gzip)),
            ("gzip;q=0.5, br;q=1.0", Some(Coding::Brotli)),
            ("gzip;q=0, zstd;q=0", None),
            ("*", Some(Coding::Gzip)),
            ("*;q=0", None),
            ("gzip;q=0, *", None),
            ("br;q=0.1, *;q=0.5", Some(Coding::Gzip)),
        ] {
            assert_eq!(accept(text), expected, "{text}");
        }
    }

    #[test]
    fn a_body_has_one_coding_at_most() {
        let check = |lines: &[&str], expected| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
            }
            assert_eq!(sent(&headers), expected, "{lines:?}");
        };
        check(&[], Ok(None));
        check(&["identity"], Ok(None));
        check(&["GZip"], Ok(Some(Coding::Gzip)));
        check(&["identity, br"], Ok(Some(Coding::Brotli)));
        check(&["gzip, zstd"], Err(Undecoded::Unknown));
        check(&["gzip", "gzip"], Err(Undecoded::Unknown));
        check(&["deflate"], Err(Undecoded::Unknown));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        for coding in Coding::ALL {
            let bomb = encode(coding, &vec![b' '; 64 << 20], b"").unwrap();
            assert!(bomb.len() < 256 << 10, "{coding:?}: {}", bomb.len());
            assert_eq!(decode(coding, &bomb, 1 << 20), Err(Undecoded::TooLarge), "{coding:?}");
            let exact = encode(coding, &[b'x'; 1000], b"").unwrap();
            assert_eq!(decode(coding, &exact, 1000).unwrap().len(), 1000);
            assert_eq!(decode(coding, &exact, 999), Err(Undecoded::TooLarge));
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        let wide = encoder.finish().unwrap();
        assert_eq!(decode(Coding::Zstd, &wide, 2 << 20), Err(Undecoded::Broken));
    }

    #[test]
    fn tails_are_white_space_of_many_lengths() {
        let rng = SystemRng::new();
        let tails: Vec<Vec<u8>> = (0..200).map(|_| tail(&rng)).collect();
        assert!(tails.iter().flatten().all(|b| b" \t\r\n".contains(b)));
        let lengths: std::collections::BTreeSet<usize> = tails.iter().map(Vec::len).collect();
        assert!(lengths.len() > 40 && lengths.iter().all(|l| *l < 128), "{lengths:?}");
        let packed: std::collections::BTreeSet<usize> =
            tails.iter().map(|t| encode(Coding::Gzip, &[b'{'; 4000], t).unwrap().len()).collect();
        assert!(packed.len() > 20, "{packed:?}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(body in proptest::collection::vec(any::<u8>(), 0..5000), cut in 0usize..400) {
            for coding in Coding::ALL {
                let packed = encode(coding, &body, b"  ").unwrap();
                let found = decode(coding, &packed, 1 << 20).unwrap();
                prop_assert_eq!(&found[..], [&body[..], b"  "].concat());
                // Cut off anywhere, it is broken, never a part.
                let cut = packed.len().saturating_sub(1 + cut);
                prop_assert_eq!(decode(coding, &packed[..cut], 1 << 20), Err(Undecoded::Broken));
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in Coding::ALL {
                let _ = decode(coding, &bytes, 1 << 16);
            }
        }
    }
}
