"""What tests of secure connections share: certificates, a broker that asks for them or for a password, a database
and a registry behind TLS. Every secret among them is planted: it must not be seen anywhere.
"""

import asyncio
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from tests.integration.broker import Broker
from tests.integration.program import Database, Loopback, Silent

USER = "pulse"
SECRETS = {name: f"planted;{name} #=%{{" for name in ("password", "key", "database", "registry")}
MECHANISMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}


class Certificates:
    """A CA of our own with a broker's and a client's certificate, another one that signed nothing; all for 127.0.0.1.

    Beside them in `folder` lies each secret, with a newline behind it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._ca = folder, trustme.CA()
        self._ca.cert_pem.write_to_path(self["ca.pem"])
        trustme.CA().cert_pem.write_to_path(self["other-ca.pem"])
        self._issue("server", None)
        self._issue("client", SECRETS["key"])
        for name, secret in SECRETS.items():
            Path(self[name]).write_text(f"{secret}\n")

    def __getitem__(self, name: str) -> str:
        """The path of a file."""
        return str(self.folder / name)

    def _issue(self, name: str, password: str | None) -> None:
        issued = self._ca.issue_cert("127.0.0.1", common_name=name)
        closed = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed
        )
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        Path(self[f"{name}.crt"]).write_bytes(chain)
        Path(self[f"{name}.key"]).write_bytes(key)
        Path(self[f"{name}.pem"]).write_bytes(key + chain)  # as Kafka wants it

    def served(self, *, mutual: bool) -> ssl.SSLContext:
        """A server's side of TLS; if `mutual`, to clients with a certificate of our CA alone."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self["ca.pem"])
        context.load_cert_chain(self["server.pem"])
        context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
        return context


# --- Kafka ---------------------------------------------------------------------------------------------------


def secure_broker(folder: Path, files: Certificates) -> Broker:
    """A broker with SASL_SSL for `USER`, by PLAIN and SCRAM, and SSL for who has a certificate. Not started."""
    login = "org.apache.kafka.common.security"
    at = "listener.name.sasl_ssl"
    plain = f'{login}.plain.PlainLoginModule required user_{USER}="{SECRETS["password"]}"'
    return Broker(
        folder,
        listeners=["SASL_SSL", "SSL"],
        properties=[
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={files['server.pem']}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={files['ca.pem']}",
            "listener.name.ssl.ssl.client.auth=required",
            f"{at}.sasl.enabled.mechanisms=PLAIN,{','.join(MECHANISMS)}",
            f"{at}.plain.sasl.jaas.config={plain};",
            *(f"{at}.{name.lower()}.sasl.jaas.config={login}.scram.ScramLoginModule required;" for name in MECHANISMS),
        ],
    )


def let_in(broker: Broker, user: str, password: str) -> None:
    """The user may come in by SCRAM."""
    _alter(
        broker,
        *(
            UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            for mechanism in MECHANISMS.values()
        ),
    )


def shut_out(broker: Broker, user: str) -> None:
    """The user may not any more; who is in already stays."""
    _alter(broker, *(UserScramCredentialDeletion(user, mechanism) for mechanism in MECHANISMS.values()))


def _alter(broker: Broker, *changes: Any) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for change in changes:  # one a request: a user may be there once in each
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(30)


# --- the database and the registry ---------------------------------------------------------------------------


@contextmanager
def tls_front(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port on which TLS is spoken; what comes that way goes to the other port in plain text, and back."""
    running, told = threading.Event(), asyncio.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))

    async def serve() -> None:
        server = await asyncio.start_server(join, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        running.set()
        await told.wait()
        server.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert running.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(told.set)
        thread.join()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class RegistryServer(Loopback):
    """The part of a Schema Registry that a connector and a worker ask, by TLS and to `USER` alone."""

    def __init__(self, context: ssl.SSLContext) -> None:
        schemas: list[str] = []
        user = b64encode(f"{USER}:{SECRETS['registry']}".encode()).decode()

        class Handler(Silent, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = int(self.path.partition("?")[0].rpartition("/")[2])
                self._answer({"schema": schemas[number - 1], "schemaType": "AVRO"})

            def do_POST(self) -> None:
                schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
                if schema not in schemas:
                    schemas.append(schema)
                self._answer({"id": schemas.index(schema) + 1, "schema": schema, "version": 1})

            def _answer(self, found: dict[str, Any]) -> None:
                known = self.headers["Authorization"] == f"Basic {user}"
                text = json.dumps(found if known else {"error_code": 401, "message": "who are you?"}).encode()
                self.send_response(200 if known else 401)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        super().__init__(Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Secured:
    """Everything, up; and the settings by which a user gets in, named as in KAFKA__USERNAME."""

    files: Certificates
    broker: Broker
    database: Database
    front: int
    registry: str

    def sasl(self, mechanism: str) -> dict[str, str]:
        """To Kafka with a password."""
        return {
            "KAFKA__BOOTSTRAP": self.broker.listeners["SASL_SSL"],
            "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA__SASL_MECHANISM": mechanism,
            "KAFKA__USERNAME": USER,
            "KAFKA__PASSWORD_FILE": self.files["password"],
            "KAFKA__CA_FILE": self.files["ca.pem"],
        }

    def mutual(self) -> dict[str, str]:
        """To Kafka with a certificate."""
        return {
            "KAFKA__BOOTSTRAP": self.broker.listeners["SSL"],
            "KAFKA__SECURITY_PROTOCOL": "SSL",
            "KAFKA__CA_FILE": self.files["ca.pem"],
            "KAFKA__CERTIFICATE_FILE": self.files["client.crt"],
            "KAFKA__KEY_FILE": self.files["client.key"],
            "KAFKA__KEY_PASSWORD": SECRETS["key"],
        }

    def rest(self, database: str) -> dict[str, str]:
        """To a database with both, and to the registry with a password."""
        return {
            "CLICKHOUSE__URL": f"https://127.0.0.1:{self.front}/{database}",
            "CLICKHOUSE__USER": "default",
            "CLICKHOUSE__PASSWORD": SECRETS["database"],
            "CLICKHOUSE__CA_FILE": self.files["ca.pem"],
            "CLICKHOUSE__CERTIFICATE_FILE": self.files["client.crt"],
            "CLICKHOUSE__KEY_FILE": self.files["client.key"],
            "CLICKHOUSE__KEY_PASSWORD_FILE": self.files["key"],
            "KAFKA__SCHEMA_REGISTRY_URL": self.registry,
            "KAFKA__REGISTRY__USER": USER,
            "KAFKA__REGISTRY__PASSWORD_FILE": self.files["registry"],
            "KAFKA__REGISTRY__CA_FILE": self.files["ca.pem"],
        }
