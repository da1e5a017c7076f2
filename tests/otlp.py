"""A real OTLP/HTTP receiver that keeps the spans it is sent."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver:
    """Listens on a free loopback port while its block is open.

    Args:
        answers: False to take what is sent, and never answer.
    """

    def __init__(self, *, answers: bool = True) -> None:
        self.spans: list[Any] = []
        self.scopes: dict[bytes, str] = {}
        """Name of the instrumentation that made each span, by the span's id."""
        lock = threading.Lock()
        spans, scopes = self.spans, self.scopes
        closing = self._closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                if not answers:
                    closing.wait()
                    return
                with lock:
                    for resource in request.resource_spans:
                        for scope in resource.scope_spans:
                            scopes.update((span.span_id, scope.scope.name) for span in scope.spans)
                            spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


def links(span: Any) -> dict[str, bytes]:
    """Ids of the spans that a span is linked to, by the type of the link."""
    return {attributes(link)["jobmon.link.type"]: link.span_id for link in span.links}


def attributes(span: Any) -> dict[str, Any]:
    """Attributes of a span or a link as plain values."""
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
    }
