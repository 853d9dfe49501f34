//! One scrape's text turned into a batch: labels merged, limits checked, series that vanished
//! marked stale, the synthetic series added. Pure, so that it is tested without a network.

use std::collections::BTreeSet;

use obs_types::{LabelSet, MetricBatch, SeriesSamples, TimestampMs, stale_nan};
use obs_wire::exposition::{ExpositionFormat, ParseCaps, parse};

use super::config::ScrapeJob;
use super::relabel::relabel;
use super::target::Target;

/// What one scrape gave.
#[derive(Debug)]
pub(crate) struct Round {
    pub batch: MetricBatch,
    /// Series that took the scrape's time; they are marked stale when they vanish.
    pub tracked: BTreeSet<LabelSet>,
    pub scraped: usize,
    pub after_relabel: usize,
    pub added: usize,
}

/// The samples of a body. `Err` says why the whole scrape counts as failed.
pub(crate) fn read_body(
    job: &ScrapeJob,
    target: &Target,
    body: &[u8],
    content_type: &str,
    now: TimestampMs,
    before: &BTreeSet<LabelSet>,
) -> Result<Round, String> {
    let format = ExpositionFormat::from_content_type(content_type);
    let exposition = parse(body, format, ParseCaps::default()).map_err(|e| e.to_string())?;
    let mut batch = MetricBatch { series: Vec::new(), metadata: exposition.metadata };
    let scraped = exposition.series.len();
    let mut tracked = BTreeSet::new();
    for sample in exposition.series {
        let merged = merge(&sample.labels, target, job.honor_labels);
        let Some(labels) = relabel(&merged, &job.metric_relabel) else { continue };
        if labels.metric_name().is_empty() {
            continue;
        }
        check_labels(job, &labels)?;
        let timestamp = sample.timestamp.filter(|_| job.honor_timestamps);
        if timestamp.is_none() {
            tracked.insert(labels.clone());
        }
        batch.series.push(SeriesSamples {
            labels,
            samples: vec![(timestamp.unwrap_or(now), sample.value)],
            exemplars: sample.exemplar.map(|e| e.into_exemplar(now)).into_iter().collect(),
            ..SeriesSamples::default()
        });
    }
    let after_relabel = batch.series.len();
    if job.sample_limit > 0 && after_relabel > job.sample_limit {
        return Err(format!(
            "sample limit exceeded: {after_relabel} samples, the limit is {}",
            job.sample_limit
        ));
    }
    let added = tracked.iter().filter(|l| !before.contains(*l)).count();
    for gone in before.iter().filter(|l| !tracked.contains(*l)) {
        batch.series.push(stale(gone, now));
    }
    Ok(Round { batch, tracked, scraped, after_relabel, added })
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
    let limit = |what: &str, have: usize, max: usize| {
        if max > 0 && have > max {
            return Err(format!("{what} limit exceeded: {have}, the limit is {max}: {labels}"));
        }
        Ok(())
    };
    limit("label", labels.len(), job.label_limit)?;
    for (name, value) in labels.iter() {
        limit("label name length", name.len(), job.label_name_length_limit)?;
        limit("label value length", value.len(), job.label_value_length_limit)?;
    }
    Ok(())
}

fn stale(labels: &LabelSet, now: TimestampMs) -> SeriesSamples {
    SeriesSamples {
        labels: labels.clone(),
        samples: vec![(now, stale_nan())],
        ..SeriesSamples::default()
    }
}

/// Stale markers for everything that a target had: it failed, or it is gone.
pub(crate) fn all_stale(before: &BTreeSet<LabelSet>, now: TimestampMs) -> MetricBatch {
    MetricBatch { series: before.iter().map(|l| stale(l, now)).collect(), metadata: Vec::new() }
}

/// `up` and the `scrape_*` series of one scrape.
pub(crate) fn synthetic(
    target: &Target,
    now: TimestampMs,
    seconds: f64,
    round: Option<&Round>,
) -> Vec<SeriesSamples> {
    let count = |f: fn(&Round) -> usize| round.map_or(0.0, |r| f(r) as f64);
    [
        ("up", if round.is_some() { 1.0 } else { 0.0 }),
        ("scrape_duration_seconds", seconds),
        ("scrape_samples_scraped", count(|r| r.scraped)),
        ("scrape_samples_post_metric_relabeling", count(|r| r.after_relabel)),
        ("scrape_series_added", count(|r| r.added)),
    ]
    .into_iter()
    .map(|(name, value)| SeriesSamples {
        labels: target.labels.with(obs_types::METRIC_NAME, name),
        samples: vec![(now, value)],
        ..SeriesSamples::default()
    })
    .collect()
}

/// The end of the synthetic series of a target that is no longer scraped.
pub(crate) fn synthetic_stale(target: &Target, now: TimestampMs) -> Vec<SeriesSamples> {
    synthetic(target, now, 0.0, None).into_iter().map(|s| stale(&s.labels, now)).collect()
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

    fn read(job: &ScrapeJob, body: &str, before: &BTreeSet<LabelSet>) -> Result<Round, String> {
        read_body(job, &target(job), body.as_bytes(), "text/plain", NOW, before)
    }

    #[test]
    fn vanished_series_end_with_a_stale_marker() {
        let j = job("");
        let first = read(&j, "a 1\nb 2\n", &BTreeSet::new()).unwrap();
        assert_eq!((first.scraped, first.added), (2, 2));
        let second = read(&j, "a 1\n", &first.tracked).unwrap();
        assert_eq!(second.added, 0);
        let gone = second.batch.series.last().unwrap();
        assert_eq!(gone.labels.metric_name(), "b");
        assert!(obs_types::is_stale(gone.samples[0].1));
    }

    #[test]
    fn clashing_labels_and_own_times() {
        let j = job("");
        let r = read(&j, "a{job=\"x\",instance=\"y\"} 1 5\n", &BTreeSet::new()).unwrap();
        let s = &r.batch.series[0];
        assert_eq!(s.labels.get("exported_job"), Some("x"));
        assert_eq!(s.labels.get("job"), Some("a"));
        assert_eq!(s.samples[0].0, TimestampMs(5));
        assert!(r.tracked.is_empty());
        let honor = job("  honor_labels: true\n  honor_timestamps: false\n");
        let r = read(&honor, "a{job=\"x\"} 1 5\n", &BTreeSet::new()).unwrap();
        assert_eq!(r.batch.series[0].labels.get("job"), Some("x"));
        assert_eq!(r.batch.series[0].samples[0].0, NOW);
    }

    #[test]
    fn limits_fail_the_scrape_and_say_why() {
        let e = read(&job("  sample_limit: 1\n"), "a 1\nb 2\n", &BTreeSet::new()).unwrap_err();
        assert!(e.contains("sample limit exceeded: 2"), "{e}");
        let e =
            read(&job("  label_value_length_limit: 2\n"), "a{b=\"long\"} 1\n", &BTreeSet::new())
                .unwrap_err();
        assert!(e.contains("label value length"), "{e}");
        assert!(read(&job(""), "a{ 1\n", &BTreeSet::new()).unwrap_err().contains("line 1"));
    }

    #[test]
    fn synthetic_series_of_success_and_failure() {
        let j = job("");
        let ok = read(&j, "a 1\n", &BTreeSet::new()).unwrap();
        let up = |round| synthetic(&target(&j), NOW, 0.1, round)[0].samples[0].1;
        assert_eq!((up(Some(&ok)), up(None)), (1.0, 0.0));
    }
}
