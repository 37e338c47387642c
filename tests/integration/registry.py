"""A Schema Registry by its REST contract, in memory on loopback: may be left and come back at the same address."""

import base64
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

from fastavro.schema import parse_schema

from tests.integration.program import Silent

Answer = tuple[int, Any]
USER, PASSWORD = "pulse", "planted;registry"
_GONE = {40401: "Subject not found", 40402: "Version not found", 40403: "Schema not found"}


class SchemaRegistry:
    """Counts requests in `asked`, by method and path. With `is_locked` it lets in `USER` alone."""

    def __init__(self, *, is_locked: bool = False) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}  # a subject's ids, in the order of its versions
        self.config: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.refuses = False  # whatever changes
        self._is_locked, self._port = is_locked, 0
        self.open()

    def open(self) -> None:
        """Answer, at the same port as before."""
        registry = self

        class Handler(Silent, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def do_PUT(self) -> None:
                self._answer("PUT")

            def _answer(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(self.path.partition("?")[0])
                status, found = registry._told(method, path, json.loads(body or b"{}"), self.headers["Authorization"])
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Be gone."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self, method: str, path: str, body: dict[str, Any], login: str | None) -> Answer:
        self.asked[f"{method} {path}"] += 1
        if self._is_locked and login != f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}":
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            number = int(found[1])
            return (200, {"schema": self.schemas[number - 1]}) if number <= len(self.schemas) else _error(40403)
        if found := re.fullmatch(r"/subjects/([^/]+)(/versions)?", path):
            return self._of_subject(method, found[1], bool(found[2]), body)
        if found := re.fullmatch(r"/config/([^/]+)", path):
            self.config[found[1]] = body["compatibility"]
            return 200, body
        if found := re.fullmatch(r"/compatibility/subjects/([^/]+)/versions(/latest)?", path):
            return (200, {"is_compatible": not self.refuses}) if found[1] in self.subjects else _error(40401)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _of_subject(self, method: str, subject: str, is_versions: bool, body: dict[str, Any]) -> Answer:
        ids = self.subjects.get(subject)
        if method == "GET":
            return (200, list(range(1, len(ids) + 1))) if ids else _error(40401)
        text = body["schema"]
        try:
            parse_schema(json.loads(text))
        except Exception:  # noqa: BLE001  # any text
            return 422, {"error_code": 42201, "message": "Invalid Avro schema"}
        number = self.schemas.index(text) + 1 if text in self.schemas else None
        if not is_versions:
            if not ids:
                return _error(40401)
            if number not in ids:
                return _error(40403)
        elif number is None or number not in (ids or []):
            if self.refuses:
                return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}
            self.schemas += [text] if number is None else []
            number = number or len(self.schemas)
            ids = self.subjects.setdefault(subject, [])
            ids.append(number)
        assert ids is not None
        assert number is not None
        return 200, {"subject": subject, "id": number, "version": ids.index(number) + 1, "schema": text}


def _error(code: int) -> Answer:
    return 404, {"error_code": code, "message": _GONE[code]}
