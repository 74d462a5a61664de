//! Attacks on sealed streams, and the frozen bytes of suite 1.

use std::io::{Read, Write};

use phial_base::SeededRng;
use proptest::prelude::*;

use super::*;
use crate::sha256;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn name(tenant: &TenantId) -> StreamName<'_> {
    StreamName { purpose: "attachment", tenant, owner: b"owner-1", file: b"file-1" }
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8 | 1).collect()
}

fn seal_seeded(text: &[u8], seed: u64) -> Vec<u8> {
    let t = tenant("clinic-7");
    let mut w = SealingWriter::new(Vec::new(), &name(&t), &key(1), &SeededRng::new(seed)).unwrap();
    w.write_all(text).unwrap();
    let (out, sealed) = w.finish().unwrap();
    assert_eq!(sealed, Sealed { text: text.len() as u64, stream: out.len() as u64 });
    out
}

fn seal(text: &[u8]) -> Vec<u8> {
    seal_seeded(text, 1)
}

fn read_as(stream: &[u8], name: &StreamName<'_>, key: &SecretKey) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    StreamReader::new(stream, name, key)
        .and_then(|mut r| r.read_to_end(&mut out))
        .map_err(|e| e.to_string())?;
    Ok(out)
}

/// The text, read in both ways, which must agree.
fn open(stream: &[u8]) -> Result<Vec<u8>, String> {
    let t = tenant("clinic-7");
    let once = read_as(stream, &name(&t), &key(1));
    let any = open_anywhere(stream).map_err(|e| e.to_string());
    assert_eq!(once.is_ok(), any.is_ok(), "{once:?} {any:?}");
    if let Ok(once) = &once {
        assert!(*once == any.unwrap());
    }
    once
}

fn open_anywhere(stream: &[u8]) -> Result<Vec<u8>, Error> {
    let t = tenant("clinic-7");
    let shape = StreamShape::of(stream.len() as u64)?;
    let chunk = |n: u64| {
        let (at, len) = shape.place(n).unwrap();
        &stream[at as usize..at as usize + len]
    };
    let opened =
        OpenStream::new(&stream[..STREAM_HEADER], shape, chunk(shape.last()), &name(&t), &key(1))?;
    assert!(shape.place(shape.chunks).is_none());
    let mut all = Vec::new();
    // Backwards: no chunk needs the one before it.
    for n in (0..shape.chunks).rev() {
        let text = opened.chunk(n, chunk(n))?;
        all.splice(0..0, text.iter().copied());
    }
    assert_eq!(all.len() as u64, opened.text_len());
    Ok(all)
}

#[test]
fn suite_1_is_frozen() {
    // These bytes were also made by a second implementation, from the description alone.
    let stream = seal(b"hello");
    assert_eq!(stream.len(), 4185);
    assert_eq!(
        hex::encode(&stream[..96]),
        "01532deabf88729cb43995ab5a9cd49bf9b90a079904dc0645ecda9e47ce7345a9d2cb37805bdb24f891a60c0b797f02\
         4366f91a6c197fd50756a40fabc743560401acc3e67ea226db20597c6f8170962998575f08e763d9fb3ade08faadb5da"
    );
    assert_eq!(
        hex::encode(sha256(&stream)),
        "1ac4af191ca801ffa935380a2079fbb4073ac9f52fd98ab80214fefb2210c58b"
    );
    assert_eq!(open(&stream).unwrap(), b"hello");
    let stream = seal(&text(70_000));
    assert_eq!(stream.len(), 71_793);
    assert_eq!(
        hex::encode(sha256(&stream)),
        "1b88e1ea02959d95a4f50b585eac67fad84f29763e4127097a5d2725241967c2"
    );
}

