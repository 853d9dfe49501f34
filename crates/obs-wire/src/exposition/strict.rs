//! The rules of OpenMetrics 1.0 beyond syntax.
//!
//! Invariants that a text must keep: a family's lines stand together, metadata first; a group's
//! (equal labels but for `le`, `quantile` and a state) samples stand together; timestamps of a
//! group do not go back and are all there or all absent; names of families do not clash; values
//! and labels fit the type.

use std::collections::HashSet;

use obs_types::MetricKind;

use super::line::RawSample;

#[derive(Default)]
pub(super) struct StrictCheck<'a> {
    /// Every name that a finished family owns.
    claimed: HashSet<String>,
    family: Option<FamilyState<'a>>,
}

struct FamilyState<'a> {
    name: &'a str,
    kind: MetricKind,
    keywords: Vec<&'a str>,
    sampled: bool,
    groups: HashSet<String>,
    group: Option<GroupState>,
}

struct GroupState {
    key: String,
    timestamp: Option<f64>,
    /// Name and distinguishing label of the samples at `timestamp`.
    seen: HashSet<String>,
    point: HistogramPoint,
}

#[derive(Default)]
struct HistogramPoint {
    last_bound: Option<f64>,
    last_value: f64,
    infinite: Option<f64>,
    count: Option<f64>,
    sum: Option<f64>,
    negative_bounds: bool,
    touched: bool,
}

fn suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricKind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricKind::Summary => &["", "_count", "_sum", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[""],
    }
}

impl<'a> StrictCheck<'a> {
    pub(super) fn metadata(
        &mut self,
        name: &'a str,
        keyword: &'a str,
        kind: Option<MetricKind>,
        text: &str,
    ) -> Result<(), String> {
        if self.family.as_ref().is_none_or(|f| f.name != name) {
            self.start(name)?;
        }
        let Some(family) = &mut self.family else { return Ok(()) };
        if family.sampled {
            return Err(format!("{keyword} of {name:?} after its samples"));
        }
        if family.keywords.contains(&keyword) {
            return Err(format!("second {keyword} line for {name:?}"));
        }
        family.keywords.push(keyword);
        if let Some(kind) = kind {
            family.kind = kind;
        }
        if keyword == "UNIT"
            && !text.is_empty()
            && matches!(family.kind, MetricKind::Info | MetricKind::StateSet)
        {
            return Err(format!("{} {name:?} cannot have a unit", family.kind));
        }
        Ok(())
    }

    pub(super) fn sample(&mut self, raw: &RawSample<'a>) -> Result<(), String> {
        let suffix_of = |f: &FamilyState<'a>| {
            let suffix = raw.name.strip_prefix(f.name)?;
            suffixes(f.kind).iter().copied().find(|s| *s == suffix)
        };
        let suffix = match self.family.as_ref().and_then(suffix_of) {
            Some(suffix) => suffix,
            None => {
                // A name without metadata is a family of its own, of unknown type.
                self.start(raw.name)?;
                ""
            }
        };
        match &mut self.family {
            Some(family) => family.sample(suffix, raw),
            None => Ok(()),
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), String> {
        let Some(mut family) = self.family.take() else { return Ok(()) };
        family.finish_group()?;
        self.claimed.insert(family.name.to_owned());
        for suffix in suffixes(family.kind).iter().filter(|s| !s.is_empty()) {
            let name = format!("{}{suffix}", family.name);
            if !self.claimed.insert(name.clone()) {
                return Err(format!("{} {:?} clashes with {name:?}", family.kind, family.name));
            }
        }
        Ok(())
    }

    fn start(&mut self, name: &'a str) -> Result<(), String> {
        self.finish()?;
        if self.claimed.contains(name) {
            return Err(format!("{name:?} was already given, or clashes with another family"));
        }
        self.family = Some(FamilyState {
            name,
            kind: MetricKind::Unknown,
            keywords: Vec::new(),
            sampled: false,
            groups: HashSet::new(),
            group: None,
        });
        Ok(())
    }
}

