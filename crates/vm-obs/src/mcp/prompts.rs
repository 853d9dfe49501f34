//! Ways of working that a person can start by name.

use rmcp::model::{GetPromptResult, Prompt, PromptArgument, PromptMessage, Role};
use serde_json::{Map, Value};

struct Argument {
    name: &'static str,
    description: &'static str,
    /// Stands in the text where nothing was given.
    default: &'static str,
}

struct Way {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    argument: Option<Argument>,
    /// `{}` stands for the argument.
    text: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        name: "triage_alert",
        title: "Triage an alert",
        description: "From a firing alert to its likely cause, with evidence",
        argument: Some(Argument {
            name: "alert_id",
            description: "Id of the alert; without it the worst that fires",
            default: "the worst alert that fires",
        }),
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
        name: "review_service",
        title: "Review a service",
        description: "How a service does: errors, latency, objectives, and what changed",
        argument: Some(Argument {
            name: "service",
            description: "Name of the service; without it the one with most errors",
            default: "the service with most errors",
        }),
        text: "Review {}. Read its newest lines of level warn and worse with obs_logs_search, its \
               slowest and failed traces with obs_trace_get, its objectives with obs_slo_summary, \
               and what changed around its worst moment with obs_correlate. Say how it does in at \
               most ten lines, each with its link, and name one thing to look at next.",
    },
    Way {
        name: "timeline",
        title: "Time line of an incident",
        description: "The course of an incident for a post-mortem, with receipts",
        argument: Some(Argument {
            name: "timestamp",
            description: "An instant within it, RFC 3339; without it the newest alert",
            default: "the newest alert",
        }),
        text: "Write the time line of the incident around {}. Use obs_correlate with windows of \
               1h and 15m, obs_alert_status and obs_trace_get. For each statement name the query \
               and, where its hour is sealed, prove it with obs_verify and cite the receipt.",
    },
];

pub(super) fn list() -> Vec<Prompt> {
    WAYS.iter()
        .map(|w| {
            let arguments = w.argument.as_ref().map(|a| {
                let argument = PromptArgument::new(a.name);
                vec![argument.with_description(a.description).with_required(false)]
            });
            Prompt::new(w.name, Some(w.description), arguments).with_title(w.title)
        })
        .collect()
}

/// Names of the arguments; `None`: there is no prompt of this name.
pub(super) fn arguments(name: &str) -> Option<Vec<&'static str>> {
    let way = WAYS.iter().find(|w| w.name == name)?;
    Some(way.argument.iter().map(|a| a.name).collect())
}

/// `None`: there is no prompt of this name.
pub(super) fn get(name: &str, arguments: Option<&Map<String, Value>>) -> Option<GetPromptResult> {
    let way = WAYS.iter().find(|w| w.name == name)?;
    let text = match &way.argument {
        Some(argument) => {
            let given = arguments
                .and_then(|all| all.get(argument.name)?.as_str())
                .filter(|text| !text.trim().is_empty());
            way.text.replace("{}", given.unwrap_or(argument.default))
        }
        None => way.text.to_owned(),
    };
    Some(
        GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)])
            .with_description(way.description),
    )
}
