//! Probes and transactions against a server of the test's own.

use std::time::Duration;

use obs_exercise::exchange::AllowedHosts;
use obs_exercise::probe::{
    Modules, ProbeRequest, ProbeResult, Transaction, TransactionForm, probe,
};

use crate::server::{Server, reply};

async fn ask(module: &str, target: &str) -> ProbeResult {
    let modules = Modules::parse(&format!("modules: {{m: {module}}}")).unwrap();
    let request = ProbeRequest {
        target,
        module: modules.get("m").unwrap(),
        allowed: &AllowedHosts::default(),
        timeout: Duration::from_secs(5),
        trace: Some((7, 9)),
    };
    probe(&request).await
}

#[tokio::test]
async fn http_follows_redirects_and_judges_the_last_answer() {
    let server = Server::start(|asked| async move {
        match asked.path() {
            "/" => reply("302 Found", "Location: /end\r\nSet-Cookie: a=b; Path=/\r\n", ""),
            "/end" if asked.header("cookie") == Some("a=b") => {
                reply("200 OK", "X-Kind: x\r\n", "hello")
            }
            _ => reply("500 Oh", "", ""),
        }
    })
    .await;
    let result = ask("{prober: http}", &server.url()).await;
    assert!(result.success, "{:?}", result.log());
    for (name, value) in [
        ("probe_success", 1.0),
        ("probe_http_redirects", 1.0),
        ("probe_http_status_code", 200.0),
        ("probe_http_content_length", 5.0),
        ("probe_http_version", 1.1),
        ("probe_ip_protocol", 4.0),
    ] {
        assert_eq!(result.value(name), Some(value), "{name}");
    }
    let text = result.exposition();
    for phase in ["resolve", "connect", "processing", "tls", "transfer"] {
        assert!(
            text.contains(&format!("probe_http_duration_seconds{{phase=\"{phase}\"}}")),
            "{text}"
        );
    }
    let result = ask(
        "{prober: http, http: {fail_if_body_matches_regexp: [hello]}}",
        &format!("{}/", server.url()),
    )
    .await;
    assert_eq!((result.success, result.value("probe_failed_due_to_regex")), (false, Some(1.0)));
}

#[tokio::test]
async fn what_is_not_allowed_is_not_asked() {
    for (module, target) in [
        ("{prober: http}", "http://192.0.2.1/"),
        ("{prober: tcp}", "192.0.2.1:1"),
        ("{prober: icmp}", "192.0.2.1"),
    ] {
        let result = ask(module, target).await;
        assert!(
            !result.success && result.log().iter().any(|l| l.contains("not allowed")),
            "{:?}",
            result.log()
        );
    }
    let server =
        Server::start(|_| async { reply("302 Found", "Location: http://192.0.2.1/\r\n", "") })
            .await;
    let result = ask("{prober: http}", &server.url()).await;
    assert!(result.log().iter().any(|l| l.contains("not allowed")), "{:?}", result.log());
}

#[tokio::test]
async fn a_transaction_hands_values_on_and_names_the_step_that_failed() {
    let server = Server::start(|asked| async move {
        match asked.path() {
            "/login" => reply("200 OK", "", r#"{"token": "t"}"#),
            "/me/t" => reply("200 OK", "", r#"{"name": "alice", "traced": true}"#),
            _ => reply("404 Not Found", "", ""),
        }
    })
    .await;
    let flow = |steps: &str| {
        let yaml = format!("{{name: f, target: '{}', steps: [{steps}]}}", server.url());
        let form: TransactionForm = serde_saphyr::from_str(&yaml).unwrap();
        Transaction::check(form, "flow").unwrap()
    };
    let login = "{name: login, url: /login, extract: {t: {jsonpath: $.token}}}";
    let me = "{name: me, url: '/me/${t}', checks: [{jsonpath: $.name, equals: alice}]}";
    let good = flow(&format!("{login}, {me}")).run(&AllowedHosts::default(), Some((1, 2))).await;
    assert!(good.success, "{:?}", good.log());
    assert_eq!(good.phases().len(), 2);
    let bad = flow(&format!("{login}, {{name: gone, url: /gone}}, {me}"));
    let bad = bad.run(&AllowedHosts::default(), None).await;
    let text = bad.exposition();
    assert!(!bad.success && text.contains("probe_step_success{step=\"gone\"} 0"), "{text}");
    assert!(!text.contains("step=\"me\"") && bad.log().iter().any(|l| l.contains("404")));
}

#[tokio::test]
async fn a_domain_says_when_its_registration_ends() {
    let registry = Server::start(|_| async move {
        let events = r#"{"events": [{"eventAction": "registration", "eventDate": "1997-01-01T00:00:00Z"},
            {"eventAction": "expiration", "eventDate": "2099-08-13T04:00:00Z"}]}"#;
        reply("200 OK", "", events)
    })
    .await;
    // A bootstrap server leads to the registry.
    let to = format!("{}/domain/example.test", registry.url());
    let server = Server::start(move |asked| {
        let to = to.clone();
        async move {
            match asked.path() {
                "/domain/example.test" => reply("302 Found", &format!("Location: {to}\r\n"), ""),
                _ => reply("404 Not Found", "", ""),
            }
        }
    })
    .await;
    let module =
        |at: &str, more: &str| format!("{{prober: domain, domain: {{server: '{at}'{more}}}}}");
    let result = ask(&module(&server.url(), ""), "Example.Test.").await;
    assert!(result.success, "{:?}", result.log());
    let wanted: jiff::Timestamp = "2099-08-13T04:00:00Z".parse().unwrap();
    let name = "probe_domain_expiry_timestamp_seconds";
    assert_eq!(result.value(name), Some(wanted.as_second() as f64));
    let late = ask(&module(&registry.url(), ", at_least: 80y"), "example.test").await;
    assert!(!late.success && late.value(name).is_some());
    let unknown = ask(&module(&server.url(), ""), "other.test").await;
    assert!(!unknown.success, "{:?}", unknown.log());
    // Wherever it is sent, only to what is allowed.
    let elsewhere = ask(&module("https://rdap.org", ""), "example.test").await;
    assert!(!elsewhere.success && format!("{:?}", elsewhere.log()).contains("--allow-host"));
}

