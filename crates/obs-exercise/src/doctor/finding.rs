//! What a run of the doctor says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use obs_rules::{AlertSpec, RuleSpec};

use super::world::RuleInput;

/// The twelve checks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A sample, a line and a span by each protocol, asked for through each API.
    Ingest,
    /// Scrape targets and the age of their last sample.
    Targets,
    Dashboards,
    RecordingRules,
    Alerts,
    /// Each alert fires in a sandbox and is told to a receiver.
    FireDrill,
    /// A marked message through each real receiver.
    DeliveryDrill,
    /// Each alert that fired in the sandbox resolves and that is told too.
    ResolvePath,
    Objectives,
    Ledger,
    /// Data folder: backup and what can be read back.
    Storage,
    /// Clock, disk and cardinality.
    Headroom,
}

impl Check {
    pub const ALL: [Self; 12] = [
        Self::Ingest,
        Self::Targets,
        Self::Dashboards,
        Self::RecordingRules,
        Self::Alerts,
        Self::FireDrill,
        Self::DeliveryDrill,
        Self::ResolvePath,
        Self::Objectives,
        Self::Ledger,
        Self::Storage,
        Self::Headroom,
    ];

    /// As `--json` and the `check` label write it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Targets => "targets",
            Self::Dashboards => "dashboards",
            Self::RecordingRules => "recording-rules",
            Self::Alerts => "alerts",
            Self::FireDrill => "fire-drill",
            Self::DeliveryDrill => "delivery-drill",
            Self::ResolvePath => "resolve-path",
            Self::Objectives => "objectives",
            Self::Ledger => "ledger",
            Self::Storage => "storage",
            Self::Headroom => "headroom",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something that is relied on does not work.
    Critical,
    /// It will mislead or fail under conditions that occur.
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// As the world calls the file: relative to the folder, or the server's name for it.
    pub file: String,
    /// From 1; 0 where the line is not known.
    pub line: u64,
}

/// What was looked at and what it gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub query: Option<String>,
    pub result: String,
    pub place: Option<Place>,
}

/// A mend that changes no meaning and can be done by the doctor itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Replace `{"dashboard": {…}}` in the file by what is inside.
    UnwrapDashboard { file: PathBuf },
    /// Replace `${INPUT}` by the uid of the one data source of its type.
    ResolveInputs { file: PathBuf, inputs: BTreeMap<String, String> },
    /// Point every reference to the missing data source `from` at the one that exists.
    RenameDataSource { file: PathBuf, from: String, to: String },
}

impl Fix {
    pub fn file(&self) -> &PathBuf {
        match self {
            Self::UnwrapDashboard { file }
            | Self::ResolveInputs { file, .. }
            | Self::RenameDataSource { file, .. } => file,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    /// Stable name of the kind of fault, such as `alert-cannot-fire`.
    pub code: &'static str,
    pub severity: Severity,
    /// The dashboard, panel, rule, target or receiver.
    pub subject: String,
    pub evidence: Vec<Evidence>,
    pub cause: String,
    /// What to do.
    pub mend: String,
    pub fix: Option<Fix>,
}

impl Finding {
    pub fn new(
        check: Check,
        code: &'static str,
        severity: Severity,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            check,
            code,
            severity,
            subject: subject.into(),
            evidence: Vec::new(),
            cause: String::new(),
            mend: String::new(),
            fix: None,
        }
    }

    pub fn critical(check: Check, code: &'static str, subject: impl Into<String>) -> Self {
        Self::new(check, code, Severity::Critical, subject)
    }

    pub fn warning(check: Check, code: &'static str, subject: impl Into<String>) -> Self {
        Self::new(check, code, Severity::Warning, subject)
    }

    /// About an alert, at the expression of its rule.
    pub(super) fn of_alert(
        code: &'static str,
        input: &RuleInput,
        rule: &RuleSpec,
        alert: &AlertSpec,
    ) -> Self {
        Self::critical(Check::Alerts, code, alert.name.as_str()).at(
            &input.path,
            rule.line,
            rule.expr.as_str(),
        )
    }

    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.cause = text.into();
        self
    }

    #[must_use]
    pub fn mend(mut self, text: impl Into<String>) -> Self {
        self.mend = text.into();
        self
    }

    /// `line` 0 where it is not known.
    #[must_use]
    pub fn at(mut self, file: &str, line: u64, what: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            query: None,
            result: what.into(),
            place: Some(Place { file: file.to_owned(), line }),
        });
        self
    }

    #[must_use]
    pub fn asked(mut self, query: impl Into<String>, result: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            query: Some(query.into()),
            result: result.into(),
            place: None,
        });
        self
    }

    #[must_use]
    pub fn saw(mut self, what: impl Into<String>) -> Self {
        self.evidence.push(Evidence { query: None, result: what.into(), place: None });
        self
    }

    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    pub check: Check,
    /// Things looked at: panels, rules, targets; 0 for a skipped check.
    pub subjects: usize,
    /// Why the check did not run at all.
    pub skipped: Option<String>,
    /// Parts that were left out, with the reason.
    pub left_out: Vec<String>,
    /// What went well and is worth keeping: a provider's answer, a figure that was recomputed.
    pub seen: Vec<String>,
}

impl CheckOutcome {
    pub fn ran(check: Check, subjects: usize) -> Self {
        Self { check, subjects, skipped: None, left_out: Vec::new(), seen: Vec::new() }
    }

    pub fn skipped(check: Check, why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::ran(check, 0) }
    }

    pub fn leave_out(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.left_out.contains(&what) {
            self.left_out.push(what);
        }
    }
}

/// All of one run; findings by check, severity, subject and code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was looked at: an address or a folder.
    pub place: String,
    pub findings: Vec<Finding>,
    /// One per check, in order.
    pub checks: Vec<CheckOutcome>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Checks that ran, and those that did not.
    pub fn counts(&self) -> (usize, usize) {
        let skipped = self.checks.iter().filter(|c| c.skipped.is_some()).count();
        (self.checks.len() - skipped, skipped)
    }

    pub(crate) fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (a.check, a.severity, &a.subject, a.code)
                .cmp(&(b.check, b.severity, &b.subject, b.code))
        });
        self.findings.dedup();
    }
}
