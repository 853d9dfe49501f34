//! Where targets come from, checked: static groups, files, HTTP, DNS, Kubernetes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use obs_types::LabelSet;

use super::forms::{DnsSdForm, FileSdForm, GroupForm, HttpSdForm, KubernetesSdForm};
use super::http::HttpSettings;
use super::units::duration;
use super::{Checker, ScrapeConfigError};

/// Targets with their common labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    pub targets: Vec<String>,
    pub labels: LabelSet,
}

/// One source of target groups.
#[derive(Clone, Debug)]
pub enum Discovery {
    File(FileDiscovery),
    Http(HttpDiscovery),
    Dns(DnsDiscovery),
    Kubernetes(KubernetesDiscovery),
}

/// Files that list target groups; read again every `refresh`.
#[derive(Clone, Debug)]
pub struct FileDiscovery {
    /// Paths whose last component may hold one `*`.
    pub files: Vec<PathBuf>,
    pub refresh: Duration,
}

/// An address that answers with a JSON list of target groups.
#[derive(Clone, Debug)]
pub struct HttpDiscovery {
    pub url: String,
    pub refresh: Duration,
    pub http: HttpSettings,
}

/// Names whose records are the targets.
#[derive(Clone, Debug)]
pub struct DnsDiscovery {
    pub names: Vec<String>,
    pub kind: DnsKind,
    /// For the kinds whose records carry none.
    pub port: Option<u16>,
    pub refresh: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsKind {
    Srv,
    A,
    Aaaa,
    Mx,
    Ns,
}

/// Objects of one kind behind a Kubernetes API.
#[derive(Clone, Debug)]
pub struct KubernetesDiscovery {
    pub role: KubernetesRole,
    /// `None`: the cluster that we run in.
    pub api_server: Option<String>,
    /// Empty: all.
    pub namespaces: Vec<String>,
    pub own_namespace: bool,
    pub selectors: Vec<KubernetesSelector>,
    pub attach_node: bool,
    pub http: HttpSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesRole {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSelector {
    pub role: KubernetesRole,
    pub label: Option<String>,
    pub field: Option<String>,
}

impl KubernetesRole {
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "node" => Self::Node,
            "pod" => Self::Pod,
            "service" => Self::Service,
            "endpoints" => Self::Endpoints,
            "endpointslice" => Self::EndpointSlice,
            "ingress" => Self::Ingress,
            _ => return None,
        })
    }

    /// The roles whose objects this one reads, and so may select.
    fn reads(self) -> &'static [Self] {
        match self {
            Self::Node => &[Self::Node],
            Self::Pod => &[Self::Pod, Self::Node],
            Self::Service => &[Self::Service],
            Self::Endpoints => &[Self::Pod, Self::Service, Self::Endpoints],
            Self::EndpointSlice => &[Self::Pod, Self::Service, Self::EndpointSlice],
            Self::Ingress => &[Self::Ingress],
        }
    }
}

/// Reads a `file_sd` file: a list of `{targets, labels}` in YAML or JSON.
pub fn read_target_groups(path: &Path) -> Result<Vec<TargetGroup>, ScrapeConfigError> {
    let fail = |message: String| ScrapeConfigError { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    parse_target_groups(&text).map_err(fail)
}

/// A list of `{targets, labels}` in YAML or JSON.
pub(crate) fn parse_target_groups(text: &str) -> Result<Vec<TargetGroup>, String> {
    let groups: Vec<GroupForm> = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    groups.into_iter().map(group).collect()
}

/// `http` or `https` with a host.
pub(super) fn check_url(key: &str, url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        None => Err(format!("{key} {url:?}: the scheme must be 'http' or 'https'")),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
            Err(format!("{key} {url:?}: the host is missing"))
        }
        Some(_) => Ok(()),
    }
}

fn refresh(text: Option<&str>, default: Duration) -> Result<Duration, String> {
    let period = text.map_or(Ok(default), |t| duration("refresh_interval", t))?;
    if period.is_zero() {
        return Err("refresh_interval is zero".into());
    }
    Ok(period)
}

