"""Every peer, one server per group."""

import sys

import exporter
import grafana
import otel
import prometheus
import sealed
from harness import Server, Suite, folder


def main():
    suite = Suite()
    with folder() as place:
        server = Server(place)
        try:
            suite.run("OpenTelemetry SDK over gRPC", otel.send_and_read, server, "grpc")
            suite.run("OpenTelemetry SDK over HTTP", otel.send_and_read, server, "http")
            suite.run("Prometheus remote-writes", prometheus.remote_write, server, place)
            for verb in ("instant", "range", "series", "labels"):
                suite.run(f"promtool query {verb}", prometheus.promtool, server, verb)
            suite.run("Grafana's Prometheus data source", grafana.prometheus, server)
            suite.run("Grafana's Loki data source", grafana.loki, server)
            suite.run("Grafana's Tempo data source", grafana.tempo, server)
        finally:
            server.stop()
    suite.run("node_exporter agrees with our host metrics", exporter.agrees)
    with folder() as place:
        try:
            data = sealed.make(place)
        except Exception as error:  # without sealed hours each of the checks below must fail
            data = error
        suite.run("pyarrow reads the sealed metrics and traces", sealed.parquet, data)
        suite.run("zcat reads the sealed logs", sealed.lines, data)
        suite.run("aics-tlog verifies the checkpoint", sealed.checkpoint, data)
    return suite.close()


if __name__ == "__main__":
    sys.exit(main())
