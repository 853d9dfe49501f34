//! Target groups of Kubernetes objects: one group for each target, because labels differ by port.

use std::collections::HashMap;

use obs_types::{LabelSet, LabelSetBuilder};
use serde_json::Value;

use super::Objects;
use super::labels::{
    container, containers, describe, list, node, number, pod, protocol, service, set, text,
};
use crate::scrape::config::{KubernetesRole, TargetGroup};

/// Namespace and name.
type Key<'v> = (&'v str, &'v str);

fn key(object: &Value) -> Key<'_> {
    (text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// What an object of a role may be joined with.
struct Around<'v> {
    pods: HashMap<Key<'v>, &'v Value>,
    services: HashMap<Key<'v>, &'v Value>,
    nodes: HashMap<&'v str, &'v Value>,
}

/// The targets of every object, in the order of the lists.
pub(super) fn of_role(
    role: KubernetesRole,
    objects: &Objects,
    attach_node: bool,
) -> Vec<TargetGroup> {
    let nodes: &[Value] = if attach_node { &objects.nodes } else { &[] };
    let around = Around {
        pods: objects.pods.iter().map(|o| (key(o), o)).collect(),
        services: objects.services.iter().map(|o| (key(o), o)).collect(),
        nodes: nodes.iter().map(|o| (text(o, "/metadata/name"), o)).collect(),
    };
    let mut out = Vec::new();
    for object in &objects.own {
        match role {
            KubernetesRole::Node => nodes_of(object, &mut out),
            KubernetesRole::Pod => pods_of(object, &around, &mut out),
            KubernetesRole::Service => services_of(object, &mut out),
            KubernetesRole::Endpoints => endpoints_of(object, &around, &mut out),
            KubernetesRole::EndpointSlice => slices_of(object, &around, &mut out),
            KubernetesRole::Ingress => ingresses_of(object, &mut out),
        }
    }
    out
}

fn target(out: &mut Vec<TargetGroup>, address: String, labels: LabelSetBuilder) {
    out.push(TargetGroup { targets: vec![address], labels: labels.build() });
}

fn host_port(host: &str, port: &str) -> String {
    match (host.contains(':'), port.is_empty()) {
        (false, true) => host.to_owned(),
        (true, true) => format!("[{host}]"),
        (false, false) => format!("{host}:{port}"),
        (true, false) => format!("[{host}]:{port}"),
    }
}

fn start(object: &Value) -> LabelSetBuilder {
    let mut labels = LabelSet::empty().to_builder();
    set(&mut labels, "namespace", text(object, "/metadata/namespace"));
    labels
}

fn nodes_of(object: &Value, out: &mut Vec<TargetGroup>) {
    let addresses = list(object, "/status/addresses");
    let kinds =
        ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let Some(first) =
        kinds.iter().find_map(|kind| addresses.iter().find(|a| text(a, "/type") == *kind))
    else {
        return;
    };
    let mut labels = LabelSet::empty().to_builder();
    node(&mut labels, object);
    for address in addresses.iter().rev() {
        let name = format!("node_address_{}", text(address, "/type"));
        set(&mut labels, &name, text(address, "/address"));
    }
    labels.set("instance", text(object, "/metadata/name"));
    let port = number(object, "/status/daemonEndpoints/kubeletEndpoint/Port");
    target(out, host_port(text(first, "/address"), &port), labels);
}

fn pods_of(object: &Value, around: &Around<'_>, out: &mut Vec<TargetGroup>) {
    let ip = text(object, "/status/podIP");
    if ip.is_empty() {
        return;
    }
    let mut base = start(object);
    pod(&mut base, object);
    attach(&mut base, object, around);
    for (c, init) in containers(object) {
        let ports = list(c, "/ports");
        if ports.is_empty() {
            let mut labels = base.clone();
            container(&mut labels, object, c, init, None);
            target(out, host_port(ip, ""), labels);
        }
        for port in ports {
            let mut labels = base.clone();
            container(&mut labels, object, c, init, Some(port));
            target(out, host_port(ip, &number(port, "/containerPort")), labels);
        }
    }
}

