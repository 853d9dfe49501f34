//! Compares ways to encode value columns, on made-up corpora with fixed seeds.
//!
//! `cargo run --release -p obs-metrics --example codec_bench [series] [samples]`. Columns of one
//! corpus follow one another in sections of 32 KiB, as in a block, and each section is packed.
//! Expected: near the entropy of each corpus, which is printed where it is known.

#![expect(clippy::print_stdout, reason = "a program run by hand that prints its figures")]

use std::error::Error;
use std::fmt::Write;
use std::time::Instant;

use obs_metrics::candidates::{get_column, put_column, put_plain, put_xor};

const SECTION: usize = 32 << 10;

struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> f64 {
        (self.bits() % n) as f64
    }

    /// Mean 0, deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Name, entropy in bytes per sample where it can be told, and how one series goes on.
struct Corpus {
    name: &'static str,
    entropy: Option<f64>,
    series: fn(usize, &mut Random, usize) -> Vec<f64>,
}

const CORPORA: [Corpus; 5] = [
    Corpus { name: "TSBS cpu: clamped walks, cut to integers", entropy: None, series: tsbs },
    Corpus { name: "counters +0..49 and gauges ±10", entropy: Some(0.627), series: load },
    Corpus { name: "node_exporter-like page", entropy: None, series: node },
    Corpus { name: "random walk, full floats", entropy: None, series: walk },
    Corpus { name: "random walk of tenths, summed", entropy: None, series: tenths },
];

fn tsbs(_: usize, r: &mut Random, samples: usize) -> Vec<f64> {
    let mut v = r.unit() * 100.0;
    let step = |_| {
        v = (v + r.normal()).clamp(0.0, 100.0);
        v.trunc()
    };
    (0..samples).map(step).collect()
}

fn load(n: usize, r: &mut Random, samples: usize) -> Vec<f64> {
    let mut v = 0.0_f64;
    let step = |_| {
        v = if n < 500 { v + r.below(50) } else { (v + r.below(21) - 10.0).clamp(0.0, 1e3) };
        v
    };
    (0..samples).map(step).collect()
}

/// Of ten metrics four never change, three are counters (idle seconds in hundredths, bytes, rare
/// events), two gauges (memory in pages, load average), one a duration in full floats.
fn node(n: usize, r: &mut Random, samples: usize) -> Vec<f64> {
    let mut v = r.below(1 << 20);
    let mut busy = r.unit();
    let step = |i: usize| match n / 100 {
        0..4 => v,
        4 => {
            v += (1_500.0 * busy + r.normal() * 20.0).round();
            v / 100.0
        }
        5 => {
            v += (r.unit() * r.unit() * 1e6).round();
            v
        }
        6 => {
            v += if r.unit() < 0.02 { 1.0 } else { 0.0 };
            v
        }
        7 => {
            v = (v + (r.normal() * 30.0).round()).max(0.0);
            v * 4096.0
        }
        8 => {
            busy = (busy + r.normal() * 0.05).max(0.0);
            (busy * 100.0).round() / 100.0
        }
        _ => {
            let _unused = i;
            0.02 + r.unit() * 0.001
        }
    };
    (0..samples).map(step).collect()
}

fn walk(_: usize, r: &mut Random, samples: usize) -> Vec<f64> {
    let mut v = r.unit() * 100.0;
    let step = |_| {
        v += r.normal();
        v
    };
    (0..samples).map(step).collect()
}

fn tenths(_: usize, r: &mut Random, samples: usize) -> Vec<f64> {
    let mut v = 0.0;
    let step = |_| {
        v += r.below(10) * 0.1;
        v
    };
    (0..samples).map(step).collect()
}

/// A way to encode: what is packed, what is stored as it is.
type Encode = fn(&mut Vec<u8>, &mut Vec<u8>, &[f64]);

const WAYS: [(&str, Encode); 5] = [
    ("XOR (Gorilla)", |_, raw, v| put_xor(raw, v)),
    ("XOR, packed", |out, _, v| put_xor(out, v)),
    ("bytes transposed, packed", |out, _, v| {
        for shift in (0..64).step_by(8) {
            out.extend(v.iter().map(|x| (x.to_bits() >> shift) as u8));
        }
    }),
    ("constant, deltas or XOR, packed", |out, _, v| put_plain(out, v)),
    ("upper bits packed, noise apart", put_column),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let series = arguments.next().transpose()?.unwrap_or(1_000);
    let samples = arguments.next().transpose()?.unwrap_or(240);
    let packers = PACKERS.map(|(name, _)| name).join("; ");
    println!("{series} series of {samples} samples; bytes per sample (ns per sample): {packers}");
    for corpus in CORPORA {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let columns: Vec<Vec<f64>> = (0..series)
            .map(|n| (corpus.series)(n * 1_000 / series, &mut random, samples))
            .collect();
        let entropy = corpus.entropy.map(|e| format!(", entropy {e}")).unwrap_or_default();
        println!("\n{}{entropy}", corpus.name);
        for (name, encode) in WAYS {
            let mut line = format!("  {name:<34}");
            for (_, pack) in PACKERS {
                let begin = Instant::now();
                let bytes = packed_bytes(&columns, encode, pack)?;
                let ns = begin.elapsed().as_nanos() as f64 / (series * samples) as f64;
                write!(line, " {:>6.3} ({ns:>3.0})", bytes as f64 / (series * samples) as f64)?;
            }
            println!("{line}");
        }
        let encoded: Vec<(Vec<u8>, Vec<u8>)> = columns
            .iter()
            .map(|c| {
                let (mut out, mut noise) = (Vec::new(), Vec::new());
                put_column(&mut out, &mut noise, c);
                (out, noise)
            })
            .collect();
        let begin = Instant::now();
        for ((out, noise), column) in encoded.iter().zip(&columns) {
            let back = get_column(out, noise, column.len()).ok_or("a column does not decode")?;
            if back.iter().map(|v| v.to_bits()).ne(column.iter().map(|v| v.to_bits())) {
                return Err("a column came back changed".into());
            }
        }
        let ns = begin.elapsed().as_nanos() as f64 / (series * samples) as f64;
        println!("  decoded and compared, unpacking left out: {ns:.1} ns per sample");
    }
    Ok(())
}

/// How sections are packed.
type Pack = fn(&[u8]) -> std::io::Result<Vec<u8>>;

const PACKERS: [(&str, Pack); 4] = [
    ("zstd 1", |b| zstd::bulk::compress(b, 1)),
    ("zstd 3", |b| zstd::bulk::compress(b, 3)),
    ("zstd 1, matches of 7 and more", |b| long_matches(b, 1)),
    ("zstd 9", |b| zstd::bulk::compress(b, 9)),
];

fn long_matches(bytes: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let mut packer = zstd::bulk::Compressor::new(level)?;
    packer.set_parameter(zstd::zstd_safe::CParameter::MinMatch(7))?;
    packer.compress(bytes)
}

fn packed_bytes(columns: &[Vec<f64>], encode: Encode, pack: Pack) -> Result<usize, Box<dyn Error>> {
    let (mut total, mut section, mut raw) = (0, Vec::new(), Vec::new());
    for column in columns {
        encode(&mut section, &mut raw, column);
        if section.len() >= SECTION {
            total += pack(&section)?.len();
            section.clear();
        }
        total += raw.len();
        raw.clear();
    }
    Ok(total + pack(&section)?.len())
}
