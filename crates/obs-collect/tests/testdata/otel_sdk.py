"""Sends one trace, one log line and three kinds of metric with the OpenTelemetry SDK.

Usage: otel_sdk.py http BASE_URL | otel_sdk.py grpc HOST:PORT
"""
import logging
import sys

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

kind, target = sys.argv[1:]
if kind == "http":
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def made(exporter, signal):
        return exporter(endpoint=f"{target}/v1/{signal}", compression=Compression.Gzip)
else:
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def made(exporter, signal):
        return exporter(endpoint=target, insecure=True, compression=Compression.Gzip)

resource = Resource.create({"service.name": f"sdk-{kind}", "service.instance.id": "1"})

tracers = TracerProvider(resource=resource)
tracers.add_span_processor(SimpleSpanProcessor(made(OTLPSpanExporter, "traces")))
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(BatchLogRecordProcessor(made(OTLPLogExporter, "logs")))
reader = PeriodicExportingMetricReader(made(OTLPMetricExporter, "metrics"))
meters = MeterProvider(resource=resource, metric_readers=[reader])

logger = logging.getLogger("sdk")
logger.addHandler(LoggingHandler(logger_provider=loggers))
meter = meters.get_meter("test")
with tracers.get_tracer("test").start_as_current_span("parent") as span:
    span.set_attribute("http.status_code", 200)
    logger.error("it broke", extra={"attempt": 3})
    meter.create_counter("jobs.done", unit="1").add(5, {"queue": "a"})
    meter.create_histogram("job.duration", unit="s").record(0.3)
    meter.create_up_down_counter("jobs.open").add(2)
for provider in (tracers, loggers, meters):
    provider.shutdown()
