"""Debian's blackbox exporter and our `/probe` over the same modules and loopback targets."""

import gzip
import http.server
import re
import socketserver
import ssl
import struct
import subprocess
import threading
import urllib.parse
import urllib.request
from pathlib import Path

from harness import Process, Server, folder, free_port, need, wait

# Came after the version that Debian has.
LATER = {"probe_timeout_seconds", "probe_tls_cipher_info", "probe_failed_due_to_bytes"}
# Take as long as they take.
TIMES = re.compile(
    r"probe_(duration_seconds|dns_lookup_time_seconds|(http|dns|grpc|icmp)_duration_seconds)(\{|$)"
)

MODULES = """
modules:
  plain: {prober: http, timeout: 3s}
  ip4: {prober: http, http: {preferred_ip_protocol: ip4}}
  v6_only: {prober: http, http: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}
  post: {prober: http, http: {method: POST, body: 'a=1', headers: {Content-Type: text/plain}}}
  head: {prober: http, http: {method: HEAD}}
  status: {prober: http, http: {valid_status_codes: [204, 418]}}
  no_follow: {prober: http, http: {follow_redirects: false}}
  no_follow_ok: {prober: http, http: {follow_redirects: false, valid_status_codes: [302]}}
  body_good: {prober: http, http: {fail_if_body_not_matches_regexp: ['w.rld']}}
  body_bad: {prober: http, http: {fail_if_body_matches_regexp: ['hello']}}
  body_missing: {prober: http, http: {fail_if_body_not_matches_regexp: ['absent']}}
  header_good: {prober: http, http: {fail_if_header_not_matches: [{header: X-Kind, regexp: '^a'}]}}
  header_bad: {prober: http, http: {fail_if_header_matches: [{header: X-Kind, regexp: 'a'}]}}
  header_absent: {prober: http, http: {fail_if_header_not_matches: [{header: X-Nope, regexp: a}]}}
  header_allowed: {prober: http, http: {fail_if_header_matches: [{header: X-Nope, regexp: a, allow_missing: true}]}}
  must_ssl: {prober: http, http: {fail_if_not_ssl: true}}
  basic: {prober: http, http: {basic_auth: {username: u, password: p}}}
  bearer: {prober: http, http: {authorization: {credentials: token}}}
  gzip: {prober: http, http: {compression: gzip, fail_if_body_not_matches_regexp: ['hello']}}
  small: {prober: http, http: {body_size_limit: 5B}}
  version: {prober: http, http: {valid_http_versions: ['HTTP/2.0']}}
  quick: {prober: http, timeout: 500ms}
  tls: {prober: http, http: {tls_config: {ca_file: CA}}}
  tls_any: {prober: http, http: {tls_config: {insecure_skip_verify: true}}}
  no_ssl: {prober: http, http: {fail_if_ssl: true, tls_config: {ca_file: CA}}}
  tcp: {prober: tcp, timeout: 3s}
  banner: {prober: tcp, timeout: 3s, tcp: {query_response: [{expect: '^220 (\\\\S+)', send: 'HELO ${1}'}, {expect: '^250'}]}}
  banner_bad: {prober: tcp, timeout: 2s, tcp: {query_response: [{expect: '^nothing'}]}}
  tcp_tls: {prober: tcp, tcp: {tls: true, tls_config: {ca_file: CA}}}
  tcp_tls_bad: {prober: tcp, tcp: {tls: true}}
  starttls: {prober: tcp, tcp: {query_response: [{send: STARTTLS}, {expect: '^go'}, {starttls: true}, {send: hello}, {expect: '^hello'}], tls_config: {ca_file: CA}}}
  dns_a: {prober: dns, dns: {query_name: good.test, query_type: A, validate_answer_rrs: {fail_if_not_matches_regexp: ['127\\\\.0\\\\.0\\\\.1']}}}
  dns_tcp: {prober: dns, dns: {query_name: good.test, query_type: A, transport_protocol: tcp}}
  dns_soa: {prober: dns, dns: {query_name: good.test, query_type: SOA}}
  dns_nx: {prober: dns, dns: {query_name: bad.test, query_type: A}}
  dns_nx_ok: {prober: dns, dns: {query_name: bad.test, query_type: A, valid_rcodes: [NXDOMAIN]}}
  dns_match: {prober: dns, dns: {query_name: good.test, query_type: A, validate_answer_rrs: {fail_if_matches_regexp: ['127.*']}}}
  dns_none: {prober: dns, dns: {query_name: good.test, query_type: A, validate_authority_rrs: {fail_if_none_matches_regexp: ['x']}}}
  icmp: {prober: icmp, timeout: 3s}
  grpc: {prober: grpc, timeout: 3s, grpc: {preferred_ip_protocol: ip4}}
  grpc_service: {prober: grpc, timeout: 3s, grpc: {service: sick, preferred_ip_protocol: ip4}}
  grpc_unknown: {prober: grpc, timeout: 3s, grpc: {service: nobody, preferred_ip_protocol: ip4}}
"""


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"hello world", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path
        if path == "/":
            self.answer(200, X_Kind="abc")
        elif path == "/modified":
            self.answer(200, Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
        elif path.startswith("/status/"):
            status = int(path.split("/")[2])
            self.answer(status, b"" if status in (204, 304) else b"x")
        elif path == "/redirect":
            self.answer(302, b"there", Location="/")
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
        elif path == "/gzip":
            self.answer(200, gzip.compress(b"hello hello hello"), Content_Encoding="gzip")
        elif path == "/basic":
            self.answer(200 if self.headers.get("Authorization") == "Basic dTpw" else 401)
        elif path == "/bearer":
            self.answer(200 if self.headers.get("Authorization") == "Bearer token" else 401)
        elif path == "/slow":
            threading.Event().wait(2)
            self.answer(200)
        else:
            self.answer(404, b"")

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200 if self.path == "/post" and body == b"a=1" else 400)

    def log_message(self, *_arguments):
        pass


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 there\r\n")
        if self.rfile.readline().strip() == b"HELO there":
            self.wfile.write(b"250 ok\r\n")


