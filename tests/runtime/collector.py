"""A collector of traces, as a double: it takes OTLP/HTTP in protobuf on loopback and keeps the spans that come."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Answers with `status`, after it was let to by `gate`; `headers` of a request are kept as well."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.elsewhere = ""
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.headers.append(headers)
        for resource in request.resource_spans:
            self.resources.append(told(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def of(self, trace: str) -> list[Span]:
        """The spans of a trace, in the order in which they began."""
        return sorted((one for one in list(self.spans) if one.trace_id.hex() == trace), key=began)

    def until(self, trace: str, *names: str, timeout: float = 60.0) -> list[Span]:
        """The spans of a trace, once those that are named are among them."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.of(trace)
            if {one.name for one in found} >= set(names):
                return found
            time.sleep(0.05)
        raise AssertionError(f"{names} of {trace}: there are {[(one.name, one.trace_id.hex()) for one in self.spans]}")


def began(span: Span) -> int:
    return span.start_time_unix_nano


def told(attributes: Any) -> dict[str, Any]:
    """Attributes as Python has them."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, as long as the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            collector.gate.wait(60)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.status == 200:
                collector.take(body, dict(self.headers))
            self.send_response(collector.status)
            if collector.elsewhere:
                self.send_header("Location", collector.elsewhere)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
