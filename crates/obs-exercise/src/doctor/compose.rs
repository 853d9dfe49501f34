//! What `docker-compose.yml` says about which files reach which program.

use serde_json::Value;

/// One service of a compose file.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Paths of the host relative to the folder, and where they appear in the container.
    pub(super) mounts: Vec<(String, String)>,
    pub(super) host_network: bool,
    /// `NAME=value` of its environment.
    pub(super) environment: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Prometheus,
    Grafana,
    Alertmanager,
    #[default]
    Other,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Compose {
    pub(super) path: String,
    pub(super) services: Vec<Service>,
}

impl Compose {
    pub(super) fn service(&self, kind: Kind) -> Option<&Service> {
        self.services.iter().find(|s| s.kind == kind)
    }
}

impl Service {
    /// Where a path of the container lies in the folder.
    pub(super) fn host_path(&self, container: &str) -> Option<String> {
        self.mounts
            .iter()
            .filter_map(|(host, target)| {
                let rest = container.strip_prefix(target.trim_end_matches('/'))?;
                (rest.is_empty() || rest.starts_with('/'))
                    .then(|| (target.len(), format!("{host}{rest}")))
            })
            .max()
            .map(|(_, path)| normal(&path))
    }
}

/// Without `.` and `..` parts and slashes at the ends.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// `path` as given, below `folder`, both relative to the root that is looked at.
pub(super) fn below(folder: &str, path: &str) -> String {
    normal(&format!("{folder}/{path}"))
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

pub(super) fn read(path: &str, yaml: &Value) -> Option<Compose> {
    let services = yaml.get("services")?.as_object()?;
    let services = services.iter().map(|(name, s)| service(path, name, s)).collect();
    Some(Compose { path: path.to_owned(), services })
}

fn service(path: &str, name: &str, yaml: &Value) -> Service {
    let image = yaml.get("image").and_then(Value::as_str).unwrap_or_default();
    let repository = image.split([':', '@']).next().unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default();
    let kind = match (last, name) {
        ("prometheus", _) | ("", "prometheus") => Kind::Prometheus,
        ("grafana" | "grafana-oss" | "grafana-enterprise", _) | ("", "grafana") => Kind::Grafana,
        ("alertmanager", _) | ("", "alertmanager") => Kind::Alertmanager,
        _ => Kind::Other,
    };
    let volumes = yaml.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let mounts = volumes
        .filter_map(|v| match v {
            Value::String(short) => {
                let (source, rest) = short.split_once(':')?;
                Some((source.to_owned(), rest.split(':').next()?.to_owned()))
            }
            long => Some((
                long.get("source")?.as_str()?.to_owned(),
                long.get("target")?.as_str()?.to_owned(),
            )),
        })
        // A name without a slash is a volume of Docker's own.
        .filter(|(source, _)| source.starts_with('.'))
        .map(|(source, target)| (below(parent(path), &source), target))
        .collect();
    Service {
        name: name.to_owned(),
        kind,
        mounts,
        host_network: yaml.get("network_mode").and_then(Value::as_str) == Some("host"),
        environment: environment(yaml.get("environment")),
    }
}

fn environment(yaml: Option<&Value>) -> Vec<(String, String)> {
    match yaml {
        Some(Value::Array(lines)) => lines
            .iter()
            .filter_map(|l| l.as_str()?.split_once('='))
            .map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()))
            .collect(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(n, v)| (n.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_and_kinds() {
        let yaml = json!({"services": {
            "grafana": {"image": "grafana/grafana:latest", "volumes": [
                "data:/var/lib/grafana", "./dash:/etc/grafana/provisioning/dashboards:ro",
                {"type": "bind", "source": "../ds", "target": "/etc/grafana/provisioning/datasources"}]},
            "prometheus": {"image": "prom/prometheus", "network_mode": "host"},
        }});
        let compose = read("mon/docker-compose.yml", &yaml).unwrap();
        let grafana = compose.service(Kind::Grafana).unwrap();
        let at = |p: &str| grafana.host_path(p);
        assert_eq!(at("/etc/grafana/provisioning/dashboards/a.json").unwrap(), "mon/dash/a.json");
        assert_eq!(at("/etc/grafana/provisioning/datasources").unwrap(), "ds");
        assert_eq!(at("/var/lib/grafana/dashboards"), None);
        assert!(compose.service(Kind::Prometheus).unwrap().host_network);
    }
}