impl<'a> FamilyState<'a> {
    fn sample(&mut self, suffix: &'static str, raw: &RawSample<'a>) -> Result<(), String> {
        self.sampled = true;
        self.check_value(suffix, raw)?;
        let distinguishing = self.distinguishing(suffix);
        let own = raw.labels.iter().find(|(n, _)| n == distinguishing).map_or("", |(_, v)| v);
        let mut rest: Vec<_> = raw.labels.iter().filter(|(n, _)| n != distinguishing).collect();
        rest.sort();
        let key = format!("{rest:?}");

        if self.group.as_ref().is_none_or(|g| g.key != key) {
            self.finish_group()?;
            if !self.groups.insert(key.clone()) {
                return Err(format!("samples of {:?} are not grouped by labels", self.name));
            }
            self.group = Some(GroupState {
                key,
                timestamp: raw.value.timestamp_seconds,
                seen: HashSet::new(),
                point: HistogramPoint::default(),
            });
        }
        let (kind, name) = (self.kind, self.name);
        let Some(group) = &mut self.group else { return Ok(()) };
        match (group.timestamp, raw.value.timestamp_seconds) {
            (Some(before), Some(now)) if now < before => {
                return Err(format!("timestamps of {name:?} go back"));
            }
            (Some(before), Some(now)) if now > before => {
                std::mem::take(&mut group.point).finish(kind, name)?;
                group.seen.clear();
                group.timestamp = Some(now);
            }
            (None, Some(_)) | (Some(_), None) => {
                return Err(format!("some samples of {name:?} have a timestamp, others do not"));
            }
            _ => {}
        }
        if !group.seen.insert(format!("{suffix} {own}")) {
            return Err(format!("sample of {name:?} is given twice"));
        }
        if matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram) {
            group.point.add(suffix, own, raw.value.value)?;
        }
        Ok(())
    }

    fn finish_group(&mut self) -> Result<(), String> {
        match self.group.take() {
            Some(group) => group.point.finish(self.kind, self.name),
            None => Ok(()),
        }
    }

    /// The label in which samples of one group may differ.
    fn distinguishing(&self, suffix: &str) -> &'a str {
        match self.kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram if suffix == "_bucket" => "le",
            MetricKind::Summary if suffix.is_empty() => "quantile",
            MetricKind::StateSet => self.name,
            _ => "",
        }
    }

    fn check_value(&self, suffix: &str, raw: &RawSample<'a>) -> Result<(), String> {
        let (kind, value) = (self.kind, raw.value.value);
        if raw.value.exemplar.is_some()
            && !matches!(
                (kind, suffix),
                (MetricKind::Counter, "_total")
                    | (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket")
            )
        {
            return Err(format!("{kind} sample {:?} cannot have an exemplar", raw.name));
        }
        if matches!(suffix, "_total" | "_sum" | "_count" | "_bucket" | "_gcount" | "_gsum") {
            if value.is_nan() {
                return Err(format!("{:?} cannot be NaN", raw.name));
            }
            if value < 0.0 && suffix != "_gsum" {
                return Err(format!("{:?} cannot be negative", raw.name));
            }
        }
        let label = |name: &str| raw.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        match kind {
            MetricKind::Info if value != 1.0 => {
                Err(format!("info {:?} must have the value 1", raw.name))
            }
            MetricKind::StateSet if value != 0.0 && value != 1.0 => {
                Err(format!("state {:?} must be 0 or 1", raw.name))
            }
            MetricKind::StateSet if label(self.name).is_none() => {
                Err(format!("state {:?} lacks the label of its name", raw.name))
            }
            MetricKind::Summary if suffix.is_empty() => {
                let quantile = label("quantile").and_then(|v| crate::float::parse_go_float(v));
                match quantile {
                    Some(q) if (0.0..=1.0).contains(&q) => Ok(()),
                    _ => Err(format!("{:?} lacks a quantile between 0 and 1", raw.name)),
                }
            }
            _ => Ok(()),
        }
    }
}

impl HistogramPoint {
    fn add(&mut self, suffix: &str, bound: &str, value: f64) -> Result<(), String> {
        match suffix {
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" | "_gsum" => self.sum = Some(value),
            "_bucket" => {
                let le = crate::float::parse_go_float(bound)
                    .filter(|le| !le.is_nan() && (le.is_finite() || bound == "+Inf"))
                    .ok_or_else(|| format!("bucket with le {bound:?}"))?;
                if self.last_bound.is_some_and(|last| last >= le) {
                    return Err(format!("bucket le {bound:?} does not ascend"));
                }
                if value < self.last_value {
                    return Err(format!("bucket le {bound:?} counts less than the one before"));
                }
                self.last_bound = Some(le);
                self.last_value = value;
                self.negative_bounds |= le < 0.0;
                if le.is_infinite() {
                    self.infinite = Some(value);
                }
            }
            _ => return Ok(()),
        }
        self.touched = true;
        Ok(())
    }

    fn finish(self, kind: MetricKind, name: &str) -> Result<(), String> {
        if !self.touched {
            return Ok(());
        }
        let Some(infinite) = self.infinite else {
            return Err(format!("{kind} {name:?} lacks its +Inf bucket"));
        };
        if self.count.is_some_and(|count| count != infinite) {
            return Err(format!("count of {name:?} differs from its +Inf bucket"));
        }
        let gauge = kind == MetricKind::GaugeHistogram;
        if self.sum.is_some() && self.count.is_none() {
            return Err(format!("{kind} {name:?} has a sum without a count"));
        }
        if gauge && self.count.is_some() && self.sum.is_none() {
            return Err(format!("{kind} {name:?} has a count without a sum"));
        }
        if !gauge && self.negative_bounds && self.sum.is_some() {
            return Err(format!("histogram {name:?} has negative buckets and a sum"));
        }
        if gauge && !self.negative_bounds && self.sum.is_some_and(|sum| sum < 0.0) {
            return Err(format!("{kind} {name:?} has a negative sum without negative buckets"));
        }
        Ok(())
    }
}
