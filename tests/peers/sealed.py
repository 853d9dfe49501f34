"""Independent programs read what was sealed."""

import json
import os
import subprocess
from pathlib import Path

from harness import Server, Skipped, need, wait


def make(place):
    """A data folder with at least one sealed hour of each signal, its server stopped."""
    config = Path(place) / "vm-obs.yaml"
    config.write_text("seal_delay: 1m\n")
    server = Server(
        place, "--demo", "--config", str(config), "--clock-start", "2025-12-06T14:50:00Z", "--clock-speed", "20"
    )
    try:
        wait(
            lambda: all(server.get("/obs/ledger")["sealed_hours"][s] > 0 for s in ("metrics", "logs", "traces")),
            "no hour was sealed",
            150,
        )
    finally:
        server.stop()
    return server.data


def receipts(data, kind):
    if isinstance(data, Exception):
        raise data
    text = (data / "receipts/observability/observability_events.jsonl").read_text()
    found = [r for r in map(json.loads, text.splitlines()) if r["type"] == kind]
    assert found, f"no receipt of type {kind}"
    return found


def parquet(data):
    found = receipts(data, "obs_metric_snapshot")
    try:
        import pyarrow.parquet as reader
    except ImportError as error:
        raise Skipped(f"{error}") from error
    for receipt in found:
        table = reader.read_table(data / receipt["storage_path"])
        assert table.num_rows == receipt["metrics_collected"], (table.num_rows, receipt)
    for receipt in receipts(data, "obs_trace_batch"):
        assert reader.read_table(data / receipt["storage_path"]).num_rows > 0, receipt


def lines(data):
    found = receipts(data, "obs_log_batch")
    program = need("zcat")
    for receipt in found:
        done = subprocess.run([program, data / receipt["storage_path"]], capture_output=True, check=True)
        objects = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(objects) == sum(receipt["log_counts"].values()), (len(objects), receipt["log_counts"])
        services = sorted({o["service"] for o in objects if o.get("service")})
        assert services == sorted(receipt["services_reporting"]), (services, receipt["services_reporting"])


CHECK = """
import pathlib, sys
from aics_tlog import MerkleTree, parse_checkpoint, parse_note, parse_vkey, verify_checkpoint
home = pathlib.Path(sys.argv[1])
note = parse_note((home / "checkpoint").read_bytes())
keys = [parse_vkey(p.read_text().strip()) for p in sorted((home / "keys").glob("log-*.vkey"))]
result = verify_checkpoint(note, keys[0])
assert result.log_ok and result.size > 0, result
log = (home / "observability_events.jsonl").read_bytes().splitlines()[: result.size]
assert MerkleTree(log).root() == result.root, "another root than the checkpoint signs"
changed = [log[0] + b" ", *log[1:]]
assert MerkleTree(changed).root() != result.root
print(result.size, "receipts")
"""


def checkpoint(data):
    receipts(data, "obs_metric_snapshot")
    python = os.environ.get("VMOBS_TLOG_PYTHON")
    if not python:
        raise Skipped("no Python with aics-tlog")
    done = subprocess.run(
        [python, "-c", CHECK, data / "receipts/observability"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
