//! Grafana's side of a folder: data sources, dashboard providers, dashboards, and what is mounted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::compose::{self, Kind, below, parent};
use super::super::world::{DashboardInput, DataSource, World};
use super::super::{Check, Finding};
use super::{Reader, line_of, own_data_sources};

impl Reader<'_> {
    pub(super) fn grafana(&self, world: &mut World) {
        let service = self.compose.service(Kind::Grafana);
        let with = |key: &'static str| {
            self.files
                .yaml
                .iter()
                .filter(move |(_, y)| y.get("apiVersion").is_some() && y.get(key).is_some())
        };
        let pack =
            self.files.texts.keys().any(|p| p.ends_with("pack.yaml") && self.files.in_pack(p));
        let own = self.files.own_config().is_some();
        let has_grafana = service.is_some()
            || with("providers").next().is_some()
            || with("datasources").next().is_some();
        let mut boards = self.dashboards();
        if has_grafana {
            let sources = self.data_sources(service, with("datasources").collect(), world);
            world.data_sources = Some(sources);
            let shown = self.provider_folders(service, with("providers").collect(), world);
            // A provider that is not reached is one finding, not one for each dashboard.
            let unreached = |f: &Finding| f.code.starts_with("provider-");
            let known = shown.is_empty() && world.found_by_reader.iter().any(unreached);
            for board in boards.iter_mut().filter(|_| !known) {
                let inside =
                    shown.iter().any(|f| f.is_empty() || board.path.starts_with(&format!("{f}/")));
                if !inside && !self.files.in_pack(&board.path) {
                    board.not_provisioned = Some(match shown.is_empty() {
                        true => "no dashboard provider reaches any folder here".to_owned(),
                        false => format!(
                            "Grafana reads {}",
                            shown.iter().cloned().collect::<Vec<_>>().join(", ")
                        ),
                    });
                }
            }
            // Where the mounted folder itself is missing, that is the one thing to mend.
            let known = world.found_by_reader.iter().any(|f| f.code == "mount-missing");
            if boards.is_empty() && !known {
                let place =
                    service.map_or_else(|| world.place.clone(), |_| self.compose.path.clone());
                world.found_by_reader.push(
                    Finding::critical(Check::Dashboards, "no-dashboards", place)
                        .saw("Grafana is set up, and there is no dashboard file in the folder")
                        .cause("the dashboards exist somewhere else and were never copied here")
                        .mend(
                            "copy the dashboard JSON files to the folder that the provider names",
                        ),
                );
            }
        } else if pack || own {
            world.data_sources = Some(own_data_sources());
        }
        world.dashboards = Some(boards);
    }

    fn dashboards(&self) -> Vec<DashboardInput> {
        let mut out = Vec::new();
        for (path, text) in self.files.texts.iter().filter(|(p, _)| p.ends_with(".json")) {
            let in_folder =
                parent(path).rsplit('/').next().is_some_and(|f| f.contains("dashboard"));
            let is_board = match serde_json::from_str::<Value>(text) {
                Ok(json) => {
                    let marks = ["panels", "rows", "schemaVersion", "templating"];
                    let has = |v: &Value| marks.iter().any(|m| v.get(*m).is_some());
                    has(&json) || json.get("dashboard").is_some_and(has)
                }
                Err(_) => in_folder,
            };
            if is_board {
                out.push(DashboardInput {
                    path: path.clone(),
                    text: text.clone(),
                    not_provisioned: None,
                    file: Some(self.files.root.join(path)),
                });
            }
        }
        out
    }

    /// The data sources that reach Grafana.
    fn data_sources(
        &self,
        service: Option<&compose::Service>,
        files: Vec<(&String, &Value)>,
        world: &mut World,
    ) -> Vec<DataSource> {
        let mounted = service.and_then(|s| s.host_path("/etc/grafana/provisioning/datasources"));
        let mut out = Vec::new();
        for (path, yaml) in &files {
            let reaches = service.is_none()
                || mounted.as_ref().is_some_and(|m| *m == parent(path) || m == *path);
            if !reaches {
                world.found_by_reader.push(
                    Finding::critical(Check::Dashboards, "data-source-not-mounted", path.as_str())
                        .at(&self.compose.path, line_of(&self.files.texts[&self.compose.path], "grafana"), "mounts nothing at /etc/grafana/provisioning/datasources that holds this file")
                        .cause("Grafana starts without a data source and every panel says that it was not found")
                        .mend(format!("mount ./{} at /etc/grafana/provisioning/datasources", parent(path))),
                );
                continue;
            }
            for source in yaml.get("datasources").and_then(Value::as_array).into_iter().flatten() {
                let text =
                    |k: &str| source.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
                let found = DataSource {
                    name: text("name"),
                    uid: text("uid"),
                    kind: text("type"),
                    is_default: source.get("isDefault").and_then(Value::as_bool).unwrap_or(false),
                    url: text("url"),
                };
                let host = found.url.split("://").nth(1).unwrap_or_default();
                let local = host.starts_with("localhost") || host.starts_with("127.0.0.1");
                if local && service.is_some_and(|s| !s.host_network) {
                    world.found_by_reader.push(
                        Finding::critical(
                            Check::Dashboards,
                            "data-source-unreachable",
                            &found.name,
                        )
                        .at(
                            path,
                            line_of(&self.files.texts[path.as_str()], &found.url),
                            format!("url {}", found.url),
                        )
                        .cause(
                            "Grafana runs in a container, where localhost is the container itself",
                        )
                        .mend("use the name of the compose service, or host.docker.internal"),
                    );
                }
                out.push(found);
            }
        }
        if files.is_empty() {
            world.found_by_reader.push(
                Finding::critical(Check::Dashboards, "no-data-source", world.place.clone())
                    .saw("no file with `apiVersion` and `datasources` in the folder")
                    .cause("Grafana starts without a data source and no panel can show anything")
                    .mend("add provisioning/datasources/prometheus.yml with name, type, url and isDefault"),
            );
        }
        out
    }

    /// Folders of this tree whose dashboards Grafana loads.
    fn provider_folders(
        &self,
        service: Option<&compose::Service>,
        files: Vec<(&String, &Value)>,
        world: &mut World,
    ) -> BTreeSet<String> {
        let mounted = service.and_then(|s| s.host_path("/etc/grafana/provisioning/dashboards"));
        let mut out = BTreeSet::new();
        for (path, yaml) in files {
            if service.is_some() && mounted.as_deref() != Some(parent(path)) {
                world.found_by_reader.push(
                    Finding::critical(Check::Dashboards, "provider-not-mounted", path.as_str())
                        .at(
                            path,
                            line_of(&self.files.texts[path], "providers"),
                            "is not mounted at /etc/grafana/provisioning/dashboards",
                        )
                        .cause(
                            "Grafana does not know where to look for dashboards, so it shows none",
                        )
                        .mend(format!("mount ./{} there", parent(path))),
                );
                continue;
            }
            for provider in yaml.get("providers").and_then(Value::as_array).into_iter().flatten() {
                let wanted =
                    provider.pointer("/options/path").and_then(Value::as_str).unwrap_or_default();
                let found = match service {
                    Some(s) => s.host_path(wanted).filter(|p| self.files.folders.contains(p)),
                    None => self.folder_like(path, wanted),
                };
                match found {
                    Some(folder) => {
                        out.insert(folder);
                    }
                    None => world.found_by_reader.push(
                        Finding::critical(Check::Dashboards, "provider-path-missing", format!("{path}: {wanted}"))
                            .at(path, line_of(&self.files.texts[path], wanted), "names a folder that does not exist for Grafana")
                            .cause("nothing is mounted there, so the provider finds no dashboard and says nothing")
                            .mend("mount the folder with the dashboards at this path, or correct the path"),
                    ),
                }
            }
        }
        out
    }

    /// Without compose: the folder of this tree that the end of an absolute path names.
    fn folder_like(&self, provider: &str, wanted: &str) -> Option<String> {
        let parts: Vec<&str> = wanted.trim_start_matches('/').split('/').collect();
        (0..parts.len()).filter_map(|from| Some(parts.get(from..)?.join("/"))).find_map(|tail| {
            let near = below(parent(provider), &tail);
            let ends = format!("/{tail}");
            let mut all = self.files.folders.iter();
            (self.files.folders.contains(&near).then_some(near))
                .or_else(|| all.find(|f| **f == tail || f.ends_with(&ends)).cloned())
        })
    }

    pub(super) fn default_password(&self, service: &compose::Service, world: &mut World) {
        let known = ["admin", "password", "grafana", "changeme", "secret"];
        let found = service.environment.iter().find(|(name, value)| {
            name == "GF_SECURITY_ADMIN_PASSWORD" && known.contains(&value.as_str())
        });
        if found.is_some() {
            let text = &self.files.texts[&self.compose.path];
            world.found_by_reader.push(
                Finding::warning(Check::Dashboards, "default-credentials", &service.name)
                    .at(
                        &self.compose.path,
                        line_of(text, "GF_SECURITY_ADMIN_PASSWORD"),
                        "sets a password that everybody tries first",
                    )
                    .cause("who reaches Grafana can change or delete every dashboard")
                    .mend("set a password of your own from a secret, not in this file"),
            );
        }
    }
}
