//! Meta labels of Kubernetes objects.

use obs_types::LabelSetBuilder;
use serde_json::Value;

pub(super) const PREFIX: &str = "__meta_kubernetes_";

/// The text at a JSON pointer, `""` if there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Sets `__meta_kubernetes_NAME`; empty values are left out.
pub(super) fn set(labels: &mut LabelSetBuilder, name: &str, value: impl Into<String>) {
    let value = value.into();
    if !value.is_empty() {
        labels.set(format!("{PREFIX}{name}"), value);
    }
}

/// `label_…`, `labelpresent_…`, `annotation_…` and `annotationpresent_…` of an object.
pub(super) fn describe(labels: &mut LabelSetBuilder, kind: &str, object: &Value) {
    for (what, pointer) in [("label", "/metadata/labels"), ("annotation", "/metadata/annotations")]
    {
        let all = object.pointer(pointer).and_then(Value::as_object);
        for (name, value) in all.into_iter().flatten() {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            set(labels, &format!("{kind}_{what}_{name}"), value.as_str().unwrap_or(""));
            set(labels, &format!("{kind}_{what}present_{name}"), "true");
        }
    }
}

pub(super) fn node(labels: &mut LabelSetBuilder, node: &Value) {
    set(labels, "node_name", text(node, "/metadata/name"));
    set(labels, "node_provider_id", text(node, "/spec/providerID"));
    describe(labels, "node", node);
}

pub(super) fn service(labels: &mut LabelSetBuilder, service: &Value) {
    set(labels, "service_name", text(service, "/metadata/name"));
    describe(labels, "service", service);
}

pub(super) fn pod(labels: &mut LabelSetBuilder, pod: &Value) {
    set(labels, "pod_name", text(pod, "/metadata/name"));
    set(labels, "pod_ip", text(pod, "/status/podIP"));
    set(labels, "pod_phase", text(pod, "/status/phase"));
    set(labels, "pod_node_name", text(pod, "/spec/nodeName"));
    set(labels, "pod_host_ip", text(pod, "/status/hostIP"));
    set(labels, "pod_uid", text(pod, "/metadata/uid"));
    let ready = list(pod, "/status/conditions").iter().find(|c| text(c, "/type") == "Ready");
    let ready = ready.map_or("unknown", |c| text(c, "/status")).to_ascii_lowercase();
    set(labels, "pod_ready", ready);
    let owners = list(pod, "/metadata/ownerReferences");
    let controller =
        owners.iter().find(|o| o.pointer("/controller").and_then(Value::as_bool) == Some(true));
    if let Some(controller) = controller {
        set(labels, "pod_controller_kind", text(controller, "/kind"));
        set(labels, "pod_controller_name", text(controller, "/name"));
    }
    describe(labels, "pod", pod);
}

/// Containers of a pod, `true` for those that run before the others.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let usual = list(pod, "/spec/containers").iter().map(|c| (c, false));
    usual.chain(list(pod, "/spec/initContainers").iter().map(|c| (c, true)))
}

pub(super) fn container(
    labels: &mut LabelSetBuilder,
    pod: &Value,
    container: &Value,
    init: bool,
    port: Option<&Value>,
) {
    let name = text(container, "/name");
    let statuses = if init { "/status/initContainerStatuses" } else { "/status/containerStatuses" };
    let status = list(pod, statuses).iter().find(|s| text(s, "/name") == name);
    set(labels, "pod_container_name", name);
    set(labels, "pod_container_id", status.map_or("", |s| text(s, "/containerID")));
    set(labels, "pod_container_image", text(container, "/image"));
    set(labels, "pod_container_init", init.to_string());
    if let Some(port) = port {
        set(labels, "pod_container_port_name", text(port, "/name"));
        set(labels, "pod_container_port_number", number(port, "/containerPort"));
        set(labels, "pod_container_port_protocol", protocol(port));
    }
}

/// A number as text, `""` if there is none.
pub(super) fn number(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_u64).map_or(String::new(), |n| n.to_string())
}

/// TCP is what an API server adds where none was given.
pub(super) fn protocol(port: &Value) -> &str {
    Some(text(port, "/protocol")).filter(|p| !p.is_empty()).unwrap_or("TCP")
}
