use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use obs_types::{BucketSpan, CounterResetHint, LabelSet, NativeHistogram, stale_nan};
use proptest::prelude::*;

use super::bits::{BitReader, BitWriter};
use super::*;

type Read = BTreeMap<String, Vec<(i64, f64)>>;

/// Every series of a block folder, decoded.
fn read_block(folder: &Path) -> Result<Read, TsdbError> {
    let bytes = std::fs::read(folder.join("index")).unwrap();
    let index = Index::open("index", &bytes)?;
    let segment = std::fs::read(folder.join("chunks/000001")).unwrap();
    let mut out = Read::new();
    for series in index.series() {
        let series = series?;
        let samples = out.entry(series.labels.to_string()).or_default();
        for meta in &series.chunks {
            assert_eq!(meta.segment, 0);
            let chunk = chunk_at("chunks/000001", &segment, meta.offset)?;
            match chunk.samples("chunks/000001")? {
                Samples::Floats(all) => {
                    assert_eq!(all.first().map(|s| s.0), Some(meta.min_ms));
                    assert_eq!(all.last().map(|s| s.0), Some(meta.max_ms));
                    samples.extend(all);
                }
                Samples::Histograms(_) => panic!("no histograms were written"),
            }
        }
    }
    Ok(out)
}

/// A block made by Prometheus' own tool, and what is in it. `None` where the tool is absent.
fn block(folder: &Path) -> Option<(PathBuf, Read)> {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: promtool is not installed");
        return None;
    }
    let mut expected = Read::new();
    let mut text = String::from("# TYPE load gauge\n");
    for node in 0..40 {
        for step in 0..250 {
            // promtool cuts what half a second in binary does not hold.
            let t = 1_765_000_800_000 + step * 15_000 + 500 * i64::from(step % 7 == 0);
            let v = match (node % 4, step) {
                (0, _) => 5.0,
                (1, _) => f64::from(step as i32 * 3),
                (2, 9) => f64::NAN,
                (2, 10) => f64::NEG_INFINITY,
                (2, _) => (step as f64 * 0.7).sin() / 3.0,
                _ => step as f64 * 1e-300,
            };
            let seconds = t as f64 / 1000.0;
            let labels = format!("node=\"brick-{node:02}\",place=\"Zürich\"");
            text.push_str(&format!("load{{{labels}}} {v} {seconds:.3}\n"));
            let node = format!("brick-{node:02}");
            let pairs = [("__name__", "load"), ("node", node.as_str()), ("place", "Zürich")];
            let name = LabelSet::from_pairs(pairs).to_string();
            expected.entry(name).or_default().push((t, v));
        }
    }
    text.push_str("# EOF\n");
    let input = folder.join("input.om");
    std::fs::write(&input, text).unwrap();
    let out = folder.join("blocks");
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&input, &out])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut blocks: Vec<PathBuf> = std::fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("index").exists())
        .collect();
    blocks.sort();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    Some((blocks.remove(0), expected))
}

fn same(a: &Read, b: &Read) -> bool {
    let bits = |r: &Read| -> Vec<(String, Vec<(i64, u64)>)> {
        r.iter()
            .map(|(n, s)| {
                // promtool writes its own NaN.
                let value = |v: f64| if v.is_nan() { 0 } else { v.to_bits() };
                (n.clone(), s.iter().map(|(t, v)| (*t, value(*v))).collect())
            })
            .collect()
    };
    bits(a) == bits(b)
}

#[test]
fn blocks_of_prometheus_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let Some((block, expected)) = block(folder.path()) else { return };
    let read = read_block(&block).unwrap();
    assert_eq!(read.len(), 40);
    assert!(same(&read, &expected));
    let bytes = std::fs::read(block.join("tombstones")).unwrap();
    assert_eq!(read_tombstones("tombstones", &bytes).unwrap(), Tombstones::new());
}

