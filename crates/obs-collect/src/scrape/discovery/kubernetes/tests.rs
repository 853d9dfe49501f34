//! A fake API server on loopback: lists in pages, and a watch that speaks when something changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::scrape::config::{Discovery, PrometheusConfig, TargetGroup};

struct Api {
    /// Objects by the last word of their path.
    objects: Mutex<BTreeMap<&'static str, Vec<Value>>>,
    requests: Mutex<Vec<String>>,
    changed: watch::Sender<u64>,
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or(""));
    let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap());
    api.requests.lock().unwrap().push(request.uri().to_string());
    if authorization != Some("Bearer t") {
        return hyper::StatusCode::FORBIDDEN.into_response();
    }
    if query.contains("watch=1") {
        let mut changed = api.changed.subscribe();
        let lines = futures_util::stream::once(async { "{\"type\":\"BOOKMARK\"}\n" }).chain(
            futures_util::stream::once(async move {
                changed.changed().await.ok();
                "{\"type\":\"ADDED\",\"object\":{}}\n"
            }),
        );
        return Body::from_stream(lines.map(Ok::<_, std::io::Error>)).into_response();
    }
    let kind = path.rsplit('/').next().unwrap();
    let all = api.objects.lock().unwrap().get(kind).cloned().unwrap_or_default();
    // One object a page.
    let from = query.split("continue=").nth(1).map_or(0, |n| n.parse::<usize>().unwrap());
    let more = if from + 1 < all.len() { (from + 1).to_string() } else { String::new() };
    let page: Vec<Value> = all.into_iter().skip(from).take(1).collect();
    let metadata = json!({"resourceVersion": "7", "continue": more});
    axum::Json(json!({"metadata": metadata, "items": page})).into_response()
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": "u1",
            "labels": {"app.kubernetes.io/name": "api"}, "annotations": {"scrape": "yes"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "api-1", "controller": true}]},
        "spec": {"nodeName": "n1",
            "containers": [
                {"name": "main", "image": "api:1", "ports": [
                    {"name": "metrics", "containerPort": 9100},
                    {"name": "admin", "containerPort": 9200, "protocol": "UDP"}]},
                {"name": "side"}]},
        "status": {"podIP": ip, "hostIP": "10.0.0.9", "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "docker://1"}]},
    })
}

fn node() -> Value {
    json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}, "spec": {"providerID": "p://1"},
        "status": {"addresses": [{"type": "Hostname", "address": "n1.local"},
                                 {"type": "InternalIP", "address": "10.0.0.9"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}})
}

fn shown(groups: &[TargetGroup]) -> Vec<String> {
    groups.iter().map(|g| g.targets.join(",")).collect()
}

fn meta<'g>(group: &'g TargetGroup, name: &str) -> &'g str {
    group.labels.get(&format!("{}{name}", labels::PREFIX)).unwrap_or("")
}

#[test]
fn pods_give_a_target_for_each_port() {
    let objects = Objects {
        own: vec![pod("a", "10.1.0.1"), pod("pending", "")],
        nodes: vec![node()],
        ..Objects::default()
    };
    let got = groups::of_role(KubernetesRole::Pod, &objects, true);
    assert_eq!(shown(&got), ["10.1.0.1:9100", "10.1.0.1:9200", "10.1.0.1"]);
    for (name, want) in [
        ("namespace", "shop"),
        ("pod_name", "a"),
        ("pod_ip", "10.1.0.1"),
        ("pod_phase", "Running"),
        ("pod_ready", "true"),
        ("pod_uid", "u1"),
        ("pod_host_ip", "10.0.0.9"),
        ("pod_node_name", "n1"),
        ("pod_controller_kind", "ReplicaSet"),
        ("pod_controller_name", "api-1"),
        ("pod_label_app_kubernetes_io_name", "api"),
        ("pod_labelpresent_app_kubernetes_io_name", "true"),
        ("pod_annotation_scrape", "yes"),
        ("pod_container_name", "main"),
        ("pod_container_id", "docker://1"),
        ("pod_container_image", "api:1"),
        ("pod_container_init", "false"),
        ("pod_container_port_name", "metrics"),
        ("pod_container_port_number", "9100"),
        ("pod_container_port_protocol", "TCP"),
        ("node_label_zone", "a"),
    ] {
        assert_eq!(meta(&got[0], name), want, "{name}");
    }
    assert_eq!(meta(&got[1], "pod_container_port_protocol"), "UDP");
    assert_eq!(meta(&got[2], "pod_container_port_number"), "");
}

