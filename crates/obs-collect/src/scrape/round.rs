//! One scrape's text turned into a batch: labels merged, limits checked, series that vanished
//! marked stale, the synthetic series added. Pure, so that it is tested without a network.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use obs_types::{
    Exemplar, LabelSet, MetricBatch, NativeHistogram, SeriesSamples, TimestampMs, stale_nan,
};
use obs_wire::exposition::{
    Exposition, ExpositionExemplar, KnownMetrics, ParseCaps, ProtobufOptions, parse_known,
    parse_protobuf,
};

use super::config::ScrapeJob;
use super::histograms::{fit, to_custom_buckets};
use super::protocol::{BodyFormat, body_format};
use super::relabel::relabel;
use super::target::Target;

/// The series that a target's last scrape had; `true` for those that are marked stale when they
/// vanish.
pub(crate) type Known = BTreeMap<LabelSet, bool>;

/// How many series a job has, over all its targets.
pub(crate) type JobSeries = AtomicUsize;

/// What one scrape gave, or why it counts as failed: then `batch` ends what was known before.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub batch: MetricBatch,
    pub known: Known,
    pub scraped: usize,
    pub after_relabel: usize,
    pub added: usize,
    /// Samples of new series beyond the job's `series_limit`.
    pub refused: usize,
    /// Bytes of the body; -1 if it was cut at its limit.
    pub body_bytes: i64,
    pub error: Option<String>,
}

/// What a scrape is read with.
pub(crate) struct Reading<'r> {
    pub job: &'r ScrapeJob,
    pub target: &'r Target,
    pub now: TimestampMs,
    pub before: &'r Known,
    pub job_series: &'r JobSeries,
    pub cache: &'r Mutex<TargetCache>,
}

/// What the last scrapes of a target were read into. Holds at most twice as many series as the last
/// one had.
#[derive(Debug, Default)]
pub(crate) struct TargetCache {
    metrics: KnownMetrics,
    /// By the labels of a sample those of its series, `None` if relabelling drops it; and the round
    /// that last had it.
    merged: HashMap<LabelSet, (Option<LabelSet>, u64)>,
    round: u64,
}

enum Value {
    Float(f64),
    Histogram(NativeHistogram),
}

