"""Every peer, one server per group."""

import sys

import anchors
import blackbox
import chaos
import exporter
import grafana
import mcp_conformance
import otel
import prometheus
import sealed
import witness
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
            for scenario in mcp_conformance.SCENARIOS:
                suite.run(f"MCP conformance: {scenario}", mcp_conformance.conforms, server, scenario)
        finally:
            server.stop()
    suite.run("node_exporter agrees with our host metrics", exporter.agrees)
    suite.run("blackbox_exporter agrees with our probes", blackbox.agrees)
    suite.run("Chaos Toolkit accepts our experiments", chaos.accepted)
    with folder() as place:
        try:
            data = sealed.make(place)
        except Exception as error:  # without sealed hours each of the checks below must fail
            data = error
        suite.run("pyarrow reads the sealed metrics and traces", sealed.parquet, data)
        suite.run("zcat reads the sealed logs", sealed.lines, data)
        suite.run("aics-tlog verifies the checkpoint", sealed.checkpoint, data)
    with folder() as place:
        suite.run("anchors: folder, git, RFC 3161 authority, OpenTimestamps calendar", anchors.anchored, place)
    with folder() as place:
        pair, problem = None, None
        try:
            pair = witness.Pair(place)
        except Exception as error:  # each of the checks below must fail, or be skipped, for it
            problem = error

        def against(check):
            if problem:
                raise problem
            check(pair)

        try:
            suite.run("aics-witness cosigns the ledger", against, witness.cosigned)
            suite.run("aics-witness' client submits to our witness", against, witness.submitted)
            suite.run("aics-tlog reads our tiles", against, witness.tiles)
        finally:
            if pair:
                pair.stop()
    return suite.close()


if __name__ == "__main__":
    sys.exit(main())
