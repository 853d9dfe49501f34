//! How well a name goes with what somebody typed.

use crate::ApiError;

/// How a name that does not contain the term is compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The term's characters stand in the name in their order.
    #[default]
    Subsequence,
    /// Jaro-Winkler similarity of the whole texts (Winkler 1990).
    JaroWinkler,
}

impl Algorithm {
    pub(super) fn from_text(text: &str) -> Result<Self, ApiError> {
        match text {
            "subsequence" => Ok(Self::Subsequence),
            "jarowinkler" => Ok(Self::JaroWinkler),
            other => Err(ApiError::invalid(format!(
                "invalid parameter \"fuzz_alg\": {other:?} is neither subsequence nor jarowinkler"
            ))),
        }
    }
}

/// What names are looked for: they contain one of the terms, or come near enough to one.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Lower case unless case counts. No term: every name fits.
    terms: Vec<String>,
    algorithm: Algorithm,
    /// Lowest score of a name that contains no term, 0 to 1; `None` where such a name does not fit.
    threshold: Option<f64>,
    case_sensitive: bool,
}

impl Filter {
    /// `threshold` is 0 to 100. With 0 a subsequence fits however it is spread; Jaro-Winkler would
    /// let everything through, so that there only names fit that contain the term.
    pub(super) fn new(
        terms: Vec<String>,
        algorithm: Algorithm,
        threshold: usize,
        case_sensitive: bool,
    ) -> Self {
        let terms = if case_sensitive {
            terms
        } else {
            terms.into_iter().map(|t| t.to_lowercase()).collect()
        };
        let any = threshold > 0 || algorithm == Algorithm::Subsequence;
        Self {
            terms,
            algorithm,
            threshold: any.then_some(threshold as f64 / 100.0),
            case_sensitive,
        }
    }

    /// The best of its terms' scores, above 0 and at most 1, which only the term itself has;
    /// `None` where the name does not fit.
    pub(super) fn score(&self, name: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let lower;
        let name = if self.case_sensitive {
            name
        } else {
            lower = name.to_lowercase();
            &lower
        };
        self.terms.iter().filter_map(|term| self.of(term, name)).max_by(f64::total_cmp)
    }

    fn of(&self, term: &str, name: &str) -> Option<f64> {
        let spread = subsequence(term, name);
        let score = match self.algorithm {
            Algorithm::Subsequence => spread?,
            Algorithm::JaroWinkler => strsim::jaro_winkler(term, name),
        };
        if name.contains(term) {
            // Far behind in a long name a term is not similar to the whole.
            return spread.map(|s| s.max(score));
        }
        self.threshold.filter(|t| score > 0.0 && score >= *t).map(|_| score)
    }
}

/// The share of the term's characters that stand together in the name, squared run by run, times
/// how much of the name the term makes out: one run of a short name is best. `None` where a
/// character is missing.
fn subsequence(term: &str, name: &str) -> Option<f64> {
    let term: Vec<char> = term.chars().collect();
    let name: Vec<char> = name.chars().collect();
    if term.is_empty() {
        return Some(1.0);
    }
    let starts = (0..name.len()).filter(|i| name[*i] == term[0]);
    let runs = starts.filter_map(|start| run_squares(&term, &name[start..])).max()?;
    let together = runs as f64 / (term.len() * term.len()) as f64;
    let covered = term.len() as f64 / name.len() as f64;
    Some(together * (0.5 + 0.5 * covered))
}

/// The sum of the squares of the runs in which `term` is found in `name` from its start on, each
/// character as early as possible.
fn run_squares(term: &[char], name: &[char]) -> Option<usize> {
    let (mut found, mut run, mut sum) = (0, 0usize, 0);
    for c in name {
        if found < term.len() && *c == term[found] {
            found += 1;
            run += 1;
        } else {
            sum += run * run;
            run = 0;
        }
        if found == term.len() {
            break;
        }
    }
    (found == term.len()).then_some(sum + run * run)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(terms: &[&str], algorithm: Algorithm, threshold: usize) -> Filter {
        Filter::new(terms.iter().map(|t| (*t).to_owned()).collect(), algorithm, threshold, true)
    }

    #[test]
    fn what_contains_the_term_fits_whatever_the_threshold() {
        for algorithm in [Algorithm::Subsequence, Algorithm::JaroWinkler] {
            let f = filter(&["http_req"], algorithm, 100);
            assert!(f.score("prometheus_http_requests_total").is_some());
            assert_eq!(f.score("http_req"), Some(1.0));
            assert_eq!(f.score("http_rqe"), None);
        }
    }

    #[test]
    fn letters_in_order_fit_and_those_together_score_higher() {
        let f = filter(&["htrt"], Algorithm::Subsequence, 0);
        assert!(f.score("http_requests_total").is_some());
        assert_eq!(f.score("up"), None);
        let f = filter(&["load"], Algorithm::Subsequence, 0);
        let near = f.score("node_load1").unwrap();
        let far = f.score("node_load_average_of_fifteen_minutes").unwrap();
        let spread = f.score("leaf_of_a_daemon").unwrap();
        assert!(near > far && far > spread, "{near} {far} {spread}");
        let f = filter(&["load"], Algorithm::Subsequence, 50);
        assert_eq!(f.score("leaf_of_a_daemon"), None);
    }

    #[test]
    fn a_slip_of_the_keyboard_is_found_by_similarity() {
        let f = filter(&["node_laod1"], Algorithm::JaroWinkler, 90);
        assert!(f.score("node_load1").is_some());
        assert_eq!(f.score("process_start_time_seconds"), None);
        assert_eq!(filter(&["x"], Algorithm::JaroWinkler, 0).score("y"), None);
    }

    #[test]
    fn several_terms_and_case() {
        let f = filter(&["cpu", "mem"], Algorithm::Subsequence, 0);
        assert!(f.score("cpu_seconds").is_some() && f.score("mem_bytes").is_some());
        let f = filter(&["CPU"], Algorithm::Subsequence, 0);
        assert_eq!(f.score("cpu_seconds"), None);
        let f = Filter::new(vec!["CPU".into()], Algorithm::Subsequence, 0, false);
        assert!(f.score("cpu_seconds").is_some());
        assert_eq!(filter(&[], Algorithm::Subsequence, 0).score("anything"), Some(1.0));
    }

    proptest! {
        #[test]
        fn scores_lie_above_0_and_at_most_at_1(term in "[a-c_]{1,6}", name in "[a-c_]{1,12}") {
            for algorithm in [Algorithm::Subsequence, Algorithm::JaroWinkler] {
                let score = filter(&[&term], algorithm, 1).score(&name);
                prop_assert!(score.is_none_or(|s| s > 0.0 && s <= 1.0));
                prop_assert!(!name.contains(&term) || score.is_some());
                prop_assert_eq!(score == Some(1.0), name == term);
            }
        }
    }
}
