//! What is sent: series with their labels, and samples made step by step, the same in every run and
//! for every engine.

mod node;
mod tsbs;
mod values;

use std::ops::Range;

use obs_testkit::Seeded;

use self::values::{Model, State};

/// Samples that are made before they are sent; making them is not measured.
const WAVE_SAMPLES: usize = 400_000;
/// In [`Shape::C`] a tenth of the targets is replaced so often.
const CHURN_SECONDS: i64 = 600;
/// What queries ask of a page of node_exporter needs all of it.
const PAGE_SERIES_MIN: usize = 600;
/// A scrape in twenty comes a few milliseconds late, where targets are scraped.
const LATE_ONE_IN: u64 = 20;

/// Kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// Counters +0..49 and gauges ±10, five labels
    Load,
    /// Pages of node_exporter: targets of 600 series at 15 s
    A,
    /// TSBS devops, cpu only: hosts of 10 series with eleven labels at 10 s
    B,
    /// TSBS devops, all nine measurements: hosts of 100 series at 10 s
    Devops,
    /// As a, with a tenth of the targets replaced every ten minutes
    C,
    /// As a, a million active series, few samples each
    D,
    /// Random walks with all bits of a float
    Walk,
}

impl Shape {
    /// Targets, series of each, samples of each, seconds between: an hour of it where no more is
    /// said, so that one comparison ends in a few minutes.
    fn defaults(self) -> (usize, usize, usize, i64) {
        match self {
            Self::Load | Self::Walk => (500, 10, 240, 15),
            Self::A => (25, 600, 240, 15),
            Self::B => (1_000, 10, 360, 10),
            Self::Devops => (100, 100, 360, 10),
            Self::C => (30, 600, 240, 15),
            Self::D => (1_000, 1_000, 4, 15),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::A => "a",
            Self::B => "b",
            Self::Devops => "devops",
            Self::C => "c",
            Self::D => "d",
            Self::Walk => "walk",
        }
    }

    fn is_scraped(self) -> bool {
        matches!(self, Self::A | Self::C | Self::D)
    }
}

/// A series of every target: its name, its own labels, its kind of value.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) model: Model,
}

impl Template {
    fn new(name: String, labels: &[(&'static str, &str)], model: Model) -> Self {
        Self { name, labels: labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(), model }
    }
}

/// How large; `None` for what the shape has by default.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Size {
    /// Targets or hosts
    #[arg(long)]
    pub(crate) targets: Option<usize>,
    /// Series of each target; pages of node_exporter have at least 600, TSBS hosts always as many as
    /// they have
    #[arg(long)]
    pub(crate) series: Option<usize>,
    /// Samples of each series
    #[arg(long)]
    pub(crate) samples: Option<usize>,
    /// Seconds between samples
    #[arg(long)]
    pub(crate) step: Option<i64>,
}

#[derive(Debug)]
struct Series {
    /// The labels as protobuf fields of a `TimeSeries`.
    labels: Box<[u8]>,
    model: Model,
    target: u32,
    /// Steps with a sample.
    life: Range<u32>,
}

/// A load, not yet made.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) shape: Shape,
    pub(crate) targets: usize,
    /// Series that have samples at one time.
    pub(crate) active_series: usize,
    pub(crate) samples_per_series: usize,
    pub(crate) step_ms: i64,
    /// Time of the first step, milliseconds.
    pub(crate) start_ms: i64,
    pub(crate) seed: u64,
    series: Vec<Series>,
}

/// Bodies by sender, in order.
pub(crate) type Wave = Vec<Vec<Vec<u8>>>;