fn attach(labels: &mut LabelSetBuilder, pod: &Value, around: &Around<'_>) {
    if let Some(found) = around.nodes.get(text(pod, "/spec/nodeName")) {
        node(labels, found);
    }
}

fn services_of(object: &Value, out: &mut Vec<TargetGroup>) {
    let (namespace, name) = key(object);
    let mut base = start(object);
    service(&mut base, object);
    let kind = text(object, "/spec/type");
    set(&mut base, "service_type", kind);
    match kind {
        "ExternalName" => {
            set(&mut base, "service_external_name", text(object, "/spec/externalName"));
        }
        _ => set(&mut base, "service_cluster_ip", text(object, "/spec/clusterIP")),
    }
    if kind == "LoadBalancer" {
        set(&mut base, "service_loadbalancer_ip", text(object, "/spec/loadBalancerIP"));
    }
    for port in list(object, "/spec/ports") {
        let mut labels = base.clone();
        set(&mut labels, "service_port_name", text(port, "/name"));
        set(&mut labels, "service_port_number", number(port, "/port"));
        set(&mut labels, "service_port_protocol", protocol(port));
        target(out, host_port(&format!("{name}.{namespace}.svc"), &number(port, "/port")), labels);
    }
}

/// A target behind a service: the labels of its pod and container where it has them. Gives the
/// pod.
fn behind<'v>(
    labels: &mut LabelSetBuilder,
    reference: &Value,
    namespace: &str,
    port: &str,
    around: &Around<'v>,
) -> Option<&'v Value> {
    if text(reference, "/kind") != "Pod" {
        return None;
    }
    let namespace =
        Some(text(reference, "/namespace")).filter(|n| !n.is_empty()).unwrap_or(namespace);
    let found = *around.pods.get(&(namespace, text(reference, "/name")))?;
    pod(labels, found);
    attach(labels, found, around);
    let matching = containers(found).find_map(|(c, init)| {
        let port = list(c, "/ports").iter().find(|p| number(p, "/containerPort") == port)?;
        Some((c, init, port))
    });
    if let Some((c, init, port)) = matching {
        container(labels, found, c, init, Some(port));
    }
    Some(found)
}

/// The ports of pods that no endpoint names are targets too.
fn unnamed_ports(
    base: &LabelSetBuilder,
    pods: &[(&Value, String)],
    around: &Around<'_>,
    out: &mut Vec<TargetGroup>,
) {
    let mut done: Vec<Key<'_>> = Vec::new();
    for (found, _) in pods {
        if done.contains(&key(found)) {
            continue;
        }
        done.push(key(found));
        let named = |port: &str| pods.iter().any(|(p, q)| key(p) == key(found) && q == port);
        for (c, init) in containers(found) {
            for port in list(c, "/ports") {
                let number = number(port, "/containerPort");
                if named(&number) {
                    continue;
                }
                let mut labels = base.clone();
                pod(&mut labels, found);
                attach(&mut labels, found, around);
                container(&mut labels, found, c, init, Some(port));
                target(out, host_port(text(found, "/status/podIP"), &number), labels);
            }
        }
    }
}

fn endpoints_of(object: &Value, around: &Around<'_>, out: &mut Vec<TargetGroup>) {
    let (namespace, name) = key(object);
    let mut base = start(object);
    set(&mut base, "endpoints_name", name);
    describe(&mut base, "endpoints", object);
    if let Some(found) = around.services.get(&(namespace, name)) {
        service(&mut base, found);
    }
    let mut pods = Vec::new();
    for subset in list(object, "/subsets") {
        for port in list(subset, "/ports") {
            let number = number(port, "/port");
            for (addresses, ready) in [("/addresses", "true"), ("/notReadyAddresses", "false")] {
                for address in list(subset, addresses) {
                    let mut labels = base.clone();
                    set(&mut labels, "endpoint_port_name", text(port, "/name"));
                    set(&mut labels, "endpoint_port_protocol", protocol(port));
                    set(&mut labels, "endpoint_ready", ready);
                    set(&mut labels, "endpoint_hostname", text(address, "/hostname"));
                    set(&mut labels, "endpoint_node_name", text(address, "/nodeName"));
                    let reference = &address["targetRef"];
                    set(&mut labels, "endpoint_address_target_kind", text(reference, "/kind"));
                    set(&mut labels, "endpoint_address_target_name", text(reference, "/name"));
                    if let Some(p) = behind(&mut labels, reference, namespace, &number, around) {
                        pods.push((p, number.clone()));
                    }
                    target(out, host_port(text(address, "/ip"), &number), labels);
                }
            }
        }
    }
    unnamed_ports(&base, &pods, around, out);
}

