"""Chaos Toolkit reads the experiments that we export."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness import BIN, Skipped, folder

EXPERIMENT = """
title: the portal survives a pause
description: A pause of the portal is noticed, told, and over afterwards.
configuration: {port: 8080}
steady-state-hypothesis:
  title: the portal answers
  probes:
    - {type: probe, name: answers, tolerance: 200, provider: {type: http, url: 'http://127.0.0.1:${port}/', timeout: 2}}
    - {type: probe, name: no errors, provider: {type: vm-obs, probe: promql, query: 'sum(rate(errors_total[1m]))', threshold: '<1'}}
method:
  - {type: action, name: pause, background: true, provider: {type: vm-obs, fault: pause, process: portal, duration: 20s}, pauses: {after: 1}}
  - {type: action, name: slow, provider: {type: vm-obs, fault: toxic, api: 'http://127.0.0.1:8474', proxy: db, toxic: {type: latency, attributes: {latency: 300}}, duration: 5s}}
  - {type: action, name: skew, provider: {type: vm-obs, fault: clock, command: [sleep, '5'], skew: '-1h', duration: 5s}}
  - {type: action, name: lose, provider: {type: vm-obs, fault: toxic, api: 'http://127.0.0.1:8474', proxy: db, toxic: {type: loss, attributes: {percent: 10}}, duration: 5s}}
  - {type: probe, name: told, provider: {type: vm-obs, probe: alert, alert: PortalDown, within: 2m}}
rollbacks:
  - {type: action, name: say so, provider: {type: process, path: echo, arguments: done}}
"""


def accepted():
    python = os.environ.get("VMOBS_PEERS_PYTHON", sys.executable)
    have = subprocess.run([python, "-c", "import chaoslib"], capture_output=True)
    if have.returncode != 0:
        raise Skipped("chaostoolkit is not installed")
    with folder() as name:
        place = Path(name)
        (place / "experiment.yaml").write_text(EXPERIMENT)
        program = str(Path(BIN).resolve())
        done = subprocess.run([program, "chaos", "export", str(place / "experiment.yaml")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        exported = json.loads(done.stdout)
        (place / "experiment.json").write_text(done.stdout)
        # The validator looks for the program on the path.
        bin_folder = place / "bin"
        bin_folder.mkdir()
        (bin_folder / "vm-obs").symlink_to(program)
        environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
        check = (
            "import json, sys\n"
            "from chaoslib.experiment import ensure_experiment_is_valid\n"
            "ensure_experiment_is_valid(json.load(open(sys.argv[1])))\n"
        )
        done = subprocess.run(
            [python, "-c", check, str(place / "experiment.json")], capture_output=True, text=True, env=environment, cwd=place
        )
        assert done.returncode == 0, done.stdout + done.stderr
        again = subprocess.run([program, "chaos", "export", str(place / "experiment.json")], capture_output=True, text=True)
        assert json.loads(again.stdout) == exported, again.stdout + again.stderr
