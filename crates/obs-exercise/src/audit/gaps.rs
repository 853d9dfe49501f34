//! What is missing or wrong, and the commands to run next.

use super::input::{AuditInput, ServiceInput, Told};
use super::report::{Gap, ServiceReport, ServiceStatus, ValueStatus};
use super::text::count;

/// Names of one gap that are listed.
const NAMES_MAX: usize = 8;

pub(super) fn find(input: &AuditInput, services: &[ServiceReport]) -> Vec<Gap> {
    let url = &input.place;
    let mut out = Vec::new();
    if let Told::Nobody(why) = &input.told {
        out.push(gap(
            0,
            "Notifications",
            format!("nobody is told when an alert fires: {why}"),
            vec![
                "vm-obs serve --config vm-obs.yaml   # with `notify: notify.yml`; packs/NAME/notify.yml is a start".to_owned(),
                format!("vm-obs doctor --deliver --url {url}"),
            ],
        ));
    }
    for report in services {
        let service = input
            .packs
            .iter()
            .filter(|p| p.name == report.pack)
            .flat_map(|p| &p.services)
            .find(|s| s.name == report.name);
        of_service(report, service, url, &mut out);
    }
    out.sort_by_key(|g| g.priority);
    out
}

fn gap(priority: u8, subject: &str, what: String, commands: Vec<String>) -> Gap {
    Gap { priority, subject: subject.to_owned(), what, commands }
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut text = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn of_service(s: &ServiceReport, service: Option<&ServiceInput>, url: &str, out: &mut Vec<Gap>) {
    let start = service.map(|s| s.start.clone()).unwrap_or_default();
    let selector = service.map(|s| s.targets.clone()).unwrap_or_default();
    let ask = |query: &str| format!("vm-obs metrics query '{query}' --url {url}");
    let mut put = |priority, what: String, commands: Vec<String>| {
        out.push(gap(priority, &s.title, what, commands));
    };
    let (live, declared) = s.coverage();
    if s.status == ServiceStatus::Down {
        let names: Vec<String> = s.targets.iter().map(|t| t.instance.clone()).collect();
        let mut commands: Vec<String> =
            names.iter().take(2).map(|n| format!("curl -s http://{n}/metrics | head -5")).collect();
        commands.extend(start);
        put(
            0,
            format!("down: {live} of {declared} metrics, no target answers: {}", some(&names)),
            commands,
        );
    } else if s.status == ServiceStatus::Missing {
        let mut commands = start;
        commands.push(format!("vm-obs targets list --url {url}"));
        put(
            0,
            format!(
                "not deployed, or not scraped: {live} of {declared} metrics, no target answers"
            ),
            commands,
        );
    } else {
        for t in s.targets.iter().filter(|t| !t.up) {
            let mut commands = vec![format!("curl -s http://{}/metrics | head -5", t.instance)];
            commands.extend(start.clone());
            let why = if t.error.is_empty() { "down" } else { &t.error };
            put(0, format!("target {} does not answer: {why}", t.instance), commands);
        }
        let absent: Vec<String> = s
            .metrics
            .iter()
            .filter(|m| m.status == ValueStatus::NoData)
            .map(|m| m.name.clone())
            .collect();
        if let Some(first) = absent.first() {
            put(
                0,
                format!(
                    "{} of {declared} metrics are not exposed: {}",
                    absent.len(),
                    some(&absent)
                ),
                vec![ask(&format!("count({first})"))],
            );
        }
        if s.targets.is_empty() && !selector.is_empty() {
            put(1, format!("no scrape target matches {selector}"), vec![ask(&selector)]);
        }
    }
    alerts(s, url, &mut put);
    boards(s, url, &mut put);
    objectives(s, url, &mut put);
    if s.status.is_absent() {
        return;
    }
    for m in s.metrics.iter().chain(&s.values) {
        let query = if m.kind == "computed" { &m.help } else { &m.name };
        match m.status {
            ValueStatus::OutOfRange => {
                put(1, format!("{} is outside of its target range", m.name), vec![ask(query)]);
            }
            ValueStatus::Diverging => put(
                1,
                format!("{} drifts between instances", m.name),
                vec![ask(query), format!("vm-obs correlate --url {url}")],
            ),
            _ => {}
        }
    }
    let silent: Vec<String> =
        s.records.iter().filter(|r| !r.has_output).map(|r| r.name.clone()).collect();
    if !silent.is_empty() {
        let rules = format!("recording rules without output: {}", some(&silent));
        put(1, rules, vec![format!("vm-obs doctor --url {url}")]);
    }
}

fn alerts(s: &ServiceReport, url: &str, put: &mut impl FnMut(u8, String, Vec<String>)) {
    let pack = &s.pack;
    if s.alerts.is_empty() {
        let mend =
            format!("$EDITOR packs/{pack}/rules/{}.yml && vm-obs pack check packs/{pack}", s.name);
        put(1, "no alert watches it".to_owned(), vec![mend]);
        return;
    }
    let unloaded: Vec<String> =
        s.alerts.iter().filter(|a| a.state.is_none()).map(|a| a.name.clone()).collect();
    if !unloaded.is_empty() {
        put(
            0,
            format!("{} not evaluated: {}", count(unloaded.len(), "alert"), some(&unloaded)),
            vec![format!("vm-obs serve --pack {pack}")],
        );
    }
    let broken: Vec<String> = s
        .alerts
        .iter()
        .filter_map(|a| Some(format!("{} ({})", a.name, a.problems.first()?.split(':').next()?)))
        .collect();
    if !broken.is_empty() {
        put(
            0,
            format!("{} cannot do its work: {}", count(broken.len(), "alert"), some(&broken)),
            vec![format!("vm-obs doctor --url {url}")],
        );
    }
    let firing: Vec<String> = s
        .alerts
        .iter()
        .filter(|a| a.state.as_deref() == Some("firing"))
        .map(|a| a.name.clone())
        .collect();
    if !firing.is_empty() {
        let runbooks: Vec<String> =
            firing.iter().take(2).map(|a| format!("less packs/{pack}/runbooks/{a}.md")).collect();
        let mut commands = vec![format!("vm-obs alert list --url {url}")];
        commands.extend(runbooks);
        put(0, format!("firing: {}", some(&firing)), commands);
    }
}

fn boards(s: &ServiceReport, url: &str, put: &mut impl FnMut(u8, String, Vec<String>)) {
    if s.dashboards.is_empty() {
        put(2, "no dashboard shows it".to_owned(), vec![format!("ls packs/{}/dashboards", s.pack)]);
    }
    for b in s.dashboards.iter().filter(|b| b.with_data < b.panels) {
        let dark = b.panels - b.with_data;
        put(
            1,
            format!("{} of dashboard {} without data", count(dark, "panel"), b.id),
            vec![
                format!("vm-obs doctor --url {url}"),
                format!("vm-obs dashboard show {} --url {url}", b.id),
            ],
        );
    }
}

fn objectives(s: &ServiceReport, url: &str, put: &mut impl FnMut(u8, String, Vec<String>)) {
    if s.objectives.is_empty() {
        put(2, "no objective".to_owned(), vec![format!("vm-obs slo create slo.yml --url {url}")]);
    }
    for o in &s.objectives {
        let show = vec![format!("vm-obs slo show {} --url {url}", o.id)];
        match o.status.as_str() {
            "missed" => put(0, format!("objective {} is missed", o.name), show),
            "at_risk" => put(1, format!("objective {} is at risk", o.name), show),
            "error" => put(0, format!("objective {} cannot be computed", o.name), show),
            "no_data" => put(1, format!("objective {} counts no events", o.name), show),
            "not_defined" => put(
                1,
                format!("objective {} is not defined on the server", o.name),
                vec![format!("vm-obs serve --pack {}", s.pack)],
            ),
            _ => {}
        }
    }
}
