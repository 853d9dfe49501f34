use super::Modules;
use super::http::{base64, size};

#[test]
fn the_standard_modules_are_good() {
    let modules = Modules::standard();
    for name in ["http_2xx", "http_post_2xx", "tcp_connect", "icmp", "grpc_plain", "ssh_banner"] {
        assert!(modules.get(name).is_some(), "{name}");
    }
    assert_eq!(base64(b"user:pass"), "dXNlcjpwYXNz");
    assert_eq!(base64(b"a"), "YQ==");
    assert_eq!(size("10MB", "p").unwrap(), 10 << 20);
}

#[test]
fn mistakes_say_where() {
    for (text, says) in [
        ("modules: {a: {prober: smtp}}", "modules.a.prober"),
        (
            "modules: {a: {prober: http, http: {fail_if_body_matches_regexp: [':[']}}}",
            "modules.a.http.fail_if_body",
        ),
        ("modules: {a: {prober: http, http: {body: x, body_file: y}}}", "modules.a.http.body"),
        (
            "modules: {a: {prober: http, http: {compression: gzip, headers: {Accept-Encoding: identity}}}}",
            "Accept-Encoding",
        ),
        ("modules: {a: {prober: dns}}", "modules.a.dns.query_name"),
        ("modules: {a: {prober: dns, dns: {query_name: x, query_type: NOTATYPE}}}", "query_type"),
        ("modules: {a: {prober: icmp, icmp: {ttl: 256}}}", "modules.a.icmp.ttl"),
        (
            "modules: {a: {prober: tcp, tcp: {query_response: [{expect: ':['}]}}}",
            "query_response[0]",
        ),
        ("modules: {a: {prober: http, http: {bodyy: 1}}}", "bodyy"),
        (
            "modules: {a: {prober: http, http: {fail_if_body_json_matches_cel: 'body.a =='}}}",
            "modules.a.http.fail_if_body_json_matches_cel",
        ),
        (
            "modules: {a: {prober: websocket, websocket: {query_response: [{starttls: true}]}}}",
            "modules.a.websocket.query_response[0].starttls",
        ),
        (
            "modules: {a: {prober: websocket, websocket: {bearer_token: a, bearer_token_file: b}}}",
            "modules.a.websocket.bearer_token",
        ),
    ] {
        let e = Modules::parse(text).unwrap_err().to_string();
        assert!(e.contains(says), "{text}: {e}");
    }
}
