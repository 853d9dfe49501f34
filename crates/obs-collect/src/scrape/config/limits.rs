//! What a scrape may bring and in which formats, checked.

use super::forms::LimitsForm;
use super::units::size_limit;
use crate::scrape::protocol::{Escaping, ScrapeProtocol};

/// Limits of one scrape; 0 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Bytes of a body, unpacked.
    pub body_bytes: u64,
    /// Samples after relabeling.
    pub samples: usize,
    pub targets: usize,
    pub labels: usize,
    pub label_name_bytes: usize,
    pub label_value_bytes: usize,
    /// Buckets of a native histogram; finer ones are merged until they fit.
    pub native_histogram_buckets: usize,
    /// Series that the job may have at one time; new ones beyond it are refused.
    pub series: usize,
    /// Dropped targets that are remembered.
    pub dropped_targets: usize,
}

/// How bodies are asked for and read.
#[derive(Clone, Debug)]
pub struct ScrapeFormats {
    /// In order of preference.
    pub protocols: Vec<ScrapeProtocol>,
    /// What a body is taken for whose `Content-Type` says nothing usable.
    pub fallback: Option<ScrapeProtocol>,
    pub escaping: Escaping,
    /// Names must be `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub legacy_names: bool,
    pub native_histograms: bool,
    pub classic_with_native: bool,
    pub classic_to_custom_buckets: bool,
    /// Factor between bounds that native histograms are made as coarse as; 0 leaves them.
    pub bucket_factor_min: f64,
    /// Also report timeout, limit and body size of every scrape.
    pub extra_metrics: bool,
}

const PROTOCOLS_TEXT: [ScrapeProtocol; 4] = [
    ScrapeProtocol::OpenMetrics1,
    ScrapeProtocol::OpenMetrics0,
    ScrapeProtocol::Text1,
    ScrapeProtocol::Text0,
];

/// Checks what is in `form`, whether it came from `global` or from a job.
pub(super) fn check(form: LimitsForm) -> Result<(ScrapeLimits, ScrapeFormats), String> {
    let legacy_names = match form.metric_name_validation_scheme.as_deref() {
        None | Some("" | "utf8") => false,
        Some("legacy") => true,
        Some(other) => {
            return Err(format!(
                "unknown metric_name_validation_scheme {other:?}, expected \"utf8\" or \"legacy\""
            ));
        }
    };
    let escaping = match form.metric_name_escaping_scheme.as_deref() {
        None | Some("") if legacy_names => Escaping::Underscores,
        None | Some("") => Escaping::AllowUtf8,
        Some(text) => Escaping::from_text(text).ok_or_else(|| {
            format!(
                "unknown metric_name_escaping_scheme {text:?}, expected \"allow-utf-8\", \
                 \"underscores\", \"dots\" or \"values\""
            )
        })?,
    };
    if legacy_names && escaping == Escaping::AllowUtf8 {
        return Err("metric_name_escaping_scheme \"allow-utf-8\" does not go with \
                    metric_name_validation_scheme \"legacy\""
            .into());
    }
    let native_histograms = form.scrape_native_histograms.unwrap_or(false);
    let protocols = match form.scrape_protocols {
        Some(names) => protocols(&names)?,
        None if native_histograms => {
            [&[ScrapeProtocol::Protobuf], PROTOCOLS_TEXT.as_slice()].concat()
        }
        None => PROTOCOLS_TEXT.to_vec(),
    };
    let limits = ScrapeLimits {
        body_bytes: form.body_size_limit.as_ref().map(size_limit).transpose()?.unwrap_or(0),
        samples: form.sample_limit.unwrap_or(0),
        targets: form.target_limit.unwrap_or(0),
        labels: form.label_limit.unwrap_or(0),
        label_name_bytes: form.label_name_length_limit.unwrap_or(0),
        label_value_bytes: form.label_value_length_limit.unwrap_or(0),
        dropped_targets: form.keep_dropped_targets.unwrap_or(0),
        native_histogram_buckets: 0,
        series: 0,
    };
    let formats = ScrapeFormats {
        protocols,
        fallback: None,
        escaping,
        legacy_names,
        native_histograms,
        classic_with_native: form.always_scrape_classic_histograms.unwrap_or(false),
        classic_to_custom_buckets: form.convert_classic_histograms_to_nhcb.unwrap_or(false),
        bucket_factor_min: 0.0,
        extra_metrics: form.extra_scrape_metrics.unwrap_or(false),
    };
    Ok((limits, formats))
}

pub(super) fn protocol(name: &str) -> Result<ScrapeProtocol, String> {
    ScrapeProtocol::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = ScrapeProtocol::ALL.iter().map(|p| p.name()).collect();
        format!("unknown scrape protocol {name:?}, supported: {known:?}")
    })
}

fn protocols(names: &[String]) -> Result<Vec<ScrapeProtocol>, String> {
    let mut out = Vec::new();
    for name in names {
        let one = protocol(name)?;
        if out.contains(&one) {
            return Err(format!("duplicated protocol in scrape_protocols: {name:?}"));
        }
        out.push(one);
    }
    if out.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    Ok(out)
}
