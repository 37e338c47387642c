"""ClickHouse's HTTP interface: requests in, statements to the lanes, answers out.

Place in the flow: what `clickhouse_connect`'s ordinary client, curl or a dashboard take for a ClickHouse
server. Knows requests, headers and who may come in; what is asked of the engine is the business of `lanes`.
"""

import json
import logging
import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

from sink.lanes import Answer, Lanes
from sink.request import Entry, NotServed, authenticate, check_origin, is_true, terms
from sink.statement import Refused, parse
from sink.wire import (
    Damaged,
    Encoder,
    TooLarge,
    announced,
    form_fields,
    pick_encoding,
    read_body,
    url_fields,
)

_log = logging.getLogger(__name__)

# As ClickHouse maps them, save the last two; all others are 500.
_STATUS = {
    **dict.fromkeys((6, 26, 27, 33, 36, 38, 41, 42, 53, 62, 72, 73, 117, 372, 456, 457, 1001), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 81, 115), 404),
    48: 501,
    159: 408,
    202: 503,  # which clients take for "try again"
    497: 403,
}
_CONTENT_TYPES = (
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", "application/json; charset=UTF-8"),
    ("CSV", "text/csv; charset=UTF-8"),
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("Pretty", "text/plain; charset=UTF-8"),
    ("Vertical", "text/plain; charset=UTF-8"),
)
_SMALL = 1024  # bytes that are not worth compressing
_REFUSAL = b"Code: 202. DB::Exception: Too many connections. (TOO_MANY_SIMULTANEOUS_QUERIES)\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nX-ClickHouse-Exception-Code: 202\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
)