class Upgrade(socketserver.StreamRequestHandler):
    context = None

    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"go\r\n")
        self.wfile.flush()
        try:
            with self.context.wrap_socket(self.connection, server_side=True) as secure:
                secure.sendall(secure.recv(100))
        except OSError:
            pass


def dns_answer(query):
    question = query[12:query.index(b"\0", 12) + 5]
    kind = struct.unpack("!H", question[-4:-2])[0]
    good = b"\x04good" in question
    records, authority = b"", b""
    if good and kind == 1:
        records = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
        authority = b"\xc0\x0c" + struct.pack("!HHIH", 2, 1, 60, 2) + b"\xc0\x0c"
    if good and kind == 6:
        records = b"\xc0\x0c" + struct.pack("!HHIH", 6, 1, 60, 24) + b"\xc0\x0c\xc0\x0c" + struct.pack("!5I", 2025120601, 1, 2, 3, 4)
    flags = 0x8180 if good else 0x8183
    header = query[:2] + struct.pack("!5H", flags, 1, int(bool(records)), int(bool(authority)), 0)
    return header + question + records + authority


class DnsUdp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(dns_answer(data), self.client_address)


class DnsTcp(socketserver.StreamRequestHandler):
    def handle(self):
        size = struct.unpack("!H", self.rfile.read(2))[0]
        answer = dns_answer(self.rfile.read(size))
        self.wfile.write(struct.pack("!H", len(answer)) + answer)


class Quiet(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, _request, _client):
        pass


class QuietUdp(socketserver.ThreadingUDPServer):
    daemon_threads = True


def certificate(place):
    """An authority and a certificate for 127.0.0.1 and localhost."""
    run = lambda *a: subprocess.run(["openssl", *a], check=True, capture_output=True, cwd=place)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/O=Peers/CN=peers ca",
        "-addext", "basicConstraints=critical,CA:TRUE")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "req.pem", "-subj", "/C=DE/O=Peers, Inc/CN=localhost")
    (place / "ext").write_text("subjectAltName=DNS:localhost,DNS:peers.test,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    run("x509", "-req", "-in", "req.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "20", "-out", "cert.pem", "-extfile", "ext")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    return context


