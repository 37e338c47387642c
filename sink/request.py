"""What a request's headers and URL fields say: who asks, from where, and on what terms.

Place in the flow: `front` asks here before it reads a body. Pure: judges, reads nothing and answers nobody.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message

from sink.gate import Gate
from sink.statement import Refused, Session, Terms

USER = "default"

# What belongs to the transport, to a server of many users, or (log_comment) to the lanes; all else is a setting.
_TRANSPORT = frozenset(
    (
        *("query", "database", "default_format", "user", "password", "quota_key", "query_id", "role"),
        *("session_id", "session_timeout", "session_check", "close_session"),
        *("compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace"),
        *("enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers"),
        *("http_headers_progress_interval_ms", "log_comment", "cancel_http_readonly_queries_on_client_close"),
    )
)
_SESSION_S = 60
_SESSION_MAX_S = 3600


@dataclass(frozen=True)
class Entry:
    """Who may come in, and what they may send; with a `gate` they are analysts, who only read."""

    user: str = USER
    password: str | None = field(default=None, repr=False)  # None: whoever can connect, by whatever name
    body_limit: int = 512 << 20  # bytes
    idle_s: float = 600  # after which a silent connection is closed
    connections: int | None = None  # at most
    gate: Gate | None = None


class NotServed(Refused):
    """A request refused for what HTTP says of it, by a status of its own."""

    def __init__(self, status: int, code: int, name: str, message: str) -> None:
        super().__init__(code, f"Code: {code}. DB::Exception: {message}. ({name})")
        self.status = status


def check_origin(headers: Message, bound_to: str) -> None:
    """Refuse what a browser was made to send: a page may not reach through its reader to this database.

    That is: what comes from another origin and, on loopback, what asks for a name that merely resolves to it. Images
    and links tell no origin, only that it is another; and what merely reads may send on what it reads, by `url()`.
    """
    host = headers.get("Host", "localhost")
    name = host.rpartition(":")[0] if host.rstrip("0123456789").endswith(":") else host
    at_home = is_loopback(name.strip("[]")) or not is_loopback(bound_to)
    origin = headers.get("Origin")
    is_foreign = headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")  # none: a person typed it
    if not at_home or is_foreign or (origin is not None and origin.rpartition("/")[2] != host):
        raise NotServed(403, 497, "ACCESS_DENIED", "Not for web pages of another origin")


def authenticate(headers: Message, fields: Mapping[str, str], entry: Entry) -> None:
    """Refuse a request without the wanted password, if one is; compares in constant time."""
    if (wanted := entry.password) is None:
        return
    user, password = _credentials(headers, fields)
    right_user = hmac.compare_digest(_bytes(user), entry.user.encode())
    right_password = hmac.compare_digest(_bytes(password or ""), wanted.encode())
    if password is None:
        raise NotServed(401, 194, "REQUIRED_PASSWORD", f"{entry.user}: Authentication failed: no password given")
    if not (right_user and right_password):
        message = f"{user}: Authentication failed: password is incorrect, or there is no such user"
        raise NotServed(403, 516, "AUTHENTICATION_FAILED", message)


def _credentials(headers: Message, fields: Mapping[str, str]) -> tuple[str, str | None]:
    if "X-ClickHouse-Key" in headers or "X-ClickHouse-User" in headers:
        return headers.get("X-ClickHouse-User", USER), headers.get("X-ClickHouse-Key")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error, ValueError):
            user, _, password = base64.b64decode(encoded).decode().partition(":")
            return user, password
    return fields.get("user", USER), fields.get("password")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "replace")


def terms(headers: Message, fields: Mapping[str, str]) -> Terms:
    """Everything besides the statement, as the lanes take it."""
    session = None
    if name := fields.get("session_id"):
        seconds = fields.get("session_timeout", "")
        timeout_s = min(int(seconds[:9]), _SESSION_MAX_S) if seconds.isascii() and seconds.isdigit() else _SESSION_S
        session = Session(name, timeout_s, must_exist=is_true(fields.get("session_check")))
    parameters = {name: value for name, value in fields.items() if name.startswith("param_")}
    return Terms(
        settings={n: value for n, value in fields.items() if n not in _TRANSPORT and n not in parameters},
        params={name.removeprefix("param_"): value for name, value in parameters.items()},
        database=fields.get("database") or headers.get("X-ClickHouse-Database"),
        format=fields.get("default_format") or headers.get("X-ClickHouse-Format"),
        whole=is_true(fields.get("wait_end_of_query")),
        session=session,
    )


def is_true(value: str | None) -> bool:
    """Whether a URL field switches something on."""
    return (value or "").lower() in ("1", "true")


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own, to be reached from nowhere else."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