impl Reading<'_> {
    /// A scrape that gave no body.
    pub(crate) fn failed(&self, error: String, body_bytes: i64) -> Round {
        self.ended(Round { error: Some(error), body_bytes, ..Round::default() })
    }

    /// The samples of a body.
    pub(crate) fn body(&self, body: &[u8], content_type: Option<&str>) -> Round {
        let mut round = Round { body_bytes: body.len() as i64, ..Round::default() };
        let read = self.parse(body, content_type).and_then(|e| self.samples(e, &mut round));
        if let Err(error) = read {
            round.error = Some(error);
            return self.ended(round);
        }
        for (gone, _) in self.before.iter().filter(|(l, t)| **t && !round.known.contains_key(*l)) {
            round.batch.series.push(stale(gone, self.now));
        }
        self.job_series.fetch_add(round.known.len(), Ordering::Relaxed);
        self.job_series.fetch_sub(self.before.len(), Ordering::Relaxed);
        round
    }

    /// Counts stay, samples do not: everything that was known ends.
    fn ended(&self, mut round: Round) -> Round {
        self.job_series.fetch_sub(self.before.len(), Ordering::Relaxed);
        round.known = Known::new();
        round.batch = all_stale(self.before, self.now);
        round
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, TargetCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parse(&self, body: &[u8], content_type: Option<&str>) -> Result<Exposition, String> {
        let formats = &self.job.formats;
        let mut exposition = match body_format(content_type, formats.fallback)? {
            BodyFormat::Text(format) => {
                let known = &mut self.cache().metrics;
                parse_known(body, format, ParseCaps::default(), known).map_err(|e| e.to_string())?
            }
            BodyFormat::Protobuf => {
                let options = ProtobufOptions {
                    native: formats.native_histograms,
                    classic_with_native: formats.classic_with_native,
                };
                parse_protobuf(body, options, ParseCaps::default()).map_err(|e| e.to_string())?
            }
        };
        if formats.classic_to_custom_buckets {
            to_custom_buckets(&mut exposition, formats.classic_with_native);
        }
        Ok(exposition)
    }

    fn samples(&self, exposition: Exposition, round: &mut Round) -> Result<(), String> {
        round.batch.metadata = exposition.metadata;
        let mut cache = self.cache();
        cache.round += 1;
        for s in exposition.series {
            let exemplars = s.exemplar.into_iter().collect();
            let times = (s.timestamp, s.start);
            self.sample(s.labels, Value::Float(s.value), times, exemplars, (&mut cache, round))?;
        }
        for h in exposition.histograms {
            let times = (h.timestamp, h.start);
            let value = Value::Histogram(h.histogram);
            self.sample(h.labels, value, times, h.exemplars, (&mut cache, round))?;
        }
        if cache.merged.len() > round.scraped.saturating_mul(2) {
            let now = cache.round;
            cache.merged.retain(|_, (_, round)| *round == now);
        }
        drop(cache);
        let (have, max) = (round.after_relabel, self.job.limits.samples);
        if max > 0 && have > max {
            return Err(format!("sample limit exceeded: {have} samples, the limit is {max}"));
        }
        Ok(())
    }

    fn sample(
        &self,
        labels: LabelSet,
        value: Value,
        (timestamp, start): (Option<TimestampMs>, Option<TimestampMs>),
        exemplars: Vec<ExpositionExemplar>,
        (cache, round): (&mut TargetCache, &mut Round),
    ) -> Result<(), String> {
        let job = self.job;
        round.scraped += 1;
        let Some(labels) = self.series_of(labels, cache)? else { return Ok(()) };
        round.after_relabel += 1;
        let new = !self.before.contains_key(&labels) && !round.known.contains_key(&labels);
        if new {
            let (limit, used) = (job.limits.series, self.job_series.load(Ordering::Relaxed));
            if limit > 0 && used + round.added >= limit {
                round.refused += 1;
                return Ok(());
            }
            round.added += 1;
        }
        let timestamp = timestamp.filter(|_| job.honor_timestamps);
        let tracked = timestamp.is_none() || job.track_timestamps_staleness;
        round.known.insert(labels.clone(), tracked);
        let at = timestamp.unwrap_or(self.now);
        let mut series = SeriesSamples { labels, ..SeriesSamples::default() };
        series.started(at, start);
        match value {
            Value::Float(value) => series.samples = vec![(at, value)],
            Value::Histogram(mut histogram) => {
                fit(&mut histogram, &job.limits, &job.formats)?;
                series.histograms = vec![(at, Arc::new(histogram))];
            }
        }
        let exemplars = exemplars.into_iter().map(|e| -> Exemplar { e.into_exemplar(self.now) });
        series.exemplars = exemplars.collect();
        round.batch.series.push(series);
        Ok(())
    }

    /// The series of a sample with these labels; `None` if relabelling drops it.
    fn series_of(
        &self,
        labels: LabelSet,
        cache: &mut TargetCache,
    ) -> Result<Option<LabelSet>, String> {
        if let Some((known, round)) = cache.merged.get_mut(&labels) {
            *round = cache.round;
            return Ok(known.clone());
        }
        let job = self.job;
        let series = relabel(&merge(&labels, self.target, job.honor_labels), &job.metric_relabel);
        if let Some(series) = &series {
            check_labels(job, series)?;
        }
        cache.merged.insert(labels, (series.clone(), cache.round));
        Ok(series)
    }
}

/// Target labels win unless `honor_labels`; the loser is kept as `exported_…`.
fn merge(sample: &LabelSet, target: &Target, honor: bool) -> LabelSet {
    let mut out = sample.to_builder();
    for (name, value) in target.labels.iter() {
        match sample.get(name) {
            Some(_) if honor => {}
            Some(own) => {
                let mut exported = format!("exported_{name}");
                while sample.get(&exported).is_some() || target.labels.get(&exported).is_some() {
                    exported = format!("exported_{exported}");
                }
                out.set(exported, own);
                out.set(name, value);
            }
            None => {
                out.set(name, value);
            }
        }
    }
    out.build()
}