#[test]
fn every_length_round_trips() {
    for len in [
        0,
        1,
        4095,
        4096,
        4097,
        STREAM_CHUNK - 1,
        STREAM_CHUNK,
        STREAM_CHUNK + 1,
        2 * STREAM_CHUNK - 1,
        2 * STREAM_CHUNK,
        2 * STREAM_CHUNK + 1,
        // Zeros fill more than a chunk.
        40 * STREAM_CHUNK + 1,
    ] {
        let stream = seal(&text(len));
        assert_eq!(stream.len() as u64, sealed_stream_len(len as u64), "{len}");
        assert!(open(&stream).unwrap() == text(len), "{len}");
    }
}

#[test]
fn lengths_fall_into_few_sizes_at_a_small_cost() {
    let mut sizes = std::collections::BTreeSet::new();
    for len in 0..(1u64 << 17) {
        let p = padded(len);
        assert!(p >= len && (len <= SMALLEST || p - len <= len / 8), "{len}");
        assert_eq!(padded(p), p, "{len}");
        sizes.insert(p);
    }
    // Padmé's count: some dozens where there were 131,072.
    assert!(sizes.len() < 120, "{}", sizes.len());
    let gib = (1u64 << 30) + 1;
    assert!(padded(gib) - gib <= gib / 32);
    assert_eq!(padded(70_000), 71_680);
}

