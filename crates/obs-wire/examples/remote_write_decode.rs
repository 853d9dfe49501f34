//! CPU time of decoding remote write bodies: `cargo run --release -p obs-wire --example
//! remote_write_decode [ROUNDS]`. Shapes: TSBS-like series (11 labels) with 1, 20 and 360 samples
//! each, 20 000 samples in a body, versions 1.0 and 2.0, snappy included. Prints the best round as
//! CPU seconds per million samples, which other work on the machine disturbs least.

#![expect(clippy::print_stdout, reason = "a tool that prints its measurements")]

use obs_types::{LabelSet, MetricBatch, SeriesSamples, TimestampMs};
use obs_wire::WireCaps;
use obs_wire::compression::{Encoding, decompress, snappy_compress};
use obs_wire::remote_write::{decode_v1, decode_v2, encode_v1, read_v1, read_v2};
use prost::Message as _;

const SAMPLES_OF_BODY: usize = 20_000;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<Series>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn batch(samples: usize) -> MetricBatch {
    let usage = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest"];
    let series = (0..SAMPLES_OF_BODY / samples).map(|i| {
        let host = i / usage.len();
        let labels = LabelSet::from_pairs([
            ("__name__", format!("cpu_usage_{}", usage[i % usage.len()])),
            ("arch", "x86".to_owned()),
            ("datacenter", format!("eu-west-1{}", ["a", "b", "c"][host % 3])),
            ("hostname", format!("host_{host}")),
            ("os", "Ubuntu16.04LTS".to_owned()),
            ("rack", (host % 100).to_string()),
            ("region", "eu-west-1".to_owned()),
            ("service", (host % 20).to_string()),
            ("service_environment", "production".to_owned()),
            ("service_version", (host % 2).to_string()),
            ("team", "SF".to_owned()),
        ]);
        let at = |n: usize| TimestampMs(1_700_000_000_000 + 10_000 * n as i64);
        let samples = (0..samples).map(|n| (at(n), ((i * 7 + n * 3) % 100) as f64)).collect();
        SeriesSamples { labels, samples, ..SeriesSamples::default() }
    });
    MetricBatch { series: series.collect(), metadata: Vec::new() }
}

fn version_2(batch: &MetricBatch) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut places = std::collections::HashMap::new();
    let mut place = |text: &str| {
        *places.entry(text.to_owned()).or_insert_with(|| {
            symbols.push(text.to_owned());
            (symbols.len() - 1) as u32
        })
    };
    let timeseries = batch.series.iter().map(|s| Series {
        labels_refs: s.labels.iter().flat_map(|(n, v)| [place(n), place(v)]).collect(),
        samples: s
            .samples
            .iter()
            .map(|(at, value)| Sample { value: *value, timestamp: at.0 })
            .collect(),
    });
    let timeseries = timeseries.collect();
    Request { symbols, timeseries }.encode_to_vec()
}

/// CPU nanoseconds of this thread.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(0)
}

/// Best of `rounds`, each of at least 5 million samples; CPU seconds per million.
fn measure(rounds: usize, mut decode: impl FnMut() -> usize) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let (begin, mut samples) = (cpu(), 0);
        while samples < 5_000_000 {
            samples += decode();
        }
        best = best.min((cpu() - begin) as f64 / 1e3 / samples as f64);
    }
    best
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(5);
    let caps = WireCaps::default();
    for samples in [1, 20, 360] {
        let batch = batch(samples);
        for (name, plain) in [("1.0", encode_v1(&batch)), ("2.0", version_2(&batch))] {
            let Ok(body) = snappy_compress(&plain) else { continue };
            let count = |b: &MetricBatch| b.series.iter().map(|s| s.samples.len()).sum::<usize>();
            let seconds = measure(rounds, || {
                let plain = decompress(&body, Encoding::Snappy, &caps).expect("own snappy");
                let decoded =
                    if name == "1.0" { decode_v1(&plain, &caps) } else { decode_v2(&plain, &caps) };
                count(&decoded.expect("own request").batch)
            });
            let views = measure(rounds, || {
                let plain = decompress(&body, Encoding::Snappy, &caps).expect("own snappy");
                let mut samples = 0;
                let read = if name == "1.0" { read_v1 } else { read_v2 };
                read(&plain, &caps, &mut |view| samples += view.samples.len())
                    .expect("own request");
                samples
            });
            println!(
                "version {name}, {samples:3} samples a series: {seconds:.3} s of CPU per million samples, \
                 {views:.3} without the copy into a batch ({} body bytes, {} plain)",
                body.len(),
                plain.len()
            );
        }
    }
}
