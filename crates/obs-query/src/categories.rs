use std::fmt;

/// The metric categories of ENGINE 2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    System,
    Application,
    Business,
    Security,
    Mesh,
}

impl Category {
    pub const ALL: [Self; 5] =
        [Self::System, Self::Application, Self::Business, Self::Security, Self::Mesh];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Application => "application",
            Self::Business => "business",
            Self::Security => "security",
            Self::Mesh => "mesh",
        }
    }

    pub fn from_text(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == s)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const SYSTEM: [&str; 12] = [
    "node_",
    "process_",
    "cpu_",
    "memory_",
    "disk_",
    "network_",
    "open_file_",
    "container_",
    "machine_",
    "kube_node_",
    "go_",
    "up",
];
const SECURITY: [&str; 9] =
    ["auth", "login", "blocked", "security", "offsec", "identity", "cert", "attest", "intrusion"];
const MESH: [&str; 7] =
    ["mesh_", "route_", "federation_", "peer_", "capability_", "probe_", "gossip_"];
const BUSINESS: [&str; 10] = [
    "receipts",
    "anchor",
    "treasury",
    "treaty",
    "oracle",
    "settlement",
    "psi_",
    "guardian_",
    "scheduler_",
    "harbinger_",
];

/// The category of a metric name: by its prefix for system metrics, by a telling word otherwise;
/// `application` where nothing tells.
pub fn category_of(metric: &str) -> Category {
    if SYSTEM.iter().any(|p| metric.starts_with(p)) {
        Category::System
    } else if SECURITY.iter().any(|w| metric.contains(w)) {
        Category::Security
    } else if MESH.iter().any(|p| metric.starts_with(p)) {
        Category::Mesh
    } else if BUSINESS.iter().any(|w| metric.contains(w)) {
        Category::Business
    } else {
        Category::Application
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_category() {
        for (name, want) in [
            ("cpu_percent", Category::System),
            ("node_load1", Category::System),
            ("http_requests_total", Category::Application),
            ("treaty_fill_rate", Category::Business),
            ("failed_logins_total", Category::Security),
            ("mesh_route_latency_seconds", Category::Mesh),
        ] {
            assert_eq!(category_of(name), want, "{name}");
        }
        assert_eq!(Category::from_text("mesh"), Some(Category::Mesh));
    }
}
