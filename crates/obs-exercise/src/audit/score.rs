//! The maturity score. The rule is printed in every report.

use super::report::{Points, ServiceReport, Step};

/// How the score comes about, in words.
pub const RULE: [&str; 7] = [
    "Metrics, 3 points: the share of the declared metrics that are exposed now.",
    "Scrape, 1 point: the share of the targets that answer.",
    "Alerts, 2 points: the share of the alerts that the server evaluates, whose series exist and whose condition can hold; none for a service without alerts.",
    "Dashboards, 2 points: the share of the panels that show data; none for a service without dashboard.",
    "Objectives, 1 point: the share of the objectives that are computed from events; none for a service without objective.",
    "Delivery, 1 point: alerts have a receiver that tells somebody.",
    "A part that a service cannot have (metrics, where its pack declares none) is left out and the rest counts for 10. The score of all is the mean of the services.",
];

/// Points of a service; `told` says whether alerts reach anybody.
pub(super) fn points(s: &ServiceReport, told: bool) -> Vec<Points> {
    let (live, declared) = s.coverage();
    let (with_data, panels) = s.panels();
    let part = |part: &str, got: Option<f64>, of: f64| Points {
        part: part.to_owned(),
        got: got.map(|share| share * of),
        of,
    };
    let share = |n: usize, of: usize| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    vec![
        part("metrics", (declared > 0).then(|| share(live, declared)), 3.0),
        part("scrape", Some(share(s.targets_up(), s.targets.len())), 1.0),
        part("alerts", Some(share(s.alerts_working(), s.alerts.len())), 2.0),
        part("dashboards", Some(share(with_data, panels)), 2.0),
        part("objectives", Some(share(s.objectives_counted(), s.objectives.len())), 1.0),
        part("delivery", Some(f64::from(u8::from(told))), 1.0),
    ]
}

/// Out of ten, to a tenth.
pub(super) fn of_service(points: &[Points]) -> f64 {
    let counted = points.iter().filter_map(|p| Some((p.got?, p.of)));
    let (got, of) = counted.fold((0.0, 0.0), |(a, b), (got, of)| (a + got, b + of));
    tenth(if of > 0.0 { 10.0 * got / of } else { 0.0 })
}

pub(super) fn overall(services: &[ServiceReport]) -> f64 {
    if services.is_empty() {
        return 0.0;
    }
    tenth(services.iter().map(|s| s.score).sum::<f64>() / services.len() as f64)
}

fn tenth(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

/// Every part that is not full, by what filling it adds to the score of all. Delivery is one step
/// for all services.
pub(super) fn path(services: &[ServiceReport]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut delivery = 0.0;
    for s in services {
        let of: f64 = s.points.iter().filter(|p| p.got.is_some()).map(|p| p.of).sum();
        for p in &s.points {
            let Some(got) = p.got else { continue };
            let gain = 10.0 * (p.of - got) / of / services.len() as f64;
            if gain <= 0.0 {
                continue;
            }
            let what = match p.part.as_str() {
                "metrics" => "expose every declared metric",
                "scrape" => "have every target answer",
                "alerts" if s.alerts.is_empty() => "write alerts",
                "alerts" => "make every alert work",
                "dashboards" if s.dashboards.is_empty() => "draw a dashboard",
                "dashboards" => "have data in every panel",
                "objectives" if s.objectives.is_empty() => "define an objective",
                "objectives" => "count events of every objective",
                _ => {
                    delivery += gain;
                    continue;
                }
            };
            steps.push(Step { what: format!("{}: {what}", s.title), gain });
        }
    }
    if delivery > 0.0 {
        steps.push(Step { what: "All: route alerts to a receiver".to_owned(), gain: delivery });
    }
    steps.sort_by(|a, b| b.gain.total_cmp(&a.gain).then_with(|| a.what.cmp(&b.what)));
    for step in &mut steps {
        step.gain = (step.gain * 100.0).round() / 100.0;
    }
    steps
}
