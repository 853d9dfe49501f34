"""The Scheduler against a time-stamp authority on OpenSSL and a calendar, both on loopback."""

import base64
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness import BIN, Server, need, wait

CONFIG = """
[req]
distinguished_name=dn
[dn]
[ca]
basicConstraints=critical,CA:TRUE
[tsa]
basicConstraints=CA:FALSE
extendedKeyUsage=critical,timeStamping
[t]
serial=serial
signer_cert=tsa.pem
signer_key=tsa.key
certs=root.pem
signer_digest=sha256
default_policy=1.2.3.4.1
digests=sha256
"""
CURVE = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
URI = b"http://127.0.0.1/calendar"
PENDING = b"\x00\x83\xdf\xe3\x0d\x2e\xf9\x0c\x8e" + bytes([len(URI) + 1, len(URI)]) + URI


def authority(place):
    """Answers queries with `openssl ts`."""
    tool = need("openssl")

    def openssl(command):
        done = subprocess.run([tool, *command.split()], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    (place / "tsa.cnf").write_text(CONFIG)
    (place / "serial").write_text("01\n")
    openssl(f"req -x509 {CURVE} -keyout root.key -out root.pem -subj /CN=root -days 9 -config tsa.cnf -extensions ca")
    openssl(f"req {CURVE} -keyout tsa.key -out tsa.csr -subj /CN=tsa -config tsa.cnf")
    openssl("x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -days 9"
            " -extfile tsa.cnf -extensions tsa")

    def reply(query):
        (place / "query").write_bytes(query)
        openssl("ts -reply -config tsa.cnf -section t -queryfile query -out reply")
        return (place / "reply").read_bytes()

    return reply


def serve(place):
    """Authority at /tsr, calendar at /calendar; its address."""
    reply = authority(place)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/tsr":
                self.answer(200, reply(body))
            elif self.path == "/calendar/digest":
                self.answer(200, b"\xf0\x01x\x08" + PENDING)
            else:
                self.answer(404, b"")

        def do_GET(self):
            self.answer(404, b"pending")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def anchored(place):
    place = Path(place)
    stand_ins, url = serve(place)
    subprocess.run(["git", "init", "-q", "--bare", "bare.git"], cwd=place, check=True)
    subprocess.run(["git", "clone", "-q", "bare.git", "clone"], cwd=place, check=True, capture_output=True)
    (place / "anchors.yaml").write_text("anchors: [{name: vault, kind: file, dir: vault, interval: 1s}]\n")
    (place / "vm-obs.yaml").write_text("ledger: {anchors: anchors.yaml}\n")
    server = Server(place, "--config", str(place / "vm-obs.yaml"))
    try:
        def state():
            return {a["name"]: a for a in server.get("/obs/anchors")["anchors"]}

        wait(lambda: state()["vault"]["anchored"] > 0, "no file was written")
        # A broken file changes nothing, a good one is taken over.
        (place / "anchors.yaml").write_text("anchors: [{name: moon, kind: moon}]\n")
        wait(lambda: "moon" in (place / "vm-obs.log").read_text(), "the broken file was not noticed")
        assert list(state()) == ["vault"]
        (place / "anchors.yaml").write_text(
            "anchors:\n- {name: vault, kind: file, dir: vault, interval: 1s}\n"
            "- {name: repo, kind: git, dir: clone, interval: 1s}\n"
            f"- {{name: tsa, kind: rfc3161, url: '{url}/tsr', roots: root.pem, interval: 1s}}\n"
            f"- {{name: ots, kind: opentimestamps, url: '{url}/calendar', interval: 1s}}\n"
        )
        wait(lambda: len(state()) == 4 and all(a["anchored"] > 0 for n, a in state().items() if n != "ots")
             and state()["ots"]["promised"], "not everything was anchored")
        assert not any(a["error"] for a in state().values()), state()
        metrics = server.get("/metrics")
        for name in ("attempts_total", "failures_total"):
            assert f"scheduler_anchor_{name}" in metrics, metrics
        for name in ("backoff_level", "config_reload_total", "uptime_seconds", "last_anchor_timestamp"):
            assert f"scheduler_{name}" in metrics, metrics
        assert "guardian_anchor_queue_depth" in metrics
        health = {c["name"]: c["status"] for c in server.get("/obs/health")["components"]}
        assert health["anchors"] == "healthy", health
    finally:
        server.stop()
        stand_ins.shutdown()
    home = server.data / "receipts/observability"
    receipts = [json.loads(line) for line in (home / "observability_events.jsonl").read_text().splitlines()]
    token = next(r for r in receipts if r["type"] == "obs_anchor" and r["kind"] == "rfc3161")
    done = subprocess.run([BIN, "verify", str(server.data)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # OpenSSL verifies the token over the text of that checkpoint.
    origin = (home / "checkpoint").read_text().splitlines()[0]
    root = bytes.fromhex(token["checkpoint"]["root"].removeprefix("sha256:"))
    text = f"{origin}\n{token['checkpoint']['size']}\n{base64.b64encode(root).decode()}\n"
    (place / "text").write_text(text)
    proof = server.data / token["proof_path"]
    checked = subprocess.run(
        [need("openssl"), "ts", "-verify", "-data", str(place / "text"), "-in", str(proof), "-CAfile",
         str(place / "root.pem")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    stamp = next(r for r in receipts if r["type"] == "obs_anchor" and r["kind"] == "opentimestamps")
    assert stamp["status"] == "promised", stamp
    ots = (server.data / stamp["proof_path"]).read_bytes()
    assert ots.endswith(PENDING), ots
