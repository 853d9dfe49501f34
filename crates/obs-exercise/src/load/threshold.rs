//! `p(95)<500`, `rate<0.01`, `count>=100`.

/// What of a metric is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// 0 to 100.
    Percentile(f64),
    Avg,
    Min,
    Max,
    Count,
    /// Of a rate: the share of true; of a counter: per second.
    Rate,
    /// Of a gauge, or of a query.
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A checked threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    pub text: String,
    pub aggregate: Aggregate,
    comparison: Comparison,
    pub limit: f64,
}

/// A threshold that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("threshold {text:?}: {reason}")]
pub struct ThresholdError {
    pub text: String,
    pub reason: String,
}

impl Threshold {
    pub fn parse(text: &str) -> Result<Self, ThresholdError> {
        let wrong = |reason: String| ThresholdError { text: text.to_owned(), reason };
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = plain.find(['<', '>', '=', '!']).ok_or_else(|| {
            wrong("a comparison (<, <=, >, >=, ==, !=) is expected, as in p(95)<500".to_owned())
        })?;
        let (aggregate, rest) = plain.split_at_checked(at).unwrap_or(("", ""));
        let all = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("===", Comparison::Equal),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let (sign, comparison) = all
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| wrong(format!("{rest:?} does not begin with a comparison")))?;
        let number = rest.strip_prefix(sign).unwrap_or("");
        let limit: f64 = number
            .parse()
            .ok()
            .filter(|n: &f64| !n.is_nan())
            .ok_or_else(|| wrong(format!("{number:?} is not a number")))?;
        let aggregate = match aggregate {
            "avg" => Aggregate::Avg,
            "min" => Aggregate::Min,
            "med" => Aggregate::Percentile(50.0),
            "max" => Aggregate::Max,
            "count" => Aggregate::Count,
            "rate" => Aggregate::Rate,
            "value" => Aggregate::Value,
            other => {
                let inner = other.strip_prefix("p(").and_then(|r| r.strip_suffix(')'));
                let p = inner.and_then(|n| n.parse::<f64>().ok());
                match p.filter(|p| (0.0..=100.0).contains(p)) {
                    Some(p) => Aggregate::Percentile(p),
                    None => {
                        return Err(wrong(format!(
                            "{other:?} is not one of p(0) to p(100), avg, min, med, max, count, \
                             rate, value"
                        )));
                    }
                }
            }
        };
        Ok(Self { text: plain, aggregate, comparison, limit })
    }

    /// NaN keeps no threshold.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::Greater => value > self.limit,
            Comparison::GreaterOrEqual => value >= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::NotEqual => !value.is_nan() && value != self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_and_kept() {
        let t = Threshold::parse(" p(99.9) <= 500 ").unwrap();
        assert_eq!((t.aggregate, t.limit), (Aggregate::Percentile(99.9), 500.0));
        assert_eq!([t.holds(500.0), t.holds(500.1), t.holds(f64::NAN)], [true, false, false]);
        for (text, good, bad) in [
            ("rate<0.01", 0.009, 0.01),
            ("count>=3", 3.0, 2.0),
            ("value==1", 1.0, 0.0),
            ("value!=1", 0.0, 1.0),
            ("max>1", 2.0, 1.0),
        ] {
            let t = Threshold::parse(text).unwrap();
            assert_eq!([t.holds(good), t.holds(bad)], [true, false], "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, says) in [
            ("p(95)", "comparison"),
            ("p(101)<1", "p(0) to p(100)"),
            ("speed<1", "speed"),
            ("avg<fast", "fast"),
            ("avg<NaN", "NaN"),
            ("avg=1", "comparison"),
        ] {
            let e = Threshold::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
