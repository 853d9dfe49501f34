//! Values for the arguments of prompts and of resource templates, as somebody types them.

use anyhow::bail;
use rmcp::model::{CompleteRequestParams, Reference};
use serde_json::Value;

use super::{prompts, resources};
use crate::cli::{self, Client, Parameters};

/// Longest value: a longer one is no name.
const VALUE_CHARS_MAX: usize = 200;

/// Where the values come from: route, list in its answer, field of an item (empty: the item).
type Source = (&'static str, &'static str, &'static str);

/// By name of a prompt's argument or of a template's variable.
const SOURCES: [(&str, Source); 8] = [
    ("alert_id", ("/obs/alerts", "alerts", "alert_id")),
    ("dashboard", ("/obs/dashboards", "dashboards", "id")),
    ("label", ("/api/v1/labels", "data", "")),
    ("metric", ("/obs/metrics/names", "metrics", "name")),
    ("runbook", ("/obs/runbooks", "runbooks", "id")),
    ("service", ("/loki/api/v1/label/service_name/values", "data", "")),
    ("slo", ("/obs/slos", "slos", "slo_id")),
    // Incidents begin where alerts fired.
    ("timestamp", ("/obs/alerts", "alerts", "fired_at")),
];

/// Every value that fits what was typed, those that begin with it first. `Err` where there is no
/// such prompt, template or argument.
pub(super) async fn values(
    request: &CompleteRequestParams,
    client: &Client,
) -> anyhow::Result<Vec<String>> {
    let argument = request.argument.name.as_str();
    let known: Vec<&str> = match &request.r#ref {
        Reference::Prompt(prompt) => match prompts::arguments(&prompt.name) {
            Some(arguments) => arguments,
            None => bail!("there is no prompt {:?}", prompt.name),
        },
        Reference::Resource(template) => {
            let all = resources::templates();
            match all.iter().position(|t| t.uri_template == template.uri) {
                Some(at) => resources::KINDS.get(at).map(|k| k.variable).into_iter().collect(),
                None => bail!("there is no resource template {:?}", template.uri),
            }
        }
        other => bail!("{} has no arguments that are known here", other.reference_type()),
    };
    if !known.contains(&argument) {
        bail!("there is no argument {argument:?}, known are {}", known.join(", "));
    }
    let Some((_, (path, list, field))) = SOURCES.iter().find(|(name, _)| *name == argument) else {
        return Ok(Vec::new());
    };
    let body = client.get(path, &Parameters::new()).await?.json;
    let all = cli::list(&body, list).iter().map(|item| {
        let value = if field.is_empty() { Some(item) } else { item.get(*field) };
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    });
    Ok(fitting(all, &request.argument.value))
}

/// What begins with the text, then what contains it, each sorted; letters' case does not matter.
/// Values with control characters are of no use as names, and could be meant to mislead.
fn fitting(all: impl Iterator<Item = String>, typed: &str) -> Vec<String> {
    let typed = typed.to_lowercase();
    let mut found: Vec<(bool, String)> = all
        .filter(|v| !v.is_empty() && v.chars().take(VALUE_CHARS_MAX + 1).count() <= VALUE_CHARS_MAX)
        .filter(|v| !v.chars().any(char::is_control))
        .filter_map(|v| {
            let lower = v.to_lowercase();
            lower.contains(&typed).then(|| (!lower.starts_with(&typed), v))
        })
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, v)| v).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_it_comes_first() {
        let all = ["node_cpu", "CPU_percent", "cpu_total", "up", "cpu\nlies", "", "cpu_total"];
        let long = "cpu".repeat(100);
        let all = all.iter().map(|v| (*v).to_owned()).chain([long]);
        assert_eq!(fitting(all, "Cpu"), ["CPU_percent", "cpu_total", "node_cpu"]);
    }

    #[test]
    fn each_argument_of_a_template_or_prompt_has_a_source() {
        let of_prompts = prompts::list().into_iter().filter_map(|p| prompts::arguments(&p.name));
        let variables = resources::KINDS.iter().map(|k| k.variable);
        for name in of_prompts.flatten().chain(variables) {
            assert!(SOURCES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
