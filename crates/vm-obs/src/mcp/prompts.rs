//! Ways of working that a person can start by name.

use rmcp::model::{GetPromptResult, Prompt, PromptArgument, PromptMessage, Role};
use serde_json::{Map, Value};

struct Way {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    argument: Option<(&'static str, &'static str)>,
    /// `{}` stands for the argument.
    text: &'static str,
}

const WAYS: [Way; 3] = [
    Way {
        name: "triage_alert",
        title: "Triage an alert",
        description: "From a firing alert to its likely cause, with evidence",
        argument: Some(("alert_id", "Id of the alert; without it the worst that fires")),
        text: "Triage {}. Read it with obs_alert_status and read its runbook. Look at what \
               happened around its start with obs_correlate, then at metrics, logs and traces of \
               the node and services concerned. Name the likely cause, the evidence for and \
               against it, and the next step of the runbook. Change nothing.",
    },
    Way {
        name: "morning_check",
        title: "Morning check",
        description: "What a shift should know: health, alerts, objectives, the monitoring itself",
        argument: None,
        text: "Make the morning check: obs_health_check, obs_alert_status, obs_slo_summary, \
               obs_doctor, and obs_verify of the ledger. Say in at most ten lines what needs a \
               person today, the worst first, each with its link.",
    },
    Way {
        name: "timeline",
        title: "Time line of an incident",
        description: "The course of an incident for a post-mortem, with receipts",
        argument: Some(("timestamp", "An instant within it, RFC 3339")),
        text: "Write the time line of the incident around {}. Use obs_correlate with windows of \
               1h and 15m, obs_alert_status and obs_trace_get. For each statement name the query \
               and, where its hour is sealed, prove it with obs_verify and cite the receipt.",
    },
];

pub(super) fn list() -> Vec<Prompt> {
    WAYS.iter()
        .map(|w| {
            let arguments = w.argument.map(|(name, description)| {
                vec![PromptArgument::new(name).with_description(description).with_required(false)]
            });
            Prompt::new(w.name, Some(w.description), arguments).with_title(w.title)
        })
        .collect()
}

/// `None`: there is no prompt of this name.
pub(super) fn get(name: &str, arguments: Option<&Map<String, Value>>) -> Option<GetPromptResult> {
    let way = WAYS.iter().find(|w| w.name == name)?;
    let given = way
        .argument
        .and_then(|(name, _)| arguments?.get(name)?.as_str())
        .filter(|text| !text.trim().is_empty());
    let default = match way.name {
        "triage_alert" => "the worst alert that fires",
        _ => "the newest alert",
    };
    let text = way.text.replace("{}", given.unwrap_or(default));
    Some(
        GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)])
            .with_description(way.description),
    )
}
