"""Debian's node_exporter, scraped by us, beside our own host metrics."""

from pathlib import Path

from harness import Process, Server, folder, free_port, need

# Equal up to what changes between two readings of a busy machine.
CLOSE = {
    "node_memory_MemTotal_bytes": 0.0,
    "node_boot_time_seconds": 1e-6,
    "node_memory_MemAvailable_bytes": 0.3,
    "node_context_switches_total": 0.2,
    "node_load1": 0.6,
}
NAMES = ["node_cpu_seconds_total", "node_filesystem_avail_bytes", "node_network_receive_bytes_total", "node_uname_info"]


def agrees():
    program = need("prometheus-node-exporter")
    with folder() as place:
        port = free_port()
        config = Path(place) / "prometheus.yml"
        config.write_text(
            "scrape_configs:\n- job_name: peer\n  scrape_interval: 1s\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
        peer = Process([program, f"--web.listen-address=127.0.0.1:{port}"], Path(place) / "log")
        server = Server(place, "--prometheus-config", str(config))
        try:
            for name in [*CLOSE, *NAMES]:
                for job in ('job="peer"', 'job!="peer"'):
                    server.eventually(lambda: server.instant(f"{name}{{{job}}}"), f"{name}{{{job}}} is missing")
            for name, tolerance in CLOSE.items():
                theirs = float(server.instant(f'{name}{{job="peer"}}')[0]["value"][1])
                ours = float(server.instant(f'{name}{{job!="peer"}}')[0]["value"][1])
                limit = tolerance * max(abs(theirs), abs(ours)) + (0.5 if name == "node_load1" else 0)
                assert abs(theirs - ours) <= limit, f"{name}: theirs {theirs}, ours {ours}"
            cpus = [
                server.instant(f'count(count by (cpu) (node_cpu_seconds_total{{{job}}}))')[0]["value"][1]
                for job in ('job="peer"', 'job!="peer"')
            ]
            assert cpus[0] == cpus[1], cpus
        finally:
            server.stop()
            peer.stop()
