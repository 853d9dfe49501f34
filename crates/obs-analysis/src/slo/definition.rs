//! SLO definition files: ENGINE 3.2's contract shape in YAML or JSON.

use obs_types::DurationMs;
use serde::Deserialize;

use crate::AnalysisError;
use crate::slo::duration::{duration_text, parse_duration};

/// One objective, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// `slo:anchor-latency-p99`
    pub id: String,
    pub name: String,
    pub description: String,
    pub indicator: Indicator,
    /// Share of good events wanted, above 0 and below 1.
    pub target: f64,
    /// Rolling.
    pub window: DurationMs,
}

/// How good and all events are counted. Queries are PromQL; see [`crate::slo::events`] for what
/// may stand in them.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Events that are good, or bad, of all.
    Ratio { good_query: Option<String>, error_query: Option<String>, total_query: String },
    /// Observations of a classic histogram at or below a bucket bound.
    Histogram { histogram: String, threshold: f64 },
    /// Observations of a native histogram at or below any bound.
    NativeHistogram { histogram: String, threshold: f64 },
    /// Minutes in which a value is at or below a bound.
    Value { query: String, threshold: f64 },
}

/// The file form; its own type, so that the format changes on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SloFile {
    slos: Vec<SloText>,
}

/// ENGINE's contract, as `slo create` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractText {
    #[serde(default, rename = "operation_id")]
    _operation_id: Option<String>,
    #[serde(default, rename = "operation_type")]
    _operation_type: Option<String>,
    #[serde(default, rename = "initiated_by")]
    _initiated_by: Option<String>,
    slo: SloText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SloText {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: String,
    indicator: IndicatorText,
    target: f64,
    window: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IndicatorText {
    #[serde(rename = "type")]
    kind: KindText,
    #[serde(default)]
    good_query: Option<String>,
    #[serde(default)]
    error_query: Option<String>,
    #[serde(default)]
    total_query: Option<String>,
    #[serde(default)]
    histogram: Option<String>,
    #[serde(default)]
    native: bool,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    threshold: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindText {
    Availability,
    Latency,
}

/// Reads a file with `slos: […]`, or one contract with `slo: {…}`. `file` only names the place in
/// errors; the line is of the YAML where the parser knows it.
pub fn parse_slo_file(file: &str, text: &str) -> Result<Vec<Slo>, AnalysisError> {
    let refuse = |reason: String| AnalysisError::Definition { file: file.to_owned(), reason };
    let is_contract = text.lines().any(|line| {
        line.trim_start().trim_start_matches(['{', '"', ' ']).starts_with("slo:")
            || line.contains("\"slo\":")
    });
    let texts = if is_contract {
        let contract: ContractText =
            serde_saphyr::from_str(text).map_err(|e| refuse(e.to_string()))?;
        vec![contract.slo]
    } else {
        let file: SloFile = serde_saphyr::from_str(text).map_err(|e| refuse(e.to_string()))?;
        file.slos
    };
    let mut slos: Vec<Slo> = Vec::with_capacity(texts.len());
    for text in texts {
        let id = text.id.clone();
        let slo = check(text).map_err(|reason| refuse(format!("slo {id:?}: {reason}")))?;
        if slos.iter().any(|other| other.id == slo.id) {
            return Err(refuse(format!("slo {id:?} is defined twice")));
        }
        slos.push(slo);
    }
    Ok(slos)
}

fn check(text: SloText) -> Result<Slo, String> {
    if text.id.is_empty() || text.id.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the id must be one word such as slo:oracle-availability".into());
    }
    if !(text.target > 0.0 && text.target < 1.0) {
        return Err(format!(
            "target {} is not between 0 and 1 (99.9 % is written 0.999)",
            text.target
        ));
    }
    let window =
        parse_duration(&text.window).filter(|d| d.0 >= DurationMs::HOUR.0).ok_or_else(|| {
            format!("window {:?} is no duration of an hour or more, such as 30d", text.window)
        })?;
    Ok(Slo {
        name: text.name.unwrap_or_else(|| text.id.clone()),
        id: text.id,
        description: text.description,
        indicator: check_indicator(text.indicator)?,
        target: text.target,
        window,
    })
}

fn check_indicator(text: IndicatorText) -> Result<Indicator, String> {
    let threshold = || {
        text.threshold
            .filter(|t| t.is_finite())
            .ok_or_else(|| "this latency indicator needs a finite threshold".to_owned())
    };
    if text.kind == KindText::Latency {
        if let Some(histogram) = text.histogram.clone() {
            let threshold = threshold()?;
            return Ok(match text.native {
                true => Indicator::NativeHistogram { histogram, threshold },
                false => Indicator::Histogram { histogram, threshold },
            });
        }
        if let Some(query) = text.query.clone() {
            return Ok(Indicator::Value { query, threshold: threshold()? });
        }
    }
    match (text.good_query, text.error_query, text.total_query) {
        (None, None, _) => Err(match text.kind {
            KindText::Availability => "availability needs good_query or error_query".into(),
            KindText::Latency => {
                "latency needs histogram and threshold, or query and threshold, or good_query"
                    .into()
            }
        }),
        (Some(_), Some(_), _) => Err("good_query and error_query exclude each other".into()),
        (_, _, None) => Err("total_query is missing".into()),
        (good_query, error_query, Some(total_query)) => {
            Ok(Indicator::Ratio { good_query, error_query, total_query })
        }
    }
}

impl Slo {
    /// `30d`
    pub fn window_text(&self) -> String {
        duration_text(self.window)
    }

    /// The share of bad events that is allowed, without the noise of binary fractions:
    /// 0.001 for a target of 0.999.
    pub fn budget(&self) -> f64 {
        ((1.0 - self.target) * 1e12).round() / 1e12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"{
        "operation_id": "obs-op-2025-12-06-002",
        "operation_type": "slo_create",
        "initiated_by": "did:vm:user:sovereign",
        "slo": {
            "id": "slo:oracle-availability",
            "name": "Oracle Availability",
            "description": "Oracle service uptime",
            "indicator": {
                "type": "availability",
                "good_query": "oracle_up == 1",
                "total_query": "count(oracle_requests)"
            },
            "target": 0.999,
            "window": "30d"
        }
    }"#;

    #[test]
    fn engines_contract_is_read_as_it_is() {
        let slos = parse_slo_file("c.json", CONTRACT).unwrap();
        assert_eq!(slos[0].id, "slo:oracle-availability");
        assert_eq!(slos[0].window, DurationMs(30 * DurationMs::DAY.0));
        assert_eq!(slos[0].budget(), 0.001);
        assert_eq!(slos[0].window_text(), "30d");
    }

    #[test]
    fn a_file_of_several_and_what_may_be_wrong_with_it() {
        let good = "slos:\n- id: slo:a\n  indicator: {type: latency, histogram: anchor_seconds, threshold: 30}\n  target: 0.99\n  window: 7d\n";
        let slos = parse_slo_file("a.yml", good).unwrap();
        assert_eq!(
            slos[0].indicator,
            Indicator::Histogram { histogram: "anchor_seconds".into(), threshold: 30.0 }
        );
        for (change, want) in [
            (("target: 0.99", "target: 99.9"), "99.9"),
            (("window: 7d", "window: soon"), "soon"),
            (("threshold: 30", "treshold: 30"), "treshold"),
            (("histogram: anchor_seconds, ", ""), "latency needs"),
            (("slos:", "sloz:"), "line 1"),
            (("id: slo:a", "id: 'a b'"), "one word"),
        ] {
            let error = parse_slo_file("a.yml", &good.replace(change.0, change.1)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(want) && text.contains("a.yml"), "{text}");
        }
    }
}