class Targets:
    def __init__(self, place):
        context = certificate(place)
        self.servers = []
        self.http = self.start(Quiet(("127.0.0.1", 0), Web))
        secure = Quiet(("127.0.0.1", 0), Web)
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        self.https = self.start(secure)
        self.mail = self.start(Quiet(("127.0.0.1", 0), Mail))
        Upgrade.context = context
        self.upgrade = self.start(Quiet(("127.0.0.1", 0), Upgrade))
        self.dns = self.start(QuietUdp(("127.0.0.1", 0), DnsUdp))
        self.dns_tcp = self.start(Quiet(("127.0.0.1", 0), DnsTcp))
        self.closed = free_port()
        self.grpc, self.grpc_server = self.start_grpc()

    def start(self, server):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)
        return server.server_address[1]

    @staticmethod
    def start_grpc():
        try:
            import grpc
        except ImportError:
            return None, None
        from concurrent.futures import ThreadPoolExecutor

        def check(request, context):
            service = request[2:].decode() if request else ""
            if service == "nobody":
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            return b"\x08\x02" if service == "sick" else b"\x08\x01"

        handler = grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
        )
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return port, server

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        if self.grpc_server:
            self.grpc_server.stop(None)

    def cases(self):
        web, secure = f"http://127.0.0.1:{self.http}", f"https://127.0.0.1:{self.https}"
        all_cases = [
            ("plain", web + "/"), ("plain", f"127.0.0.1:{self.http}/"), ("ip4", f"http://localhost:{self.http}/"),
            ("plain", web + "/modified"), ("plain", web + "/status/404"), ("plain", web + "/status/500"),
            ("plain", web + "/chunked"), ("plain", web + "/redirect"), ("plain", web + "/loop"),
            ("plain", f"http://127.0.0.1:{self.closed}/"), ("v6_only", web + "/"), ("post", web + "/post"),
            ("head", web + "/"), ("status", web + "/status/204"), ("status", web + "/status/418"), ("status", web + "/"),
            ("no_follow", web + "/redirect"), ("no_follow_ok", web + "/redirect"), ("body_good", web + "/"),
            ("body_bad", web + "/"), ("body_missing", web + "/"), ("header_good", web + "/"), ("header_bad", web + "/"),
            ("header_absent", web + "/"), ("header_allowed", web + "/"), ("must_ssl", web + "/"), ("basic", web + "/basic"),
            ("plain", web + "/basic"), ("bearer", web + "/bearer"), ("gzip", web + "/gzip"), ("small", web + "/"),
            ("version", web + "/"), ("quick", web + "/slow"), ("tls", secure + "/"), ("tls", f"https://localhost:{self.https}/"),
            ("tls_any", secure + "/"), ("plain", secure + "/"), ("no_ssl", secure + "/"), ("tls", secure + "/redirect"),
            ("tcp", f"127.0.0.1:{self.mail}"), ("tcp", f"127.0.0.1:{self.closed}"), ("tcp", "127.0.0.1"),
            ("banner", f"127.0.0.1:{self.mail}"), ("banner_bad", f"127.0.0.1:{self.mail}"),
            ("tcp_tls", f"127.0.0.1:{self.https}"), ("tcp_tls_bad", f"127.0.0.1:{self.https}"),
            ("starttls", f"127.0.0.1:{self.upgrade}"),
            ("dns_a", f"127.0.0.1:{self.dns}"), ("dns_tcp", f"127.0.0.1:{self.dns_tcp}"), ("dns_soa", f"127.0.0.1:{self.dns}"),
            ("dns_nx", f"127.0.0.1:{self.dns}"), ("dns_nx_ok", f"127.0.0.1:{self.dns}"), ("dns_match", f"127.0.0.1:{self.dns}"),
            ("dns_none", f"127.0.0.1:{self.dns}"), ("dns_tcp", f"127.0.0.1:{self.closed}"), ("icmp", "127.0.0.1"),
            ("grpc", f"127.0.0.1:{self.closed}"),
        ]
        if self.grpc:
            all_cases += [(m, f"127.0.0.1:{self.grpc}") for m in ("grpc", "grpc_service", "grpc_unknown")]
        return all_cases


def ask(base, module, target):
    query = urllib.parse.urlencode({"module": module, "target": target})
    with urllib.request.urlopen(f"{base}/probe?{query}", timeout=60) as reply:
        text = reply.read().decode()
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            series = re.sub(r',?serialnumber="[^"]*"', "", series)
            name, _, labels = series.partition("{")
            parts = sorted(re.findall(r'\w+="(?:[^"\\]|\\.)*"', labels))
            if name not in LATER:
                found[name + ("{" + ",".join(parts) + "}" if parts else "")] = float(value)
    return found


def difference(theirs, ours):
    out = []
    for series in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(series), ours.get(series)
        if a is None or b is None or (a != b and not TIMES.match(series)):
            out.append(f"{series}: theirs {a}, ours {b}")
    return out


def agrees():
    program = need("prometheus-blackbox-exporter")
    need("openssl")
    with folder() as name:
        place = Path(name)
        targets = Targets(place)
        modules = place / "blackbox.yml"
        modules.write_text(MODULES.replace("CA", str(place / "ca.pem")))
        (place / "probes.yaml").write_text("modules_file: blackbox.yml\n")
        (place / "vm-obs.yaml").write_text(f"data: {place}/data\nprobes: probes.yaml\n")
        port = free_port()
        peer = Process([program, f"--config.file={modules}", f"--web.listen-address=127.0.0.1:{port}"], place / "log")
        server = Server(place, "--config", str(place / "vm-obs.yaml"))
        try:
            theirs = f"http://127.0.0.1:{port}"
            wait(lambda: urllib.request.urlopen(theirs + "/-/healthy", timeout=5), "the exporter is not there")
            wrong, cases = [], targets.cases()
            for module, target in cases:
                there = ask(theirs, module, target)
                if module == "icmp" and not there["probe_success"]:
                    # Not everybody may ping; then neither of the two can.
                    continue
                found = difference(there, ask(server.http, module, target))
                if found:
                    wrong.append(f"{module} {target}\n    " + "\n    ".join(found))
            assert len(cases) >= 30, len(cases)
            print(f"  {len(cases)} cases, {len(wrong)} differ")
            assert not wrong, "\n".join(wrong)
        finally:
            server.stop()
            peer.stop()
            targets.stop()