#[test]
fn a_changed_byte_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let Some((block, expected)) = block(folder.path()) else { return };
    for name in ["index", "chunks/000001"] {
        let path = block.join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut found = 0;
        for at in (0..whole.len()).step_by(whole.len() / 150) {
            let mut bad = whole.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, &bad).unwrap();
            match read_block(&block) {
                Err(e) => {
                    found += 1;
                    assert!(e.to_string().starts_with(&format!("{name} at byte ")), "{e}");
                    assert!(e.offset <= whole.len() as u64, "{e}");
                }
                // Padding, and the sections that a full read does not need.
                Ok(read) => assert!(same(&read, &expected), "{name}: byte {at} went unnoticed"),
            }
        }
        assert!(found > 60, "{name}: {found} of 150 changes were noticed");
        for length in [0, 3, 40, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let e = read_block(&block).unwrap_err();
            assert_eq!(e.file, name, "cut at {length}: {e}");
        }
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(read_block(&block).is_ok());
}

#[test]
fn tombstones_and_their_checksum() {
    let mut bytes = vec![0x01, 0x30, 0xba, 0x30, 1];
    // Reference 300, from -1 to 2; reference 1, from 0 to 64.
    let body = [0xac, 0x02, 0x01, 0x04, 0x01, 0x00, 0x80, 0x01];
    bytes.extend(body);
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    let read = read_tombstones("tombstones", &bytes).unwrap();
    assert_eq!(read, Tombstones::from([(1, vec![(0, 64)]), (300, vec![(-1, 2)])]));
    bytes[7] ^= 1;
    let e = read_tombstones("tombstones", &bytes).unwrap_err();
    assert!(e.to_string().contains("tombstones at byte 13: checksum"), "{e}");
}

fn chunk(encoding: ChunkEncoding, data: &[u8]) -> Chunk<'_> {
    Chunk { encoding, data, offset: 0 }
}

/// Three samples of an integer histogram, bit by bit as the format page has them: the second
/// raises a bucket, the third marks staleness.
#[test]
fn integer_histograms() {
    let mut bits = BitWriter::default();
    bits.bits(3, 16);
    bits.bits(0b1000_0000, 8);
    // Zero threshold 2^-128: exponent -127 of a half, and 243.
    bits.bits(116, 8);
    bits.varbit_int(3);
    bits.varbit_uint(2);
    for (length, offset) in [(2, -1), (1, 4)] {
        bits.varbit_uint(length);
        bits.varbit_int(offset);
    }
    bits.varbit_uint(0);
    bits.varbit_int(1_765_000_000_000);
    bits.varbit_uint(7);
    bits.varbit_uint(1);
    bits.float(12.5);
    for bucket in [1, 2, -1] {
        bits.varbit_int(bucket);
    }
    bits.varbit_int(15_000);
    bits.varbit_int(3);
    bits.varbit_int(0);
    let mut sum = super::bits::Xor::new(12.5);
    sum.write(20.0, &mut bits);
    for difference in [0, 3, -3] {
        bits.varbit_int(difference);
    }
    for _ in 0..3 {
        bits.varbit_int(0);
    }
    sum.write(stale_nan(), &mut bits);
    let Samples::Histograms(read) =
        chunk(ChunkEncoding::Histogram, &bits.bytes).samples("c").unwrap()
    else {
        panic!("histograms were expected")
    };
    let times: Vec<i64> = read.iter().map(|s| s.0 - 1_765_000_000_000).collect();
    assert_eq!(times, [0, 15_000, 30_000]);
    let (first, second) = (&read[0].1, &read[1].1);
    assert_eq!(first.zero_threshold, 2.0_f64.powi(-128));
    assert_eq!((first.schema, first.count, first.zero_count, first.sum), (3, 7.0, 1.0, 12.5));
    assert_eq!(first.positive_buckets, [1.0, 3.0, 2.0]);
    assert_eq!(first.positive_spans[1], BucketSpan { offset: 4, length: 1 });
    assert_eq!(first.counter_reset_hint, CounterResetHint::Reset);
    assert_eq!((second.count, second.sum), (10.0, 20.0));
    assert_eq!(second.positive_buckets, [1.0, 6.0, 2.0]);
    assert_eq!(second.counter_reset_hint, CounterResetHint::NotReset);
    assert!(read[2].1.is_stale());
    let cut = &bits.bytes[..bits.bytes.len() - 9];
    let e = chunk(ChunkEncoding::Histogram, cut).samples("c").unwrap_err();
    assert!(e.message.contains("sample 2 of 3"), "{e}");
}

