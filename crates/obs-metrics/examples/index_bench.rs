//! `cargo run --release -p obs-metrics --example index_bench [instances]`: selections from the label
//! index, 100 metrics of each of 2 000 instances by default. Prints per matcher set the series found
//! and the time of one selection.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example for people")]

use std::time::Instant;

use obs_metrics::candidates::LabelIndex;
use obs_types::{LabelSet, MatchOp, Matcher};

const METRICS: usize = 100;
const ROUNDS: u32 = 20;

fn main() {
    let instances: usize = std::env::args().nth(1).map_or(2_000, |n| n.parse().unwrap());
    let mut index = LabelIndex::default();
    let begin = Instant::now();
    for i in 0..instances {
        for m in 0..METRICS {
            index.insert(&LabelSet::from_pairs([
                ("__name__", format!("node_metric_{m}_total")),
                ("instance", format!("node-{i:05}.zone-{}.example:9100", i % 7)),
                ("job", format!("job-{}", i % 10)),
                ("zone", format!("zone-{}", i % 7)),
            ]));
        }
    }
    println!("{} series indexed in {:.2?}", instances * METRICS, begin.elapsed());
    let sets: &[&[(&str, MatchOp, &str)]] = &[
        &[("__name__", MatchOp::Equal, "node_metric_7_total")],
        &[("instance", MatchOp::Regex, "node-0001.*")],
        &[("instance", MatchOp::Regex, ".*zone-3.*")],
        &[("instance", MatchOp::Regex, ".*:9100")],
        &[("instance", MatchOp::Regex, "node-000.*zone-3.*:9100")],
        &[("instance", MatchOp::Regex, "node-[0-9]+\\.zone-3.example:9100")],
        &[("instance", MatchOp::NotRegex, ".*zone-3.*")],
        &[
            ("__name__", MatchOp::Equal, "node_metric_7_total"),
            ("instance", MatchOp::Regex, ".*zone-3.*"),
        ],
        &[
            ("__name__", MatchOp::Equal, "node_metric_7_total"),
            ("instance", MatchOp::NotRegex, "node-0000.*"),
        ],
        &[("job", MatchOp::Equal, "job-3"), ("zone", MatchOp::NotRegex, "zone-(1|2|3)")],
    ];
    for set in sets {
        let matchers: Vec<Matcher> =
            set.iter().map(|(n, op, v)| Matcher::new(*n, *op, *v).unwrap()).collect();
        let found = index.select(&matchers).len();
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(index.select(&matchers).len(), found);
        }
        let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        println!(
            "{:>9} found {:>10.1?}  {{{}}}",
            found,
            begin.elapsed() / ROUNDS,
            shown.join(", ")
        );
    }
}
