//! Which alerts the unit tests of a pack see fire and resolve.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// What is read of a test file; `vm-obs rules test` checks the whole form.
#[derive(Debug, Deserialize)]
struct TestFile {
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
struct Test {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Debug, Deserialize)]
struct AlertTest {
    eval_time: String,
    alertname: String,
    #[serde(default)]
    exp_alerts: Option<Vec<Value>>,
}

/// Names of alerts that are seen to fire, and to be over after that in the same test.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) fires: BTreeSet<String>,
    pub(super) resolves: BTreeSet<String>,
}

impl Coverage {
    /// Adds a test file. The error is the form's.
    pub(super) fn add(&mut self, text: &str) -> Result<(), serde_saphyr::Error> {
        let file: TestFile = serde_saphyr::from_str(text)?;
        for test in &file.tests {
            let at = |t: &AlertTest| obs_rules::parse_duration(&t.eval_time).map_or(0, |d| d.0);
            let fires = |t: &&AlertTest| t.exp_alerts.as_ref().is_some_and(|l| !l.is_empty());
            for firing in test.alert_rule_test.iter().filter(fires) {
                self.fires.insert(firing.alertname.clone());
                let over = test
                    .alert_rule_test
                    .iter()
                    .any(|t| t.alertname == firing.alertname && !fires(&t) && at(t) > at(firing));
                if over {
                    self.resolves.insert(firing.alertname.clone());
                }
            }
        }
        Ok(())
    }
}