class Front(ThreadingHTTPServer):
    """The listening socket and the connections that came in by it, one thread each."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, lanes: Lanes, entry: Entry) -> None:
        self.lanes = lanes
        self.entry = entry
        self._open: set[socket.socket] = set()
        address = listening.getsockname()[:2]
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that stopping can end it."""
        if self.entry.connections is not None and len(self._open) >= self.entry.connections:
            with suppress(OSError):
                request.send(_FULL)
            return super().shutdown_request(request)
        self._open.add(request)
        return super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection as it ends."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client went away or spoke no HTTP: no more than a line in the log."""
        del request
        _log.debug("connection of %s lost", client_address, exc_info=True)

    def hang_up(self) -> None:
        """Read no more from anybody; answers under way are still written."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)


class _Handler(BaseHTTPRequestHandler):
    """One connection: requests one after the other until it closes or falls silent."""

    server: Front
    protocol_version = "HTTP/1.1"
    server_version = "sellerpulse"
    sys_version = ""
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Begin a connection, which may be silent for so long."""
        super().setup()
        self.connection.settimeout(self.server.entry.idle_s)

    def do_GET(self) -> None:
        """A query in the URL that only reads."""
        self._serve(read_only=True)

    def do_HEAD(self) -> None:
        """Whether anybody is there; a query is not run."""
        self._serve(read_only=True)

    def do_POST(self) -> None:
        """Any statement, in the URL, the body or both."""
        self._serve(read_only=False)

    def handle_expect_100(self) -> bool:
        """Let a client send its body only if it is not too large; if it is, it hears so at once."""
        with suppress(TooLarge, Damaged):
            announced(self.headers, self.server.entry.body_limit)
            super().handle_expect_100()
            self.wfile.flush()
        return True

    def _serve(self, *, read_only: bool) -> None:
        self._query_id, self._begun = str(uuid.uuid4()), False
        try:
            self._route(read_only=read_only)
        except Refused as error:
            self._refuse(error)
        except TooLarge:
            message = f"The body has more than {self.server.entry.body_limit} bytes"
            self._refuse(NotServed(413, 307, "TOO_MANY_BYTES", message))
        except Damaged as error:
            self._refuse(NotServed(400, 117, "INCORRECT_DATA", str(error)))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # noqa: BLE001  # whatever it is, the client hears of it and the server goes on
            _log.exception("a request failed inside the server")
            self._refuse(NotServed(500, 49, "LOGICAL_ERROR", type(error).__name__))

    def _route(self, *, read_only: bool) -> None:
        path, _, query = self.path.partition("?")
        entry = self.server.entry
        check_origin(self.headers, str(self.server.server_name))
        if path in ("/ping", "/replicas_status"):
            read_body(self.rfile, self.headers, entry.body_limit)
            return self._send(200, b"Ok.\n")
        fields = url_fields(query)
        authenticate(self.headers, fields, entry)
        body = read_body(self.rfile, self.headers, entry.body_limit)
        if path != "/":
            raise NotServed(404, 404, "NOT_FOUND", "There is no handle for this path; ask / or /ping")
        kind = self.headers.get("Content-Type", "")
        if kind.lower().startswith("multipart/form-data"):
            fields.update(form_fields(body, kind))
            body = b""
        if self.command == "HEAD" or (read_only and not body and "query" not in fields):
            return self._send(200, b"Ok.\n")
        self._query_id = fields.get("query_id") or self._query_id
        statement = parse(fields.get("query", "").encode("utf-8", "surrogateescape"), body)
        statement.check(read_only=read_only)
        asked = terms(self.headers, fields)
        if entry.gate is not None:
            statement, asked = entry.gate.admit(statement, asked)
        with self.server.lanes.borrow(asked) as lane:
            started = time.perf_counter()
            self._answer(lane.run(statement, asked), fields, started)
        return None

    def _answer(self, answer: Answer, fields: dict[str, str], started: float) -> None:
        """Send an answer of one block with its length, a longer one as it comes."""
        with closing(answer.blocks) as blocks:
            first, second = next(blocks, b""), next(blocks, None)
            summary = {"elapsed_ns": int((time.perf_counter() - started) * 1e9), **answer.summary}
            headers = {
                "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
                "X-ClickHouse-Timezone": fields.get("session_timezone") or "UTC",
            }
            if answer.format:
                headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = _content_type(answer.format)
            encoding = None
            if is_true(fields.get("enable_http_compression")) and (second or len(first) > _SMALL):
                encoding = pick_encoding(self.headers.get("Accept-Encoding", ""))
            if encoding:
                headers["Content-Encoding"] = encoding
            encoder = Encoder(encoding)
            if second is None:
                self._send(200, encoder.block(first) + encoder.end(), headers)
            else:
                self._stream(chain((first, second), blocks), encoder, headers)

    def _stream(self, blocks: Iterator[bytes], encoder: Encoder, headers: dict[str, str]) -> None:
        """Send blocks as they come. What fails on the way is told at the end, as ClickHouse does, and cut off."""
        tag = secrets.token_hex(8)
        chunked = self.request_version != "HTTP/1.0"
        self._head(200, {**headers, "X-ClickHouse-Exception-Tag": tag}, None)
        try:
            for block in blocks:
                self._chunk(encoder.block(block), chunked=chunked)
            self._chunk(encoder.end(), chunked=chunked)
            self.wfile.write(b"0\r\n\r\n" if chunked else b"")
        except Refused as error:
            text = f"{error}\n"
            told = f"\r\n__exception__\r\n{tag}\r\n{text}{len(text)} {tag}\r\n__exception__\r\n"
            self._chunk(encoder.block(told.encode()) + encoder.end(), chunked=chunked)
            self.close_connection = True
        self.wfile.flush()

    def _chunk(self, data: bytes, *, chunked: bool) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)

    def _refuse(self, error: Refused) -> None:
        """Answer with an error, unless an answer has begun: then the connection ends."""
        if self._begun:
            self.close_connection = True
            return
        status = error.status if isinstance(error, NotServed) else _STATUS.get(error.code, 500)
        headers = {"X-ClickHouse-Exception-Code": str(error.code), "Content-Type": "text/plain; charset=UTF-8"}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="sellerpulse"'
        if isinstance(error, NotServed):
            self.close_connection = True  # its body may not have been read
        with suppress(OSError):
            self._send(status, f"{error}\n".encode("utf-8", "replace"), headers)
            if self.close_connection:
                self._linger()

    def _linger(self) -> None:
        """Read on for a moment: closing while a client still sends would take our answer away from it."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1)
        until = time.monotonic() + 2
        while time.monotonic() < until and self.connection.recv(1 << 16):
            pass

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, headers or {"Content-Type": "text/plain; charset=UTF-8"}, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _head(self, status: int, headers: dict[str, str], length: int | None) -> None:
        self._begun = True
        self.send_response(status)
        self.send_header("X-ClickHouse-Query-Id", _printable(self._query_id))
        self.send_header("X-ClickHouse-Server-Display-Name", "sellerpulse")
        for name, value in headers.items():
            self.send_header(name, _printable(value))
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif self.request_version == "HTTP/1.0":
            self.close_connection = True
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in plain text what is no HTTP that we take."""
        del explain
        self.command, self.close_connection, self._query_id = "", True, ""
        with suppress(OSError):
            self._send(code, f"{message or 'Bad request'}\n".encode("utf-8", "replace"))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line in the debug log, without the URL, in which there may be a password."""
        del size
        _log.debug("%s %s %s", self.client_address[0], self.command, code)

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Nothing: what went wrong was answered."""


def _printable(value: str) -> str:
    return "".join(character for character in value if character.isascii() and character.isprintable())


def _content_type(name: str | None) -> str:
    fits = (kind for prefix, kind in _CONTENT_TYPES if (name or "Pretty").startswith(prefix))
    return next(fits, "application/octet-stream")
