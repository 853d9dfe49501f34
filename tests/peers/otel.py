"""The OpenTelemetry SDK sends all three signals; we read them back."""

import logging
import time

from harness import Skipped


def send_and_read(server, protocol):
    try:
        from opentelemetry import trace  # noqa: F401
    except ImportError as error:
        raise Skipped(f"{error}") from error
    service = f"otel-{protocol}"
    trace_id = send(server, protocol, service)

    values = server.eventually(
        lambda: server.instant(f'{{__name__=~"orders.*",job="{service}"}}'), "no metric arrived"
    )
    assert any(v["value"][1] == "7" for v in values), values

    lines = server.eventually(
        lambda: server.get("/loki/api/v1/query_range", query=f'{{service_name="{service}"}}')["data"]["result"],
        "no log line arrived",
    )
    assert "order 42 accepted" in str(lines), lines

    found = server.eventually(lambda: server.get(f"/obs/traces/{trace_id}"), "no trace arrived")
    names = sorted(span["name"] for span in found["spans"])
    assert names == ["child", "parent"], found


def send(server, protocol, service):
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        def make(exporter, _signal):
            return exporter(endpoint=server.otlp_grpc, insecure=True)
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        def make(exporter, signal):
            return exporter(endpoint=f"{server.otlp_http}/v1/{signal}")

    resource = Resource.create({"service.name": service})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(make(OTLPSpanExporter, "traces")))
    tracer = tracers.get_tracer("peers")
    with tracer.start_as_current_span("parent") as parent:
        trace_id = f"{parent.get_span_context().trace_id:032x}"
        with tracer.start_as_current_span("child"):
            time.sleep(0.01)

    reader = PeriodicExportingMetricReader(make(OTLPMetricExporter, "metrics"), 3_600_000)
    meters = MeterProvider(resource=resource, metric_readers=[reader])
    meters.get_meter("peers").create_counter("orders").add(7)

    records = LoggerProvider(resource=resource)
    records.add_log_record_processor(BatchLogRecordProcessor(make(OTLPLogExporter, "logs")))
    logger = logging.getLogger(service)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=records))
    logger.info("order %d accepted", 42)
    for provider in (tracers, meters, records):
        assert provider.force_flush(), "the SDK could not export"
        provider.shutdown()
    return trace_id
