"""A gateway for tests: the program with settings of its own, which may be killed and started again, and its client."""

import http.client
import json
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from streams.gateway.keys import new_key
from tests.integration.broker import free_ports
from tests.integration.program import Program, wait_until

JSON, NDJSON, AVRO = "application/json", "application/x-ndjson", "application/avro"
STARTED_WITHIN_S = 60.0


class Answer(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


class Gateway:
    """`sellerpulse gateway` at a port that stays, for a `with` block; `key` may send everything, `only_s` of S."""

    def __init__(self, folder: Path, kafka: str, **limits: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._kafka = folder, kafka
        (self.port,) = free_ports(1)
        (self.key, everything), (self.only_s, of_s) = new_key(), new_key()
        said = "".join(f"{name} = {value}\n" for name, value in ({"port": self.port} | limits).items())
        (folder / "gateway.toml").write_text(
            f"[gateway]\n{said}"
            f'[[gateway.keys]]\nname = "all"\nhash = "{everything}"\nsellers = "*"\nmarketplaces = "*"\n'
            f'[[gateway.keys]]\nname = "of-s"\nhash = "{of_s}"\nsellers = ["S"]\nmarketplaces = ["M"]\n'
        )
        self.program = self._started()

    def _started(self) -> Program:
        return Program(self.folder, "gateway", "--settings", "gateway.toml", "--kafka", self._kafka)

    def start_again(self) -> None:
        """After a kill."""
        self.program = self._started()
        self.listens()

    def listens(self) -> None:
        """Returns when it does."""
        wait_until(lambda: "events are taken at" in self.program.log(), STARTED_WITHIN_S, "a gateway", self.program)

    def is_ready(self) -> None:
        """Returns when Kafka answers it."""
        self.listens()
        wait_until(lambda: self.get("/readyz").status == 200, STARTED_WITHIN_S, "a gateway with Kafka", self.program)

    def get(self, path: str) -> Answer:
        """An answer to GET."""
        return self._ask("GET", path, None, {})

    def post(
        self, body: bytes, media_type: str | None = NDJSON, *, key: str | None = None, encoding: str | None = None
    ) -> Answer:
        """An answer to events. Raises OSError or HTTPException if there is none."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        headers |= {"Content-Type": media_type} if media_type else {}
        return self._ask("POST", "/v1/events", body, headers | ({"Content-Encoding": encoding} if encoding else {}))

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.kill()