fn check_labels(job: &ScrapeJob, labels: &LabelSet) -> Result<(), String> {
    let limits = &job.limits;
    let limit = |what: &str, have: usize, max: usize| {
        if max > 0 && have > max {
            return Err(format!("{what} limit exceeded: {have}, the limit is {max}: {labels}"));
        }
        Ok(())
    };
    if labels.metric_name().is_empty() {
        return Err(format!("missing metric name (__name__ label): {labels}"));
    }
    limit("label", labels.len(), limits.labels)?;
    for (name, value) in labels.iter() {
        limit("label name length", name.len(), limits.label_name_bytes)?;
        limit("label value length", value.len(), limits.label_value_bytes)?;
        if job.formats.legacy_names && !is_legacy(name, false) {
            return Err(format!("invalid label name {name:?}: {labels}"));
        }
    }
    if job.formats.legacy_names && !is_legacy(labels.metric_name(), true) {
        return Err(format!("invalid metric name: {labels}"));
    }
    Ok(())
}

fn is_legacy(name: &str, colons: bool) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || colons && b == b':';
    name.bytes().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn stale(labels: &LabelSet, now: TimestampMs) -> SeriesSamples {
    SeriesSamples {
        labels: labels.clone(),
        samples: vec![(now, stale_nan())],
        ..SeriesSamples::default()
    }
}

/// Stale markers for everything that a target had: it failed, or it is gone.
pub(crate) fn all_stale(before: &Known, now: TimestampMs) -> MetricBatch {
    let tracked = before.iter().filter(|(_, tracked)| **tracked);
    let series = tracked.map(|(labels, _)| stale(labels, now)).collect();
    MetricBatch { series, metadata: Vec::new() }
}

/// `up` and the `scrape_*` series of one scrape, as Prometheus reports them; `series_limit` adds
/// those of VictoriaMetrics' agent.
pub(crate) fn report(reading: &Reading<'_>, seconds: f64, round: &Round) -> Vec<SeriesSamples> {
    let (job, target) = (reading.job, reading.target);
    let mut all = vec![
        ("up", f64::from(u8::from(round.error.is_none()))),
        ("scrape_duration_seconds", seconds),
        ("scrape_samples_scraped", round.scraped as f64),
        ("scrape_samples_post_metric_relabeling", round.after_relabel as f64),
        ("scrape_series_added", round.added as f64),
    ];
    if job.formats.extra_metrics {
        all.push(("scrape_timeout_seconds", target.timeout.as_secs_f64()));
        all.push(("scrape_sample_limit", job.limits.samples as f64));
        all.push(("scrape_body_size_bytes", round.body_bytes as f64));
    }
    if job.limits.series > 0 {
        all.push(("scrape_series_limit", job.limits.series as f64));
        all.push(("scrape_series_current", round.known.len() as f64));
        all.push(("scrape_series_limit_samples_dropped", round.refused as f64));
    }
    all.into_iter()
        .map(|(name, value)| SeriesSamples {
            labels: target.labels.with(obs_types::METRIC_NAME, name),
            samples: vec![(reading.now, value)],
            ..SeriesSamples::default()
        })
        .collect()
}

