"""A server on free ports, requests over loopback, checks that are counted."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

BIN = os.environ.get("VMOBS_BIN", "target/debug/vm-obs")
PATIENCE = 60.0


class Skipped(Exception):
    """The peer is not on this machine."""


class Process:
    """A program that ends with the test."""

    def __init__(self, arguments, output, environment=None):
        self.output = open(output, "ab")
        self.child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, env=environment
        )

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.output.close()


class Server:
    """`vm-obs serve` with a folder of its own."""

    def __init__(self, folder, *more):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.process = Process(
            [BIN, "serve", "--data", str(self.data), "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0",
             "--otlp-http", "127.0.0.1:0", *more],
            self.folder / "vm-obs.log",
        )
        addresses = self.data / "addresses.json"
        wait(lambda: addresses.exists() and addresses.read_text().endswith("\n"), "vm-obs is not ready")
        found = json.loads(addresses.read_text())
        self.http = "http://" + found["http"]
        self.otlp_http = "http://" + found["otlp_http"]
        self.otlp_grpc = found["otlp_grpc"]

    def stop(self):
        self.process.stop()

    def get(self, path, **parameters):
        """JSON of a route; an error status raises."""
        return get(self.http + path, **parameters)

    def instant(self, query):
        return self.get("/api/v1/query", query=query)["data"]["result"]

    def eventually(self, ask, what):
        return wait(ask, what)


def get(url, **parameters):
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            body = reply.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read()[:300]!r}") from error
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def wait(ask, what, patience=PATIENCE):
    """Asks until the answer is true."""
    deadline = time.monotonic() + patience
    last = None
    while time.monotonic() < deadline:
        try:
            answer = ask()
            if answer:
                return answer
        except (AssertionError, OSError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"{what} (waited {patience:.0f} s, at last {last!r})")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Skipped(f"{program} is not installed")
    return path


class Suite:
    """Runs checks one after the other and counts them."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
        except Skipped as reason:
            print(f"skipped: {name}: {reason}", flush=True)
        except Exception:  # a check may fail in any way; the others go on
            self.failed += 1
            print(f"FAILED: {name}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok: {name}", flush=True)

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def folder():
    return tempfile.TemporaryDirectory(prefix="vm-obs-peers-")