fn float_histogram(count: f64, custom: bool) -> NativeHistogram {
    NativeHistogram {
        schema: if custom { obs_types::CUSTOM_BUCKETS_SCHEMA } else { 0 },
        zero_threshold: if custom { 0.0 } else { 0.3 },
        zero_count: if custom { 0.0 } else { 0.5 },
        count,
        sum: count / 3.0,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_buckets: vec![count / 7.0, 1.0],
        custom_values: if custom { vec![0.005, 1e9, 2e9] } else { Vec::new() },
        ..NativeHistogram::default()
    }
}

#[test]
fn float_histograms_and_custom_bounds() {
    for custom in [false, true] {
        let all: Vec<NativeHistogram> =
            [1.0, 2.5, 2.5, 1e18].into_iter().map(|c| float_histogram(c, custom)).collect();
        let samples: Vec<(i64, &NativeHistogram)> =
            all.iter().enumerate().map(|(i, h)| (i as i64 * 997 - 5, h)).collect();
        let data = encode_float_histogram(&samples);
        let Samples::Histograms(read) =
            chunk(ChunkEncoding::FloatHistogram, &data).samples("c").unwrap()
        else {
            panic!("histograms were expected")
        };
        assert_eq!(read.len(), 4);
        for ((t, h), (got_t, got)) in samples.iter().zip(&read) {
            assert_eq!(t, got_t);
            assert_eq!((got.count, got.sum, got.zero_count), (h.count, h.sum, h.zero_count));
            assert_eq!(got.positive_buckets, h.positive_buckets);
            assert_eq!(got.zero_threshold, h.zero_threshold);
            assert_eq!(got.custom_values, h.custom_values);
        }
    }
}

proptest! {
    #[test]
    fn floats_round_trip(
        start in any::<i32>(),
        steps in proptest::collection::vec((1_i64..2_000_000, any::<u64>()), 0..300),
    ) {
        let mut t = i64::from(start);
        let samples: Vec<(i64, f64)> = steps
            .into_iter()
            .map(|(step, bits)| {
                t += step;
                (t, f64::from_bits(bits))
            })
            .collect();
        let data = encode_xor(&samples);
        let Samples::Floats(read) = chunk(ChunkEncoding::Xor, &data).samples("c").unwrap() else {
            panic!("floats were expected")
        };
        let bits = |all: &[(i64, f64)]| -> Vec<(i64, u64)> {
            all.iter().map(|(t, v)| (*t, v.to_bits())).collect()
        };
        prop_assert_eq!(bits(&read), bits(&samples));
    }

    #[test]
    fn numbers_round_trip(signed in any::<i64>(), small in -70_000_i64..70_000, unsigned in any::<u64>()) {
        let mut to = BitWriter::default();
        for n in [signed, small, 0, i64::MIN, i64::MAX] {
            to.varbit_int(n);
            to.time_difference(n);
            to.varint(n);
        }
        to.varbit_uint(unsigned);
        to.uvarint(unsigned);
        let mut from = BitReader::new(&to.bytes);
        for n in [signed, small, 0, i64::MIN, i64::MAX] {
            prop_assert_eq!(from.varbit_int(), Some(n));
            prop_assert_eq!(from.time_difference(), Some(n));
            prop_assert_eq!(from.varint(), Some(n));
        }
        prop_assert_eq!(from.varbit_uint(), Some(unsigned));
        prop_assert_eq!(from.uvarint(), Some(unsigned));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for encoding in [ChunkEncoding::Xor, ChunkEncoding::Histogram, ChunkEncoding::FloatHistogram] {
            drop(chunk(encoding, &bytes).samples("c"));
        }
        drop(Index::open("index", &bytes));
        drop(read_tombstones("tombstones", &bytes));
        drop(chunk_at("chunks", &bytes, 8));
    }
}