/// The end of the report series of a target that is no longer scraped.
pub(crate) fn report_stale(reading: &Reading<'_>) -> Vec<SeriesSamples> {
    let all = report(reading, 0.0, &Round::default());
    all.into_iter().map(|s| stale(&s.labels, reading.now)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::testing::job;
    use super::super::target::populate;
    use super::*;

    fn target(job: &ScrapeJob) -> Target {
        populate(job, "h:1", &LabelSet::empty(), &LabelSet::empty()).unwrap()
    }

    const NOW: TimestampMs = TimestampMs(1000);

    fn read_as(
        job: &ScrapeJob,
        body: &[u8],
        kind: &str,
        before: &Known,
        used: &JobSeries,
    ) -> Round {
        let (target, cache) = (target(job), &Mutex::default());
        let reading = Reading { job, target: &target, now: NOW, before, job_series: used, cache };
        reading.body(body, Some(kind))
    }

    fn read(job: &ScrapeJob, body: &str, before: &Known) -> Round {
        read_as(job, body.as_bytes(), "text/plain", before, &JobSeries::new(before.len()))
    }

    fn error(job: &ScrapeJob, body: &str) -> String {
        read(job, body, &Known::new()).error.unwrap()
    }

    fn reported(job: &ScrapeJob, round: &Round) -> Vec<String> {
        let target = target(job);
        let (before, job_series, cache) = (&Known::new(), &JobSeries::new(0), &Mutex::default());
        let reading = Reading { job, target: &target, now: NOW, before, job_series, cache };
        let all = report(&reading, 0.25, round);
        all.iter().map(|s| format!("{} {}", s.labels.metric_name(), s.samples[0].1)).collect()
    }

    #[test]
    fn vanished_series_end_with_a_stale_marker() {
        let j = job("");
        let first = read(&j, "a 1\nb 2\n", &Known::new());
        assert_eq!((first.scraped, first.added), (2, 2));
        let second = read(&j, "a 1\n", &first.known);
        assert_eq!(second.added, 0);
        let gone = second.batch.series.last().unwrap();
        assert_eq!(gone.labels.metric_name(), "b");
        assert!(obs_types::is_stale(gone.samples[0].1));
    }

    #[test]
    fn series_with_times_of_their_own_vanish_silently_unless_tracked() {
        let of = |lines: &str| {
            let j = job(lines);
            let first = read(&j, "a 1 5\n", &Known::new());
            read(&j, "", &first.known).batch.series.len()
        };
        assert_eq!((of(""), of("  track_timestamps_staleness: true\n")), (0, 1));
        assert_eq!(of("  honor_timestamps: false\n"), 1);
    }

    #[test]
    fn clashing_labels_and_own_times() {
        let j = job("");
        let r = read(&j, "a{job=\"x\",instance=\"y\"} 1 5\n", &Known::new());
        let s = &r.batch.series[0];
        assert_eq!(s.labels.get("exported_job"), Some("x"));
        assert_eq!(s.labels.get("job"), Some("a"));
        assert_eq!(s.samples[0].0, TimestampMs(5));
        let honor = job("  honor_labels: true\n  honor_timestamps: false\n");
        let r = read(&honor, "a{job=\"x\"} 1 5\n", &Known::new());
        assert_eq!(r.batch.series[0].labels.get("job"), Some("x"));
        assert_eq!(r.batch.series[0].samples[0].0, NOW);
    }

    #[test]
    fn limits_fail_the_scrape_and_say_why() {
        let e = error(&job("  sample_limit: 1\n"), "a 1\nb 2\n");
        assert!(e.contains("sample limit exceeded: 2"), "{e}");
        let e = error(&job("  label_value_length_limit: 2\n"), "a{b=\"long\"} 1\n");
        assert!(e.contains("label value length"), "{e}");
        let e = error(&job("  label_name_length_limit: 9\n"), "a{long_label=\"x\"} 1\n");
        assert!(e.contains("label name length limit exceeded: 10"), "{e}");
        // Name, job and instance count too.
        let e = error(&job("  label_limit: 3\n"), "a{b=\"c\"} 1\n");
        assert!(e.contains("label limit exceeded: 4"), "{e}");
        assert!(error(&job(""), "a{ 1\n").contains("line 1"));
        let drops = "  metric_relabel_configs: [{action: labeldrop, regex: __name__}]\n";
        assert!(error(&job(drops), "a 1\n").contains("missing metric name"));
        let legacy = job("  metric_name_validation_scheme: legacy\n");
        assert!(error(&legacy, "{\"a.b\"} 1\n").contains("invalid metric name"));
        assert!(error(&legacy, "a{\"b.c\"=\"d\"} 1\n").contains("invalid label name"));
        assert!(read(&job(""), "{\"a.b\"} 1\n", &Known::new()).error.is_none());
    }

    #[test]
    fn a_failed_scrape_ends_what_was_known() {
        let j = job("  sample_limit: 1\n");
        let first = read(&j, "a 1\n", &Known::new());
        let failed = read(&j, "a 1\nb 2\n", &first.known);
        assert!(failed.known.is_empty());
        assert_eq!(failed.batch.series.len(), 1);
        assert!(obs_types::is_stale(failed.batch.series[0].samples[0].1));
        assert_eq!((failed.scraped, failed.after_relabel), (2, 2));
    }

    #[test]
    fn reports_of_success_and_failure() {
        let j = job(
            "  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]\n",
        );
        let ok = read(&j, "a 1\nb 2\n", &Known::new());
        assert_eq!(
            reported(&j, &ok),
            [
                "up 1",
                "scrape_duration_seconds 0.25",
                "scrape_samples_scraped 2",
                "scrape_samples_post_metric_relabeling 1",
                "scrape_series_added 1"
            ]
        );
        let extra = job("  extra_scrape_metrics: true\n  sample_limit: 9\n  scrape_timeout: 3s\n");
        let failed = read(&extra, "a{\n", &Known::new());
        let got = reported(&extra, &failed);
        assert_eq!(got[0], "up 0");
        assert_eq!(
            got[5..],
            ["scrape_timeout_seconds 3", "scrape_sample_limit 9", "scrape_body_size_bytes 3"]
        );
    }

    #[test]
    fn new_series_beyond_the_jobs_limit_are_refused_and_known_ones_kept() {
        let j = job("  series_limit: 3\n");
        // Another target of the job has one.
        let used = JobSeries::new(1);
        let kind = "text/plain";
        let first = read_as(&j, b"a 1\nb 1\nc 1\n", kind, &Known::new(), &used);
        assert_eq!((first.known.len(), first.refused, first.error.is_none()), (2, 1, true));
        assert_eq!(used.load(Ordering::Relaxed), 3);
        let second = read_as(&j, b"b 2\nc 2\n", kind, &first.known, &used);
        assert_eq!((second.known.len(), second.refused), (1, 1));
        // The place of `a` is free now.
        let third = read_as(&j, b"b 3\nc 3\n", kind, &second.known, &used);
        assert_eq!((third.known.len(), third.refused), (2, 0));
        assert!(reported(&j, &second).contains(&"scrape_series_limit_samples_dropped 1".into()));
        read_as(&j, b"{", kind, &third.known, &used);
        assert_eq!(used.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn classic_histograms_are_converted_on_request() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\n\
                    h_sum 4\nh_count 3\n";
        let r = read(&job("  convert_classic_histograms_to_nhcb: true\n"), text, &Known::new());
        let [h] = &r.batch.series[..] else { panic!("{:?}", r.batch.series) };
        assert_eq!((h.labels.metric_name(), h.histograms[0].1.count), ("h", 3.0));
        assert_eq!(r.scraped, 1);
    }

    #[test]
    fn bodies_without_a_usable_type_need_a_fallback() {
        let of = |lines: &str| {
            read_as(&job(lines), b"a 1\n", "application/json", &Known::new(), &JobSeries::new(0))
        };
        assert!(of("").error.unwrap().contains("application/json"));
        assert!(of("  fallback_scrape_protocol: PrometheusText0.0.4\n").error.is_none());
    }

    #[test]
    fn a_target_that_is_known_is_read_as_if_it_were_new() {
        let relabels = "  metric_relabel_configs: [{source_labels: [__name__], regex: b, action: \
                        drop}, {regex: x, action: labeldrop}]\n";
        let (j, cache) = (job(relabels), Mutex::default());
        let target = target(&j);
        let bodies =
            ["a{x=\"1\"} 1\nb 2\n", "b 1\na{x=\"1\"} 2\nc{job=\"k\"} 3\n", "c 3\n", "a{ 1\n"];
        let mut before = Known::new();
        for body in bodies.iter().chain(&bodies) {
            let used = &JobSeries::new(before.len());
            let of = |cache: &Mutex<TargetCache>| {
                let before = &before;
                let r =
                    Reading { job: &j, target: &target, now: NOW, before, job_series: used, cache };
                r.body(body.as_bytes(), Some("text/plain"))
            };
            let (got, want) = (of(&cache), of(&Mutex::default()));
            assert_eq!(format!("{got:?}"), format!("{want:?}"), "{body}");
            before = got.known;
        }
        assert!(cache.lock().unwrap().merged.len() <= 6);
    }
}