impl Workload {
    /// A load whose last step is at least one step before `now_ms`.
    pub(crate) fn new(shape: Shape, size: Size, seed: u64, now_ms: i64) -> Self {
        let (targets, series, samples, step) = shape.defaults();
        let targets = size.targets.unwrap_or(targets).max(1);
        let per_target = size.series.unwrap_or(series).max(1);
        let samples = size.samples.unwrap_or(samples).max(2);
        let step_ms = size.step.unwrap_or(step).max(1) * 1_000;
        let least = if shape.is_scraped() { PAGE_SERIES_MIN } else { 1 };
        let templates = templates(shape, per_target.max(least));
        let churn_steps = (CHURN_SECONDS * 1_000 / step_ms).max(1) as u32;
        let periods = if shape == Shape::C { (samples as u32).div_ceil(churn_steps) } else { 1 };
        let mut all = Vec::with_capacity(targets * templates.len());
        for target in 0..targets {
            let mut from = 0;
            for period in 1..=periods {
                let ends = period == periods || (target as u32 + period).is_multiple_of(10);
                if !ends {
                    continue;
                }
                let until = (period * churn_steps).min(samples as u32);
                let until = if period == periods { samples as u32 } else { until };
                let common = common_labels(shape, target, from / churn_steps, seed);
                all.extend(templates.iter().map(|t| Series {
                    labels: encode_labels(&common, t),
                    model: t.model,
                    target: target as u32,
                    life: from..until,
                }));
                from = until;
            }
        }
        // Whole steps, so that range queries of all engines use the same instants.
        let start_ms = (now_ms - (samples as i64 + 1) * step_ms) / step_ms * step_ms;
        Self {
            shape,
            targets,
            active_series: targets * templates.len(),
            samples_per_series: samples,
            step_ms,
            start_ms,
            seed,
            series: all,
        }
    }

    /// Time of the last step.
    pub(crate) fn end_ms(&self) -> i64 {
        self.start_ms + (self.samples_per_series as i64 - 1) * self.step_ms
    }

    pub(crate) fn sample_count(&self) -> usize {
        self.series.iter().map(|s| s.life.len()).sum()
    }

    /// All series that ever had a sample.
    pub(crate) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// The samples from the first, for `senders` that may send side by side: a series belongs to
    /// one of them, so its samples arrive in order. A body holds at most `batch` series.
    pub(crate) fn feed(&self, senders: usize, batch: usize) -> Feed<'_> {
        let state = |(n, s): (usize, &Series)| State::new(s.model, self.seed ^ ((n as u64) << 20));
        Feed {
            workload: self,
            states: self.series.iter().enumerate().map(state).collect(),
            senders: senders.max(1),
            batch: batch.max(1),
            step: 0,
        }
    }

    /// When a target is scraped at that step.
    fn time(&self, target: u32, step: u32) -> i64 {
        let at = self.start_ms + i64::from(step) * self.step_ms;
        if !self.shape.is_scraped() {
            return at;
        }
        let phase = Seeded::new(self.seed ^ u64::from(target)).below(self.step_ms as u64 - 10);
        let mut random = Seeded::new(self.seed ^ u64::from(target) << 32 ^ u64::from(step));
        let late = if random.below(LATE_ONE_IN) == 0 { 1 + random.below(5) } else { 0 };
        at + (phase + late) as i64
    }
}

fn templates(shape: Shape, per_target: usize) -> Vec<Template> {
    let bench = |n: usize| {
        let counter = n.is_multiple_of(2);
        let name = if counter { "bench_requests_total" } else { "bench_load" };
        let model = match shape {
            Shape::Walk => Model::Walk,
            _ if counter => Model::Counter(50),
            _ => Model::Gauge,
        };
        Template::new(name.to_owned(), &[("path", &format!("/api/v{}", n / 2))], model)
    };
    match shape {
        Shape::Load | Shape::Walk => (0..per_target).map(bench).collect(),
        Shape::B => tsbs::cpu(),
        Shape::Devops => tsbs::devops(),
        Shape::A | Shape::C | Shape::D => node::page(per_target),
    }
}

/// Labels of all series of a target; `life` counts what stood in its place before.
fn common_labels(shape: Shape, target: usize, life: u32, seed: u64) -> Vec<(&'static str, String)> {
    match shape {
        Shape::B | Shape::Devops => tsbs::tags(target, seed),
        Shape::Load | Shape::Walk => vec![
            ("instance", format!("host-{target:04}:9100")),
            ("job", "bench".to_owned()),
            ("zone", format!("zone-{}", target % 4)),
        ],
        Shape::A | Shape::C | Shape::D => {
            let mut out = vec![
                ("instance", format!("10.{}.{}.7:9100", target / 256, target % 256)),
                ("job", "node".to_owned()),
            ];
            if shape == Shape::C {
                out.push(("pod", format!("web-{target}-{:x}", (life + 7) * 2_654_435)));
            }
            out
        }
    }
}