#[test]
fn every_flipped_bit_is_refused() {
    let stream = seal(&text(100));
    // A whole stream bit by bit takes long: all of the header, then every 13th bit.
    let bits = (0..STREAM_HEADER * 8).chain((STREAM_HEADER * 8..stream.len() * 8).step_by(13));
    for bit in bits {
        let mut bad = stream.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn what_is_cut_or_grown_is_refused() {
    let stream = seal(&text(3 * STREAM_CHUNK));
    let chunks: Vec<usize> = (0..4).map(|n| STREAM_HEADER + n * SEALED_CHUNK).collect();
    // At chunks, around them, in them, and in the header.
    let cuts = chunks.iter().flat_map(|at| [at - 1, *at, at + 1, at + 24, at + 5000]);
    for cut in cuts.chain([0, 1, 64]).filter(|cut| *cut < stream.len()) {
        assert!(open(&stream[..cut]).is_err(), "{cut}");
    }
    for more in [1, 24, 25, 4120, SEALED_CHUNK] {
        let grown = [&stream[..], &vec![0; more]].concat();
        assert!(open(&grown).is_err(), "{more}");
    }
    // Its own chunk once more.
    let again = [&stream[..], &stream[chunks[2]..]].concat();
    assert!(open(&again).is_err());
}

#[test]
fn chunks_do_not_move_within_a_stream_or_between_two() {
    let (a, b) = (seal_seeded(&text(3 * STREAM_CHUNK), 1), seal_seeded(&text(3 * STREAM_CHUNK), 2));
    let part = |s: &[u8], n: usize| {
        let at = STREAM_HEADER + n * SEALED_CHUNK;
        s[at..(at + SEALED_CHUNK).min(s.len())].to_vec()
    };
    let put = |parts: &[Vec<u8>]| [a[..STREAM_HEADER].to_vec(), parts.concat()].concat();
    let p: Vec<_> = (0..3).map(|n| part(&a, n)).collect();
    assert!(open(&put(&p)).is_ok());
    for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [2, 1, 0], [0, 1, 1]] {
        let moved: Vec<_> = order.iter().map(|n| p[*n].clone()).collect();
        assert!(open(&put(&moved)).is_err(), "{order:?}");
    }
    assert!(open(&put(&[p[0].clone(), p[2].clone()])).is_err());
    for n in 0..3 {
        let mut mixed = p.clone();
        mixed[n] = part(&b, n);
        assert!(open(&put(&mixed)).is_err(), "{n}");
    }
    // The other's header over these chunks.
    assert!(open(&[&b[..STREAM_HEADER], &a[STREAM_HEADER..]].concat()).is_err());
}

#[test]
fn another_tenant_owner_file_purpose_or_key_is_refused() {
    let stream = seal(b"hello");
    let (mine, other) = (tenant("clinic-7"), tenant("clinic-8"));
    let right = name(&mine);
    assert!(read_as(&stream, &right, &key(1)).is_ok());
    for wrong in [
        StreamName { tenant: &other, ..right },
        StreamName { owner: b"owner-2", ..right },
        StreamName { file: b"file-2", ..right },
        StreamName { purpose: "export", ..right },
        // Items do not run into each other.
        StreamName { owner: b"owner-1f", file: b"ile-1", ..right },
    ] {
        assert!(read_as(&stream, &wrong, &key(1)).is_err(), "{wrong:?}");
    }
    let e = read_as(&stream, &right, &key(2)).unwrap_err();
    assert!(e.contains("could not be opened"), "{e}");
}

#[test]
fn a_stream_without_its_end_is_refused_after_the_text_so_far() {
    let t = tenant("clinic-7");
    let stream = seal(&text(2 * STREAM_CHUNK + 5));
    let mut r =
        StreamReader::new(&stream[..STREAM_HEADER + SEALED_CHUNK + 9], &name(&t), &key(1)).unwrap();
    let mut first = vec![0; STREAM_CHUNK];
    r.read_exact(&mut first).unwrap();
    assert!(first == text(STREAM_CHUNK));
    // No end of file, and nothing more however often it is asked.
    for _ in 0..3 {
        let e = r.read(&mut first).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_writer_that_was_not_finished_leaves_nothing_that_opens() {
    let t = tenant("clinic-7");
    let mut out = Vec::new();
    let mut w = SealingWriter::new(&mut out, &name(&t), &key(1), &SeededRng::new(1)).unwrap();
    w.write_all(&text(STREAM_CHUNK * 2)).unwrap();
    w.flush().unwrap();
    drop(w);
    assert_eq!(out.len(), STREAM_HEADER + SEALED_CHUNK);
    assert!(open(&out).is_err());
}

#[test]
fn two_seals_of_one_text_share_nothing() {
    let (a, b) = (seal_seeded(&text(9000), 1), seal_seeded(&text(9000), 2));
    assert_eq!(a.len(), b.len());
    let same = a.iter().zip(&b).filter(|(x, y)| x == y).count();
    assert!(same < a.len() / 64, "{same} of {}", a.len());
}

#[test]
fn a_length_that_no_stream_has_is_refused() {
    for len in [0, 1, 64, 65, 66, 65 + 24, 65 + SEALED_CHUNK as u64 + 24, u64::MAX] {
        assert!(StreamShape::of(len).is_err(), "{len}");
    }
    let shape = StreamShape::of(71_793).unwrap();
    assert_eq!(shape.place(0), Some((65, SEALED_CHUNK)));
    assert_eq!(shape.place(1), Some((65 + 65_560, 6168)));
    assert_eq!(shape.place(2), None);
    assert_eq!(shape.place(u64::MAX), None);
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_one_stream(
        len in 0usize..200_000,
        cuts in proptest::collection::vec(0usize..200_000, 0..12),
    ) {
        let all = text(len);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(len)).collect();
        cuts.extend([0, len]);
        cuts.sort_unstable();
        let t = tenant("clinic-7");
        let (mut sealer, header) = StreamSealer::new(&name(&t), &key(1), &SeededRng::new(1));
        let mut out = header.to_vec();
        for pair in cuts.windows(2) {
            sealer.push(&all[pair[0]..pair[1]], &mut out).unwrap();
        }
        for chunk in sealer.finish() {
            prop_assert!(chunk.len() <= SEALED_CHUNK);
            out.extend_from_slice(&chunk);
        }
        prop_assert!(out == seal(&all));
        prop_assert!(open(&out).unwrap() == all);
    }

    #[test]
    fn arbitrary_bytes_open_as_nothing(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..5000),
    ) {
        if let Some(b) = bytes.first_mut() { *b = 1; }
        prop_assert!(open(&bytes).is_err());
    }
}