#[test]
fn endpoints_carry_their_pod_and_service() {
    let service =
        json!({"metadata": {"name": "api", "namespace": "shop", "labels": {"team": "x"}}});
    let reference = json!({"kind": "Pod", "name": "a", "namespace": "shop"});
    let objects = |own: Value| Objects {
        own: vec![own],
        pods: vec![pod("a", "10.1.0.1")],
        services: vec![service.clone()],
        nodes: Vec::new(),
    };
    let endpoints = json!({"metadata": {"name": "api", "namespace": "shop"}, "subsets": [{
        "ports": [{"name": "metrics", "port": 9100}],
        "addresses": [{"ip": "10.1.0.1", "targetRef": reference, "nodeName": "n1"}],
        "notReadyAddresses": [{"ip": "fd00::2"}]}]});
    let got = groups::of_role(KubernetesRole::Endpoints, &objects(endpoints), false);
    // The pod's other port is found through the pod.
    assert_eq!(shown(&got), ["10.1.0.1:9100", "[fd00::2]:9100", "10.1.0.1:9200"]);
    for (name, want) in [
        ("endpoints_name", "api"),
        ("endpoint_port_name", "metrics"),
        ("endpoint_ready", "true"),
        ("endpoint_node_name", "n1"),
        ("endpoint_address_target_kind", "Pod"),
        ("endpoint_address_target_name", "a"),
        ("service_name", "api"),
        ("service_label_team", "x"),
        ("pod_name", "a"),
        ("pod_container_name", "main"),
        ("pod_container_port_name", "metrics"),
    ] {
        assert_eq!(meta(&got[0], name), want, "{name}");
    }
    assert_eq!((meta(&got[1], "endpoint_ready"), meta(&got[1], "pod_name")), ("false", ""));

    let slice = json!({"metadata": {"name": "api-x", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "api"}}, "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 9100, "appProtocol": "http"}],
        "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": false},
            "targetRef": reference, "zone": "a"}]});
    let got = groups::of_role(KubernetesRole::EndpointSlice, &objects(slice), false);
    assert_eq!(shown(&got), ["10.1.0.1:9100", "10.1.0.1:9200"]);
    for (name, want) in [
        ("endpointslice_name", "api-x"),
        ("endpointslice_address_type", "IPv4"),
        ("endpointslice_port", "9100"),
        ("endpointslice_port_app_protocol", "http"),
        ("endpointslice_endpoint_conditions_ready", "true"),
        ("endpointslice_endpoint_conditions_serving", "false"),
        ("endpointslice_endpoint_zone", "a"),
        ("endpointslice_address_target_name", "a"),
        ("service_label_team", "x"),
        ("pod_container_name", "main"),
    ] {
        assert_eq!(meta(&got[0], name), want, "{name}");
    }
}

#[test]
fn nodes_services_and_ingresses() {
    let of =
        |role, own| groups::of_role(role, &Objects { own: vec![own], ..Objects::default() }, false);
    let got = of(KubernetesRole::Node, node());
    assert_eq!(shown(&got), ["10.0.0.9:10250"]);
    assert_eq!(got[0].labels.get("instance"), Some("n1"));
    assert_eq!(meta(&got[0], "node_address_Hostname"), "n1.local");
    assert_eq!(meta(&got[0], "node_provider_id"), "p://1");

    let service = json!({"metadata": {"name": "api", "namespace": "shop"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.9.0.1",
            "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]}});
    let got = of(KubernetesRole::Service, service);
    assert_eq!(shown(&got), ["api.shop.svc:80", "api.shop.svc:53"]);
    assert_eq!(meta(&got[0], "service_cluster_ip"), "10.9.0.1");
    assert_eq!(meta(&got[1], "service_port_protocol"), "UDP");

    let ingress = json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ingressClassName": "nginx", "tls": [{"hosts": ["*.example.com"]}],
            "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/x"}, {}]}},
                      {"host": "b.example.org"}]}});
    let got = of(KubernetesRole::Ingress, ingress);
    assert_eq!(shown(&got), ["a.example.com", "a.example.com", "b.example.org"]);
    let parts: Vec<_> =
        got.iter().map(|g| (meta(g, "ingress_scheme"), meta(g, "ingress_path"))).collect();
    assert_eq!(parts, [("https", "/x"), ("https", "/"), ("http", "/")]);
    assert_eq!(meta(&got[0], "ingress_class_name"), "nginx");
}

#[tokio::test]
async fn lists_are_read_in_pages_and_again_when_the_watch_says_so() {
    let api = Arc::new(Api {
        objects: Mutex::default(),
        requests: Mutex::default(),
        changed: watch::Sender::new(0),
    });
    let set = |names: &[&str]| {
        let pods = names.iter().enumerate().map(|(i, n)| pod(n, &format!("10.1.0.{i}"))).collect();
        api.objects.lock().unwrap().insert("pods", pods);
    };
    set(&["a", "b", "c"]);
    let router = Router::new().fallback(answer).with_state(Arc::clone(&api));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let yaml = format!(
        "scrape_configs:\n- job_name: k\n  kubernetes_sd_configs:\n  - {{role: pod, api_server: 'http://{address}', authorization: {{credentials: t}}, namespaces: {{names: [shop]}}, selectors: [{{role: pod, label: 'app=x'}}]}}\n"
    );
    let job = PrometheusConfig::parse(&yaml, Path::new("p.yml")).unwrap().jobs.remove(0);
    let Some(Discovery::Kubernetes(source)) = job.discovery.first().cloned() else { panic!() };
    let source = Source::new(&source, "test/1").unwrap();
    let (found, mut news) = mpsc::channel(1);
    let teller = Teller { job: "k".into(), place: 3, found, last: None };
    let running = tokio::spawn(source.run(teller));
    let mut next = async || {
        let (place, groups) = tokio::time::timeout(Duration::from_secs(20), news.recv())
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(place, 3);
        let names: std::collections::BTreeSet<String> =
            groups.iter().map(|g| meta(g, "pod_name").to_owned()).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(next().await, ["a", "b", "c"]);
    // The watch must be there before it can say anything.
    let watching = || api.changed.receiver_count() > 0;
    while !watching() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    set(&["a", "d"]);
    api.changed.send_replace(1);
    assert_eq!(next().await, ["a", "d"]);
    running.abort();
    let requests = api.requests.lock().unwrap();
    let first = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dx&limit=500";
    assert_eq!((requests[0].as_str(), requests[1].contains("continue=1")), (first, true));
    assert!(requests.iter().any(|r| r.contains("watch=1") && r.contains("resourceVersion=7")));
}