#[tokio::test]
async fn a_json_body_is_judged_by_conditions() {
    let server = Server::start(|asked| async move {
        match asked.path() {
            "/health" => reply("200 OK", "", r#"{"status": "ok", "queue": {"depth": 7}}"#),
            _ => reply("200 OK", "", "<html>"),
        }
    })
    .await;
    let asked = |matches: &str, not: &str| {
        format!(
            "{{prober: http, http: {{fail_if_body_json_matches_cel: \"{matches}\", fail_if_body_json_not_matches_cel: \"{not}\"}}}}"
        )
    };
    let good = asked("body.queue.depth > 100", "body.status == 'ok'");
    let url = format!("{}/health", server.url());
    let result = ask(&good, &url).await;
    assert!(result.success, "{:?}", result.log());
    assert_eq!(result.value("probe_failed_due_to_cel"), Some(0.0));
    for module in [
        asked("body.queue.depth > 5", "body.status == 'ok'"),
        asked("body.queue.depth > 100", "body.status == 'down'"),
        asked("body.queue.depth > 100", "body.missing == 1"),
    ] {
        let result = ask(&module, &url).await;
        let seen = (result.success, result.value("probe_failed_due_to_cel"));
        assert_eq!(seen, (false, Some(1.0)), "{module}: {:?}", result.log());
    }
    let page = ask(&good, &server.url()).await;
    assert!(page.log().iter().any(|l| l.contains("no JSON")), "{:?}", page.log());
    assert_eq!(ask("{prober: http}", &url).await.value("probe_failed_due_to_cel"), None);
}

/// Greets, echoes in capitals, and ends after `bye`.
async fn web_socket_server() -> String {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let route = axum::routing::any(|upgrade: WebSocketUpgrade| async move {
        upgrade.protocols(["chat"]).on_upgrade(|mut socket| async move {
            let hello = Message::Text("hello v7".into());
            if socket.send(hello).await.is_err() {
                return;
            }
            while let Some(Ok(message)) = socket.recv().await {
                let Message::Text(text) = message else { continue };
                if text.as_str() == "bye" {
                    return;
                }
                let answer = text.to_uppercase();
                if socket.send(Message::Text(answer.into())).await.is_err() {
                    return;
                }
            }
        })
    });
    let app = axum::Router::new().route("/chat", route);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("ws://{address}/chat")
}

#[tokio::test]
async fn a_web_socket_is_opened_and_talked_to() {
    let url = web_socket_server().await;
    let module = "{prober: websocket, websocket: {subprotocols: [talk, chat], query_response: [
        {expect: '^hello (v[0-9]+)', labels: [{name: version, value: '$1'}], send: 'ping $1'},
        {expect_bytes: 'PING V7'}, {send: bye}]}}";
    let result = ask(module, &url).await;
    assert!(result.success, "{:?}", result.log());
    let text = result.exposition();
    for line in [
        "probe_websocket_status_code 101",
        "probe_websocket_connection_upgraded 1",
        "probe_websocket_ssl 0",
        "probe_failed_due_to_regex 0",
        "probe_expect_info{version=\"v7\"} 1",
        "probe_success 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let phases: Vec<&str> = result.phases().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(phases, ["resolve", "connect", "upgrade", "dialogue"]);
}

#[tokio::test]
async fn a_web_socket_that_says_something_else_fails() {
    let url = web_socket_server().await;
    let asked = |queries: &str| {
        format!("{{prober: websocket, websocket: {{query_response: [{queries}]}}}}")
    };
    for (queries, name) in [
        ("{send: bye}, {expect: never}", "probe_failed_due_to_regex"),
        ("{expect_bytes: goodbye}", "probe_failed_due_to_bytes"),
    ] {
        let result = ask(&asked(queries), &url).await;
        assert_eq!((result.success, result.value(name)), (false, Some(1.0)), "{:?}", result.log());
        assert_eq!(result.value("probe_websocket_connection_upgraded"), Some(1.0));
    }
    let elsewhere = url.replace("/chat", "/nothing");
    let result = ask("{prober: websocket}", &elsewhere).await;
    assert_eq!(result.value("probe_websocket_status_code"), Some(404.0));
    assert_eq!(result.value("probe_websocket_connection_upgraded"), Some(0.0));
    let only = "{prober: websocket, websocket: {subprotocols: [other]}}";
    let result = ask(only, &url).await;
    assert!(!result.success && result.log().iter().any(|l| l.contains("subprotocol")));
    // An HTTP server that upgrades whatever it is asked does not know the key.
    let liar = Server::start(|_| async {
        reply("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "")
    })
    .await;
    let result = ask("{prober: websocket}", &liar.url().replace("http://", "ws://")).await;
    assert!(result.log().iter().any(|l| l.contains("does not belong")), "{:?}", result.log());
    let far = ask("{prober: websocket}", "ws://192.0.2.1/").await;
    assert!(far.log().iter().any(|l| l.contains("not allowed")), "{:?}", far.log());
}
