"""Stock C2SP tools cosign our log, submit to our witness, and read our tiles."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from harness import BIN, Process, Server, Skipped, free_port, wait

SUBMIT = """
import pathlib, sys
from aics_tlog import MerkleTree, parse_checkpoint, parse_note, parse_vkey, verify_cosignature
from aics_witness.feeder import WitnessClient, merge_cosignatures
url, vkey, home, checkpoint = sys.argv[1:5]
note = pathlib.Path(checkpoint).read_bytes()
log = pathlib.Path(home, "observability_events.jsonl").read_bytes().splitlines()
tree = MerkleTree(log)
client = WitnessClient(url, vkey)
first = client.submit(note, lambda old, new: tree.consistency_proof(old, new))
again = client.submit(note, lambda old, new: tree.consistency_proof(old, new))
assert merge_cosignatures(note, first) and again
print("cosigned twice")
"""


def python():
    found = os.environ.get("VMOBS_TLOG_PYTHON")
    if not found:
        raise Skipped("no Python with aics-tlog and aics-witness")
    if subprocess.run([found, "-c", "import aics_witness"], capture_output=True).returncode:
        raise Skipped("no aics-witness")
    return found


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


class Pair:
    """A server whose ledger `aics-witness` cosigns, and which is a witness of its own log."""

    def __init__(self, place):
        place = Path(place)
        tool = Path(python()).parent / "aics-witness"
        self.witness = None
        # The first start makes the log's key.
        server = Server(place)
        self.vkey = server.get("/obs/ledger")["log_vkey"]
        server.stop()
        origin = self.vkey.split("+")[0]
        config = place / "witness.json"
        port = free_port()
        made = run(tool, "init", "-c", config, "--name", "witness.test/w1", "--listen", f"127.0.0.1:{port}")
        run(tool, "add-log", "-c", config, "--origin", origin, "--vkey", self.vkey)
        self.witness_vkey = next(w for w in made.split() if w.startswith("witness.test/w1+"))
        (place / "policy.txt").write_text(
            f"log {self.vkey}\nwitness w1 {self.witness_vkey} http://127.0.0.1:{port}\nquorum w1\n"
        )
        (place / "logs.txt").write_text(f"log {self.vkey}\nquorum none\n")
        settings = place / "vm-obs.yaml"
        settings.write_text(
            "ledger: {policy: policy.txt, cosign: logs.txt, witness_interval: 1s}\n"
        )
        self.witness = Process([str(tool), "serve", "-c", str(config)], place / "witness.log")
        self.place, self.server = place, Server(place, "--config", str(settings))
        self.home = self.server.data / "receipts/observability"

    def stop(self):
        self.server.stop()
        self.witness.stop()

    def receipts(self):
        body = json.dumps({"node": "brick-02", "duration": "1h", "reason": "test"}).encode()
        request = urllib.request.Request(self.server.http + "/obs/alerts/silence", data=body)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert reply.status == 200, reply.read()


def cosigned(pair):
    pair.receipts()

    def caught_up():
        head = pair.server.get("/obs/ledger")
        return head["cosigned"] and head["cosigned"]["receipts_behind"] == 0 and head["size"] > 1

    wait(caught_up, "aics-witness has not cosigned")
    text = run(BIN, "verify", pair.server.data, "--policy", pair.place / "policy.txt", "--require-witness")
    assert "cosigned by    w1" in text, text


def submitted(pair):
    head = pair.server.get("/obs/ledger")
    note = pair.place / "head.note"
    note.write_text(head["checkpoint"])
    url = pair.server.http + "/obs/witness"
    done = run(python(), "-c", SUBMIT, url, head["witness_vkey"], pair.home, note)
    assert "cosigned twice" in done, done


def tiles(pair):
    tool = Path(python()).parent / "aics-tlog"
    url = pair.server.http + "/obs/ledger"
    run(tool, "verify-checkpoint", "--tiles", url, "--log-key", pair.vkey)
    leaf = pair.place / "leaf"
    leaf.write_bytes((pair.home / "observability_events.jsonl").read_bytes().splitlines()[1])
    run(tool, "verify-inclusion", "--tiles", url, "--log-key", pair.vkey, "--index", 1, "--leaf", leaf)
    # The same from the files beside the log.
    size = pair.server.get("/obs/ledger")["size"]
    wait(lambda: (pair.home / f"tile/0/000.p/{size}").exists(), "no tile was written")
    leaf.write_bytes(leaf.read_bytes() + b" ")
    bad = subprocess.run(
        [str(tool), "verify-inclusion", "--tiles", url, "--log-key", pair.vkey, "--index", "1", "--leaf", str(leaf)],
        capture_output=True,
    )
    assert bad.returncode != 0, bad.stdout