fn slices_of(object: &Value, around: &Around<'_>, out: &mut Vec<TargetGroup>) {
    let (namespace, name) = key(object);
    let mut base = start(object);
    set(&mut base, "endpointslice_name", name);
    set(&mut base, "endpointslice_address_type", text(object, "/addressType"));
    describe(&mut base, "endpointslice", object);
    let of_service = object.pointer("/metadata/labels/kubernetes.io~1service-name");
    let of_service = of_service.and_then(Value::as_str).unwrap_or("");
    if let Some(found) = around.services.get(&(namespace, of_service)) {
        service(&mut base, found);
    }
    let mut pods = Vec::new();
    for port in list(object, "/ports") {
        let number = number(port, "/port");
        for endpoint in list(object, "/endpoints") {
            for address in list(endpoint, "/addresses").iter().filter_map(Value::as_str) {
                let mut labels = base.clone();
                let mut put = |what: &str, value: &str| {
                    set(&mut labels, &format!("endpointslice_{what}"), value);
                };
                put("port", &number);
                put("port_name", text(port, "/name"));
                put("port_protocol", protocol(port));
                put("port_app_protocol", text(port, "/appProtocol"));
                for condition in ["ready", "serving", "terminating"] {
                    let value = endpoint.pointer(&format!("/conditions/{condition}"));
                    let value = value.and_then(Value::as_bool).map(|b| b.to_string());
                    let what = format!("endpoint_conditions_{condition}");
                    put(&what, &value.unwrap_or_default());
                }
                put("endpoint_hostname", text(endpoint, "/hostname"));
                put("endpoint_node_name", text(endpoint, "/nodeName"));
                put("endpoint_zone", text(endpoint, "/zone"));
                let reference = &endpoint["targetRef"];
                put("address_target_kind", text(reference, "/kind"));
                put("address_target_name", text(reference, "/name"));
                if let Some(p) = behind(&mut labels, reference, namespace, &number, around) {
                    pods.push((p, number.clone()));
                }
                target(out, host_port(address, &number), labels);
            }
        }
    }
    unnamed_ports(&base, &pods, around, out);
}

fn ingresses_of(object: &Value, out: &mut Vec<TargetGroup>) {
    let mut base = start(object);
    set(&mut base, "ingress_name", text(object, "/metadata/name"));
    set(&mut base, "ingress_class_name", text(object, "/spec/ingressClassName"));
    describe(&mut base, "ingress", object);
    for rule in list(object, "/spec/rules") {
        let host = Some(text(rule, "/host")).filter(|h| !h.is_empty()).unwrap_or("*");
        let secure = list(object, "/spec/tls").iter().any(|tls| {
            list(tls, "/hosts").iter().filter_map(Value::as_str).any(|h| covers(h, host))
        });
        let paths = list(rule, "/http/paths");
        let paths: Vec<&str> = if paths.is_empty() {
            vec!["/"]
        } else {
            let path = |p| Some(text(p, "/path")).filter(|p| !p.is_empty()).unwrap_or("/");
            paths.iter().map(path).collect()
        };
        for path in paths {
            let mut labels = base.clone();
            set(&mut labels, "ingress_scheme", if secure { "https" } else { "http" });
            set(&mut labels, "ingress_host", host);
            set(&mut labels, "ingress_path", path);
            target(out, host.to_owned(), labels);
        }
    }
}

/// `*.example.com` covers one more name in front.
fn covers(pattern: &str, host: &str) -> bool {
    pattern == host
        || pattern.strip_prefix("*.").is_some_and(|p| {
            host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == p)
        })
}
