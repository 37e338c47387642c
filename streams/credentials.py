"""From the settings of a server to what its client is given: who we are, whom to trust.

Place in the flow: beside it, asked by whoever connects. Files of secrets are read here, each time, and nowhere else;
an error names a file and never shows what is in it.
"""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from schemas.errors import ConfigurationError
from streams.receivertables import Alertmanager, Email, Slack, Webhook
from streams.sections import Access, ClickHouse, Kafka, Web

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

    from sink.analysts import Desk
    from sink.connect import Login
    from sink.store import Store

Files = dict[str, str]  # by the names that librdkafka and the registry's client share; a key's password among them


def open_store(clickhouse: ClickHouse, *, create: bool = True) -> "Store":
    """The store that the settings name. Blocks and raises as `sink.connect.connect`."""
    from sink.connect import connect

    return connect(clickhouse.url, create=create, login=login_of(clickhouse))


def open_to_read(clickhouse: ClickHouse) -> "Store":
    """The same for a command that only queries: of a folder that is held, by way of its holder if that serves analysts.

    Blocks and raises as `sink.connect.connect`.
    """
    from sink.connect import Login, connect
    from sink.embedded import InUse, served_at

    try:
        return open_store(clickhouse, create=False)
    except InUse:
        if (url := served_at(Path(clickhouse.url).expanduser())) is None:
            raise
    return connect(url, create=False, login=Login("analyst", _analysts_password(clickhouse)))


def desk_of(clickhouse: ClickHouse) -> "Desk | None":
    """Where analysts are served from a folder, and within which limits; None: not, or by a server.

    Raises ConfigurationError.
    """
    from sink.connect import is_server

    http = clickhouse.http
    if is_server(clickhouse.url) or not http.enabled:
        return None
    from sink.analysts import Desk, Limits  # the engine comes with it

    limits = Limits(http.max_execution_s, http.max_result_rows, http.max_memory_mb)
    return Desk(http.host, http.port, _analysts_password(clickhouse), limits)


def _analysts_password(clickhouse: ClickHouse) -> str | None:
    return _secret(clickhouse.http.password, clickhouse.http.password_file, "clickhouse.http.password_file")


def login_of(clickhouse: ClickHouse) -> "Login":
    """What is said to a server beside its address. Raises ConfigurationError."""
    from sink.connect import Login, is_server

    if not is_server(clickhouse.url):
        return Login()
    return Login(
        clickhouse.user,
        _password(clickhouse, "clickhouse"),
        _context(_files(clickhouse, "clickhouse"), "clickhouse") if clickhouse.has_tls else None,
        clickhouse.certificate_file,
    )


def librdkafka(kafka: Kafka) -> dict[str, Any]:
    """What each of confluent-kafka's clients needs to connect. Raises ConfigurationError."""
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism is not None:
        config["sasl.mechanism"] = kafka.sasl_mechanism
        config |= {"sasl.username": kafka.username, "sasl.password": _password(kafka, "kafka")}
    if kafka.has_tls:
        files = _files(kafka, "kafka")
        _context(files, "kafka")  # tells what is wrong with a file in better words than librdkafka
        config |= files
    return config


def faust_credentials(kafka: Kafka) -> "CredentialsT | None":
    """The same for Faust's consumer and producer; None: plain text, and nobody asks. Raises ConfigurationError."""
    import faust

    context = _context(_files(kafka, "kafka"), "kafka") if kafka.speaks_tls else None
    if kafka.sasl_mechanism is not None:
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism, username=kafka.username, password=_password(kafka, "kafka"),
            ssl_context=context,
        )  # fmt: skip
    return None if context is None else faust.SSLCredentials(context)


def registry_client(kafka: Kafka) -> dict[str, Any]:
    """What the Schema Registry's client needs to connect. Raises ConfigurationError."""
    registry, section = kafka.registry, "kafka.registry"
    config: dict[str, Any] = {"url": kafka.schema_registry_url}
    if registry.user is not None:
        config["basic.auth.user.info"] = f"{registry.user}:{_password(registry, section)}"
    if registry.has_tls:
        files = _files(registry, section)
        _context(files, section)
        config |= files
    return config


def signing_secret(webhook: Webhook) -> str | None:
    """What messages are signed with. Raises ConfigurationError."""
    return _secret(webhook.secret, webhook.secret_file, "receivers.webhook.secret_file")


def slack_address(slack: Slack) -> str:
    """Where messages go. Raises ConfigurationError."""
    found = slack.url or _secret(None, slack.url_file, "receivers.slack.url_file") or ""
    if not found.startswith(("http://", "https://")):
        raise ConfigurationError(f"receivers.slack.url_file: {slack.url_file} holds no address, http[s]://...")
    return found


def receiver_login(
    receiver: Email | Alertmanager, section: str
) -> tuple[tuple[str, str] | None, ssl.SSLContext | None]:
    """User and password, and TLS, as far as they are said. Raises ConfigurationError."""
    password = _password(receiver, section)
    login = None if receiver.user is None or password is None else (receiver.user, password)
    return login, _context(_files(receiver, section), section) if receiver.has_tls else None


def page_token(web: Web) -> str | None:
    """What who changes anything by the page must show; None: nobody may. Raises ConfigurationError."""
    return _secret(web.token, web.token_file, "web.token_file")


def _password(access: Access, section: str) -> str | None:
    return _secret(access.password, access.password_file, f"{section}.password_file")


def _secret(said: SecretStr | None, file: str | None, key: str) -> str | None:
    if file is None:
        return None if said is None else said.get_secret_value()
    try:
        secret = _read(file, key).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{key}: {file} is not UTF-8") from None
    if not secret:
        raise ConfigurationError(f"{key}: {file} is empty")
    return secret


def _read(file: str, key: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as failed:
        raise ConfigurationError(f"{key}: {file} cannot be read: {failed.strerror}") from failed


def _files(access: Access, section: str) -> Files:
    """What is said of TLS, once every file could be read."""
    names = {"ca_file": access.ca_file, "certificate_file": access.certificate_file, "key_file": access.key_file}
    for key, file in names.items():
        if file is not None:
            _read(file, f"{section}.{key}")
    found = {
        f"ssl.{key.removesuffix('_file')}.location": str(Path(file).expanduser())
        for key, file in names.items()
        if file is not None
    }
    password = _secret(access.key_password, access.key_password_file, f"{section}.key_password_file")
    return found if password is None else found | {"ssl.key.password": password}


def _context(files: Files, section: str) -> ssl.SSLContext:
    """TLS that verifies the server's certificate and host name, and shows our certificate if there is one."""
    ca, certificate, key = (files.get(f"ssl.{name}.location") for name in ("ca", "certificate", "key"))
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as wrong:
        raise ConfigurationError(f"{section}.ca_file: {ca} holds no certificate in PEM") from wrong
    if certificate is not None:
        try:  # by a function: else OpenSSL would ask the terminal for a password that is missing
            context.load_cert_chain(certificate, key, lambda: files.get("ssl.key.password", ""))
        except (ssl.SSLError, ValueError) as wrong:
            raise ConfigurationError(
                f"{section}.key_file: {key} is not the key of {certificate}, or its password is missing or wrong"
            ) from wrong
    return context
