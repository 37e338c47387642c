"""What tests of a served folder share: a server in a process of its own, and raw requests to it."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
from clickhouse_connect.driver.client import Client

ROOT = Path(__file__).parents[2]
ELSEWHERE = {**os.environ, "TZ": "America/New_York"}  # a host whose zone is not the data's

OPENED = """
import sys
from sink.embedded import open_embedded
client = open_embedded(sys.argv[1])
print(client.command(sys.argv[2]))
client.close()
"""


@dataclass
class Served:
    """A server process and where it answers."""

    process: subprocess.Popen[Any]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @contextmanager
    def client(self, **settings: object) -> Iterator[Client]:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **settings)  # type: ignore[arg-type]
        with client:
            yield client

    def ask(
        self,
        query: str = "",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        path: str = "/",
        **fields: str,
    ) -> tuple[int, Message, bytes]:
        """A raw request: GET, or POST if there is a body."""
        fields = {**({"query": query} if query else {}), **fields}
        request = urllib.request.Request(  # noqa: S310  # our own server
            f"{self.url}{path}?{urlencode(fields)}", body, headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()


@contextmanager
def serving(folder: Path, *flags: str, password: str = "") -> Iterator[Served]:
    """A server on a folder, in another time zone than the data's, stopped at the end if need be."""
    command = [sys.executable, "-m", "sink.serve", str(folder), "--port", "0", *flags]
    environment = {**ELSEWHERE, "CLICKHOUSE_PASSWORD": password}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Served(process, process.stdout.readline().strip())
        finally:
            process.kill()


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own; the folder is its first word."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, env=ELSEWHERE, capture_output=True, text=True, timeout=60, check=False)
