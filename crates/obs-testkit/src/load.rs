//! A remote-write load that is the same in every run.

use crate::bodies::{Labels, SeriesSamples, remote_write};
use crate::seeded::Seeded;

/// Half counters (`bench_requests_total`), half gauges (`bench_load`), spread over instances and
/// zones; every series has a sample at each step.
#[derive(Clone, Debug)]
pub struct MetricLoad {
    /// Number of series; rounded up to an even number.
    pub series: usize,
    /// Samples of each series.
    pub samples: usize,
    pub step_ms: i64,
    /// Time of the first sample, milliseconds.
    pub start_ms: i64,
    pub seed: u64,
}

impl MetricLoad {
    /// Time of the last sample.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + (self.samples.max(1) as i64 - 1) * self.step_ms
    }

    /// Samples in all.
    pub fn sample_count(&self) -> usize {
        self.samples * self.series.next_multiple_of(2)
    }

    /// Bodies for `senders` that may send side by side: a series belongs to one sender, so its
    /// samples arrive in order. A body holds at most `batch` series at one step.
    pub fn bodies(&self, senders: usize, batch: usize) -> Vec<Vec<Vec<u8>>> {
        let labels = self.labels();
        let mut values: Vec<(Seeded, f64)> =
            (0..labels.len() as u64).map(|i| (Seeded::new(self.seed ^ (i << 20)), 0.0)).collect();
        let mut out = vec![Vec::new(); senders.max(1)];
        let share = labels.len().div_ceil(senders.max(1)).max(1);
        for step in 0..self.samples as i64 {
            let time = self.start_ms + step * self.step_ms;
            for ((sender, labels), values) in
                out.iter_mut().zip(labels.chunks(share)).zip(values.chunks_mut(share))
            {
                for (labels, values) in
                    labels.chunks(batch.max(1)).zip(values.chunks_mut(batch.max(1)))
                {
                    let series: Vec<SeriesSamples> = labels
                        .iter()
                        .zip(values)
                        .map(|(labels, value)| {
                            (labels.clone(), vec![(time, advance(labels, value))])
                        })
                        .collect();
                    sender.push(remote_write(&series));
                }
            }
        }
        out
    }

    fn labels(&self) -> Vec<Labels> {
        let pair = |k: &str, v: String| (k.to_owned(), v);
        (0..self.series.next_multiple_of(2))
            .map(|i| {
                let name = if i % 2 == 0 { "bench_requests_total" } else { "bench_load" };
                let instance = i / 2;
                vec![
                    pair("__name__", name.to_owned()),
                    pair("instance", format!("host-{:04}:9100", instance / 10)),
                    pair("job", "bench".to_owned()),
                    pair("path", format!("/api/v{}", instance % 10)),
                    pair("zone", format!("zone-{}", instance % 4)),
                ]
            })
            .collect()
    }
}

/// Whole numbers, so that sums are exact in any order and peers can be compared.
fn advance(labels: &Labels, (random, value): &mut (Seeded, f64)) -> f64 {
    let counter = labels.iter().any(|(_, v)| v.ends_with("_total"));
    if counter {
        *value += random.below(50) as f64;
    } else {
        *value = (*value + random.below(21) as f64 - 10.0).clamp(0.0, 1000.0);
    }
    *value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_repeatable_and_whole() {
        let load = MetricLoad { series: 9, samples: 3, step_ms: 15_000, start_ms: 1_000, seed: 1 };
        let bodies = load.bodies(2, 2);
        assert_eq!(bodies, load.bodies(2, 2));
        assert_eq!(load.sample_count(), 30);
        assert_eq!(load.end_ms(), 31_000);
        // Ten series over two senders: five each, in bodies of two, two and one, at three steps.
        assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [9, 9]);
        assert!(bodies.iter().flatten().all(|b| !b.is_empty()));
    }
}
