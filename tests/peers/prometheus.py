"""Debian's Prometheus remote-writes to us; its promtool reads from us."""

import subprocess
import time
from pathlib import Path

from harness import Process, free_port, need


def remote_write(server, place):
    program = need("prometheus")
    home = Path(place) / "prometheus"
    home.mkdir()
    port = free_port()
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"remote_write: [{{url: '{server.http}/api/v1/write', queue_config: {{batch_send_deadline: 1s}}}}]\n"
        "scrape_configs:\n- job_name: itself\n  static_configs: [{targets: ['127.0.0.1:%d']}]\n" % port
    )
    peer = Process(
        [program, f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
        home / "log",
    )
    try:
        found = server.eventually(lambda: server.instant('up{job="itself"}'), "nothing was remote-written")
        assert found[0]["value"][1] == "1", found
        names = server.eventually(
            lambda: server.instant('count({job="itself"})'), "the scraped series did not come"
        )
        assert float(names[0]["value"][1]) > 200, names
        server.eventually(
            lambda: float(server.instant('count_over_time(up{job="itself"}[1m])')[0]["value"][1]) >= 3,
            "samples do not go on",
        )
    finally:
        peer.stop()


def promtool(server, verb):
    program = need("promtool")
    now = int(time.time())
    arguments = {
        "instant": ["instant", server.http, "1 + 1"],
        "range": ["range", f"--start={now - 120}", f"--end={now}", "--step=15s", server.http, "up"],
        "series": ["series", f"--start={now - 3600}", "--match=up", server.http],
        "labels": ["labels", server.http, "job"],
    }[verb]
    done = subprocess.run([program, "query", *arguments], capture_output=True, text=True, timeout=60)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    expected = {"instant": "2", "range": "itself", "series": "itself", "labels": "itself"}[verb]
    assert expected in text, text
