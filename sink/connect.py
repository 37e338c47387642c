"""From the address of a database to its store: a folder, or a ClickHouse server over HTTP.

Place in the flow: what a command or a worker calls once. What goes wrong here is mostly the address, so every error
is one line that names the place, and never holds the password.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from clickhouse_connect.driver.httputil import check_env_proxy, get_pool_manager

from schemas.errors import ConfigurationError, Unavailable, reason_of
from sink.embedded import MARKER, SESSION_SETTINGS, open_embedded
from sink.schema import migrate
from sink.store import Store

CONNECT_WITHIN_S = 5
FORM = "http[s]://[user[:password]@]host:port/database"

# By a name that analysts rely on: an analyst may be given the right to see no other.
_IS_OURS = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'seller_daily'"
_UNKNOWN_DATABASE, _ACCESS_DENIED = 81, 497
_WRONG_USER = frozenset((192, 193, 194, 516))
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True)
class Login:
    """Who we are to a server, beside what its address says; `tls` None: whom this machine trusts.

    The certificate that `tls` shows is named again by its file: without a password it is what the server knows us by.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    certificate_file: str | None = None


def connect(url: str, *, create: bool = True, login: Login = Login()) -> Store:
    """The store at this address, its tables as this version needs them. Blocks for some seconds at most.

    Unless `create`, for commands that only read: nothing is created or changed, and no database is an error. Raises
    ConfigurationError for an address that is wrong or holds something else, Unavailable for no answer.
    """
    address = _address(url, login)
    place = url if address is None else str(address)
    client = _embedded(Path(url).expanduser(), create) if address is None else _server(address, create)
    try:
        with _one_line(place):
            _settle(client, place, create)
    except BaseException:
        client.close()
        raise
    return Store(client)


def _settle(client: Client, place: str, create: bool) -> None:
    if create:
        migrate(client, place=place)
    elif not client.command(_IS_OURS):
        raise ConfigurationError(f"{place} is no Sellerpulse database")


def _embedded(path: Path, create: bool) -> Client:
    if not create and not (path / MARKER).is_file():
        raise ConfigurationError(f"{path} {'is no Sellerpulse database' if path.exists() else 'does not exist'}")
    return open_embedded(path)


@dataclass(frozen=True)
class _Address:
    """Where a server is. Its text has no password."""

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    login: Login

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"


def folder_of(url: str, login: Login) -> Path:
    """The folder of an embedded database: this is its path, or the address at which it is served on this machine.

    Raises ConfigurationError for another server.
    """
    address = _address(url, login)
    if address is None:
        return Path(url).expanduser()
    if address.host in _LOOPBACK:
        store = connect(url, create=False, login=login)
        try:
            with _one_line(str(address)):
                folder = Path(str(store.client.command("SELECT path FROM system.disks WHERE name = 'default'")))
        finally:
            store.close()
        if (folder / MARKER).is_file():
            return folder
    raise ConfigurationError(f"{address} is no folder of this machine: a server has its own BACKUP")


def is_server(url: str) -> bool:
    """Whether this is the address of a server, not a folder."""
    return "://" in url


def _address(url: str, login: Login) -> _Address | None:
    """The parts of a server's address, with what is said beside it; None for a folder."""
    if not is_server(url):
        return None
    with suppress(ValueError):  # its words would show what stands where a port should, perhaps of a password
        parts = urlsplit(url)
        database = unquote(parts.path.strip("/"))
        plain = not (parts.query or parts.fragment or "/" in database)
        if parts.scheme in ("http", "https") and parts.hostname and database and plain:
            return _Address(
                parts.scheme, parts.hostname, parts.port or (8443 if parts.scheme == "https" else 8123),
                login.user or unquote(parts.username or "default"),
                login.password or unquote(parts.password or ""), database, login,
            )  # fmt: skip
    raise ConfigurationError(
        f"the database's address is not of the form {FORM} (percent-encode what is special in a password)"
    )


def _server(address: _Address, create: bool) -> Client:
    with _one_line(str(address)):
        try:
            return _client(address, address.database)
        except Error as failed:
            if failed.code != _UNKNOWN_DATABASE or not create:
                raise
            outside = _client(address, None)
        try:
            outside.command(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(address.database)}")
        finally:
            outside.close()
        return _client(address, address.database)


def _client(address: _Address, database: str | None) -> Client:
    options: dict[str, Any] = {}
    loopback, tls = address.host in _LOOPBACK, address.login.tls
    if loopback or tls:
        # To this machine not by the proxy that the environment may name.
        proxy = None if loopback else check_env_proxy("https", address.host, address.port)
        options["pool_mgr"] = get_pool_manager(https_proxy=proxy, ssl_context=tls)
    if address.login.certificate_file:
        options["client_cert"] = address.login.certificate_file
        options["tls_mode"] = "strict" if address.password else "mutual"
    client = clickhouse_connect.get_client(
        interface=address.scheme, host=address.host, port=address.port, username=address.user,
        password=address.password, database=database, connect_timeout=CONNECT_WITHIN_S,
        autogenerate_session_id=False,  # nothing is kept between statements
        **options,
    )  # fmt: skip
    offered = client.server_settings
    if "session_timezone" in offered and not offered["session_timezone"].readonly:
        client.set_client_setting("session_timezone", SESSION_SETTINGS["session_timezone"])
    return client


@contextmanager
def _one_line(place: str) -> Iterator[None]:
    """The driver's exceptions while connecting, as ours."""
    try:
        yield
    except ClickHouseError as failed:
        code = getattr(failed, "code", None)
        if code in _WRONG_USER:
            raise ConfigurationError(f"{place}: wrong user or password") from failed
        if code == _UNKNOWN_DATABASE:
            raise ConfigurationError(f"{place} is no Sellerpulse database") from failed
        if code == _ACCESS_DENIED:
            raise ConfigurationError(f"{place}: {message_of(failed)}") from failed
        raise Unavailable(f"{place} cannot be used: {reason_of(failed) or message_of(failed)}") from failed


def message_of(failed: BaseException) -> str:
    """What the engine said, on one line, without the driver's words before it and the version after it."""
    text = " ".join(str(failed).split()).rpartition("DB::Exception: ")[2]
    for behind in (" (version ", " (for url ", ", server response: ", " Expected one of: "):
        text = text.partition(behind)[0]
    return text[:1000]