impl Checker<'_> {
    pub(super) fn file_sd(&self, form: FileSdForm) -> Result<FileDiscovery, String> {
        if form.files.is_empty() {
            return Err("file service discovery config must contain at least one path name".into());
        }
        for file in &form.files {
            let name = file.rsplit('/').next().unwrap_or(file);
            let known = [".json", ".yml", ".yaml"].iter().any(|e| name.ends_with(e));
            if !known
                || name.matches('*').count() > 1
                || file.matches('*').count() > name.matches('*').count()
            {
                return Err(format!("path name {file:?} is not valid for file discovery"));
            }
        }
        Ok(FileDiscovery {
            files: form.files.iter().map(|f| self.path(f)).collect(),
            refresh: refresh(form.refresh_interval.as_deref(), Duration::from_secs(30))?,
        })
    }

    pub(super) fn http_sd(&self, mut form: HttpSdForm) -> Result<HttpDiscovery, String> {
        check_url("http_sd_configs url", &form.url)?;
        Ok(HttpDiscovery {
            http: self.http(form.http())?,
            refresh: refresh(form.refresh_interval.as_deref(), Duration::from_secs(60))?,
            url: form.url,
        })
    }

    pub(super) fn kubernetes_sd(
        &self,
        mut form: KubernetesSdForm,
    ) -> Result<KubernetesDiscovery, String> {
        let role = KubernetesRole::from_text(&form.role)
            .ok_or_else(|| format!("unknown Kubernetes SD role {:?}", form.role))?;
        let own_form = form.http();
        let own_http = own_form.is_set();
        let api_server = form.api_server.filter(|s| !s.is_empty());
        let namespaces = form.namespaces;
        let own_namespace = namespaces.as_ref().is_some_and(|n| n.own_namespace);
        if let Some(file) = form.kubeconfig_file.filter(|f| !f.is_empty()) {
            return Err(match () {
                () if api_server.is_some() => {
                    "cannot use kubeconfig_file and api_server simultaneously".to_owned()
                }
                () if own_http => {
                    "cannot use a custom HTTP client configuration together with kubeconfig_file"
                        .to_owned()
                }
                () if own_namespace => {
                    "cannot use kubeconfig_file and namespaces.own_namespace simultaneously"
                        .to_owned()
                }
                () => format!("kubeconfig_file ({file}) is not supported; set api_server"),
            });
        }
        match &api_server {
            Some(url) => {
                check_url("api_server", url)?;
                if own_namespace {
                    return Err(
                        "cannot use api_server and namespaces.own_namespace simultaneously".into(),
                    );
                }
            }
            None if own_http => {
                return Err("to use custom HTTP client configuration please provide the \
                            api_server URL explicitly"
                    .into());
            }
            None => {}
        }
        if form.attach_metadata.as_ref().is_some_and(|a| a.namespace) {
            return Err("attach_metadata: namespace is not supported".into());
        }
        let mut selectors: Vec<KubernetesSelector> = Vec::new();
        for selector in form.selectors.unwrap_or_default() {
            let of = KubernetesRole::from_text(&selector.role)
                .filter(|of| role.reads().contains(of))
                .ok_or_else(|| {
                    format!("role {:?} has no selectors of role {:?}", form.role, selector.role)
                })?;
            if selectors.iter().any(|s| s.role == of) {
                return Err(format!("duplicated selector role: {}", selector.role));
            }
            if let Some(field) = &selector.field
                && !field.split(',').all(|part| part.contains('='))
            {
                return Err(format!("field selector {field:?} is not of the form name=value"));
            }
            let (label, field) = (selector.label, selector.field);
            selectors.push(KubernetesSelector { role: of, label, field });
        }
        Ok(KubernetesDiscovery {
            role,
            api_server,
            namespaces: namespaces.map(|n| n.names).unwrap_or_default(),
            own_namespace,
            selectors,
            attach_node: form.attach_metadata.is_some_and(|a| a.node),
            http: self.http(own_form)?,
        })
    }
}

pub(super) fn dns_sd(form: DnsSdForm) -> Result<DnsDiscovery, String> {
    let kind = match form.kind.as_deref().unwrap_or("SRV").to_ascii_uppercase().as_str() {
        "SRV" => DnsKind::Srv,
        "A" => DnsKind::A,
        "AAAA" => DnsKind::Aaaa,
        "MX" => DnsKind::Mx,
        "NS" => DnsKind::Ns,
        other => return Err(format!("invalid DNS-SD record type {other:?}")),
    };
    if form.names.is_empty() {
        return Err("DNS-SD config must contain at least one SRV record name".into());
    }
    if kind != DnsKind::Srv && form.port.is_none() {
        return Err("a port is required in DNS-SD configs for all record types except SRV".into());
    }
    Ok(DnsDiscovery {
        names: form.names,
        kind,
        port: form.port,
        refresh: refresh(form.refresh_interval.as_deref(), Duration::from_secs(30))?,
    })
}

pub(super) fn group(form: GroupForm) -> Result<TargetGroup, String> {
    let labels = form.labels.unwrap_or_default();
    for (name, value) in &labels {
        if !valid_label_name(name) {
            return Err(format!("{name:?} is not a valid label name"));
        }
        if value.contains('\0') {
            return Err(format!("label {name:?} has an invalid value"));
        }
    }
    for target in &form.targets {
        check_target(target)?;
    }
    Ok(TargetGroup { targets: form.targets, labels: LabelSet::from_iter(labels) })
}

fn check_target(target: &str) -> Result<(), String> {
    if target.contains('/') {
        return Err(format!("{target:?} is not a valid hostname: it is an address, not a URL"));
    }
    if target.is_empty() {
        return Err("empty target".to_owned());
    }
    Ok(())
}

/// UTF-8 names are allowed since Prometheus 3; only the empty one is not.
pub(super) fn valid_label_name(name: &str) -> bool {
    !name.is_empty()
}