fn encode_labels(common: &[(&'static str, String)], template: &Template) -> Box<[u8]> {
    let mut pairs: Vec<(&str, &str)> = vec![("__name__", &template.name)];
    pairs.extend(common.iter().chain(&template.labels).map(|(k, v)| (*k, v.as_str())));
    pairs.sort_unstable();
    let mut out = Vec::with_capacity(256);
    for (name, value) in pairs {
        let len = 2 + name.len() + value.len() + varint_len(value.len()) + varint_len(name.len());
        out.push(0x0a);
        varint(&mut out, len as u64);
        for (key, text) in [(0x0a, name), (0x12, value)] {
            out.push(key);
            varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.into()
}

fn varint_len(n: usize) -> usize {
    if n < 128 { 1 } else { 2 }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A load being made.
#[derive(Debug)]
pub(crate) struct Feed<'w> {
    workload: &'w Workload,
    states: Vec<State>,
    senders: usize,
    batch: usize,
    step: u32,
}

impl Iterator for Feed<'_> {
    type Item = Wave;

    /// The next steps' bodies; `None` when all are made.
    fn next(&mut self) -> Option<Wave> {
        let w = self.workload;
        let steps = (WAVE_SAMPLES / w.active_series.max(1)).max(1) as u32;
        let until = (self.step + steps).min(w.samples_per_series as u32);
        let steps = self.step..until;
        if steps.is_empty() {
            return None;
        }
        self.step = until;
        let share = w.series.len().div_ceil(self.senders).max(1);
        let batch = self.batch;
        let makers = w.series.chunks(share).zip(self.states.chunks_mut(share));
        Some(std::thread::scope(|scope| {
            let threads: Vec<_> = makers
                .map(|(series, states)| {
                    let steps = steps.clone();
                    scope.spawn(move || bodies(w, series, states, steps, batch))
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_default()).collect()
        }))
    }
}

fn bodies(
    w: &Workload,
    series: &[Series],
    states: &mut [State],
    steps: Range<u32>,
    batch: usize,
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut request = Vec::new();
    let mut encoder = snap::raw::Encoder::new();
    // Compressing in memory fails only beyond 4 GiB; an empty body then makes the send fail.
    let mut close = |request: &mut Vec<u8>| {
        out.push(encoder.compress_vec(request).unwrap_or_default());
        request.clear();
    };
    for step in steps {
        let mut in_body = 0;
        for (s, state) in series.iter().zip(states.iter_mut()) {
            if !s.life.contains(&step) {
                continue;
            }
            let mut sample = vec![0x09];
            sample.extend(state.next(s.model).to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, w.time(s.target, step) as u64);
            request.push(0x0a);
            varint(&mut request, (s.labels.len() + 2 + sample.len()) as u64);
            request.extend_from_slice(&s.labels);
            request.extend([0x12, sample.len() as u8]);
            request.extend(sample);
            in_body += 1;
            if in_body == batch {
                close(&mut request);
                in_body = 0;
            }
        }
        if in_body > 0 {
            close(&mut request);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(shape: Shape, samples: usize) -> Workload {
        let size = Size { targets: Some(20), series: Some(6), samples: Some(samples), step: None };
        Workload::new(shape, size, 1, 1_000_000_000)
    }

    fn sent(w: &Workload) -> Vec<Vec<u8>> {
        w.feed(2, 7).flatten().flatten().collect()
    }

    #[test]
    fn loads_are_repeatable_and_whole() {
        for shape in [Shape::Load, Shape::A, Shape::B, Shape::D, Shape::Walk] {
            let w = small(shape, 5);
            let samples: usize = sent(&w)
                .iter()
                .map(|body| {
                    let raw = snap::raw::Decoder::new().decompress_vec(body).unwrap();
                    let batch = obs_wire::remote_write::decode_v1(&raw, &Default::default());
                    batch.unwrap().batch.series.iter().map(|s| s.samples.len()).sum::<usize>()
                })
                .sum();
            assert_eq!((samples, sent(&w)), (w.sample_count(), sent(&w)), "{shape:?}");
            assert_eq!(w.series_count(), w.active_series);
            assert!(w.end_ms() < 1_000_000_000 - w.step_ms);
        }
    }

    #[test]
    fn a_tenth_is_replaced_every_ten_minutes() {
        let w = small(Shape::C, 240);
        assert_eq!(w.sample_count(), w.active_series * 240);
        // Six periods of an hour: five times a tenth is new.
        assert_eq!(w.series_count(), w.active_series + 5 * w.active_series / 10);
    }
}
