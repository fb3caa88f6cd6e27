"""A real OTLP receiver: takes spans over gRPC and over HTTP, and keeps them. What collectors do first, and no more."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    """One span, in plain values. Ids are hexadecimal; ``parent`` is empty for a root."""

    service: str
    schema_url: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    links: int


class OtlpReceiver:
    """Listens on loopback as long as it is entered: gRPC at ``grpc_endpoint``, HTTP at ``http_endpoint``.

    ``raw`` is all that came, as it came.
    """

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.raw: list[bytes] = []
        self._changed = threading.Condition()
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(_Servicer(self), self._grpc)  # type: ignore[no-untyped-call]  # generated
        self.grpc_endpoint = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http_endpoint = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def take(self, request: ExportTraceServiceRequest, raw: bytes) -> None:
        """Keep one request."""
        with self._changed:
            self.raw.append(raw)
            for of_service in request.resource_spans:
                service = str(_plain(of_service.resource.attributes)["service.name"])
                for of_scope in of_service.scope_spans:
                    self.spans += [_received(service, of_scope.schema_url, span) for span in of_scope.spans]
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[Received]], bool]) -> list[Received]:
        """Wait until the spans are as they should be; gives them."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.spans), PATIENCE_SECONDS):
                raise TimeoutError(f"{len(self.spans)} spans: {[span.name for span in self.spans]}")
            return list(self.spans)


class _Servicer(TraceServiceServicer):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: ARG002, N802  gRPC's signature
        self._receiver.take(request, request.SerializeToString())
        return ExportTraceServiceResponse()


def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found = self.path == "/v1/traces"
            if found:
                receiver.take(ExportTraceServiceRequest.FromString(body), body)
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _received(service: str, schema_url: str, span: Span) -> Received:
    return Received(
        service=service,
        schema_url=schema_url,
        name=span.name,
        kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        links=len(span.links),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in pairs}
