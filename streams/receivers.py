"""Receivers: who is told of alerts, and how one message is brought to each.

Place in the flow: its end. A receiver is told once, and says whether it has it: what is tried again, and when, is the
outbox's business. Addresses and what servers answer may hold secrets: of both only hosts and numbers are ever shown.
"""

import asyncio
import hmac
import logging
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote

import aiohttp
import orjson

log = logging.getLogger(__name__)

Change = Mapping[str, Any]  # as `alerts.as_json` makes it, with `id` and `changed_at`

SIGNATURE = "Sellerpulse-Signature"
AFTER_MOST_S = 900.0  # a Retry-After of more is taken for this: as long as the outbox itself waits at most
FIRES_ON_S = 600  # an Alertmanager that hears no more of an alert takes it for resolved after this
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class Message(NamedTuple):
    """What a receiver is told: changes of alerts, in `json` as `alerts`, or anything else, a digest for one.

    `id`, of letters, digits, dots and hyphens, is the same whenever the message is told again.
    """

    id: str
    subject: str
    text: str
    json: Mapping[str, Any]


class Untold(Exception):
    """A receiver does not have the message; whether that `may_pass`, and if it said so, after how many seconds."""

    def __init__(self, why: str, *, may_pass: bool, after_s: float = 0) -> None:
        super().__init__(why)
        self.may_pass, self.after_s = may_pass, after_s


class Receiver(Protocol):
    """Somebody who is told of changes, one message after the other.

    `by_account`: a message is about one account. `resends`: what fires is told again and again.
    """

    name: str
    by_account: bool
    resends: bool

    async def tell(self, message: Message) -> None:
        """Returns when the receiver has it; raises Untold."""

    async def close(self) -> None:
        """Let go of connections."""


def about(changes: Sequence[Change]) -> Message:
    """Changes, of one account where it matters, in one message."""
    first, firing = changes[0], [change for change in changes if change["state"] == "firing"]
    told = [f"{len(firing)} alert{'s' * (len(firing) != 1)} firing"] if firing else []
    if len(changes) > len(firing):
        told.append(f"{len(changes) - len(firing)} resolved")
    what = f"{first['rule']} {first['state']}" if len(changes) == 1 else ", ".join(told)
    worst = max((change["severity"] for change in firing), key=list(_LEVELS).index, default="resolved")
    subject = f"[{worst}] {first['seller_id']} on {first['marketplace_id']}: {what}"
    of_all = blake2b("\n".join(change["id"] for change in changes).encode(), digest_size=16).hexdigest()
    account = {"seller_id": first["seller_id"], "marketplace_id": first["marketplace_id"]}
    text = "\n".join(change["text"] for change in changes)
    return Message(of_all, subject, text, {"id": of_all, **account, "alerts": list(changes)})


def one_line(text: str) -> str:
    """The text as a header or a log may hold it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class LogReceiver:
    """One line in the log for each change: JSON, without the orders behind."""

    name, by_account, resends = "log", True, False

    async def tell(self, message: Message) -> None:
        """Log each change at the level of its severity while it fires; of another message the JSON."""
        if "alerts" not in message.json:
            log.info("message %s", orjson.dumps(dict(message.json)).decode())
        for change in message.json.get("alerts", ()):
            told = {key: value for key, value in change.items() if key != "order_ids"}
            level = _LEVELS.get(change["severity"], logging.WARNING) if change["state"] == "firing" else logging.INFO
            log.log(level, "alert %s", orjson.dumps(told).decode())

    async def close(self) -> None:
        """Nothing to let go of."""


# --- by HTTP -------------------------------------------------------------------------------------------------


class _Posting:
    """POSTs JSON to one address. Told is who answers 2xx; 5xx, 408, 429 and no answer may pass, all else does not."""

    name: str
    resends = False
    by_account = True

    def __init__(
        self,
        url: str,
        timeout_s: float = 10,
        *,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        said = b64encode(":".join(login).encode()).decode() if login else ""
        self._who, self._tls = {"Authorization": f"Basic {said}"} if login else {}, tls
        self._session: aiohttp.ClientSession | None = None

    async def _post(self, body: bytes, **headers: str) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers |= {"Content-Type": "application/json"} | self._who
        try:
            # A redirected POST would arrive as a GET without its body.
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, ssl=self._tls or True
            ) as answer:
                if not 200 <= answer.status < 300:
                    may_pass = answer.status >= 500 or answer.status in (408, 429)
                    after_s = _seconds(answer.headers.get("Retry-After", ""))
                    raise Untold(f"HTTP {answer.status}", may_pass=may_pass, after_s=after_s)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failed:  # their words may hold the address
            raise Untold(type(failed).__name__, may_pass=True) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _seconds(retry_after: str) -> float:
    """How long a server wishes to be left alone, within what is bearable: it may say anything."""
    return min(float(retry_after), AFTER_MOST_S) if retry_after.isdecimal() else 0.0


class WebhookReceiver(_Posting):
    """The message's JSON, signed if there is a secret: `t=EPOCH SECONDS,v1=HEX` in the header `SIGNATURE`."""

    name = "webhook"

    def __init__(self, url: str, timeout_s: float = 10, *, secret: str | None = None) -> None:
        super().__init__(url, timeout_s)
        self._secret = secret

    async def tell(self, message: Message) -> None:
        """Post it."""
        body = orjson.dumps(dict(message.json))
        headers = {} if self._secret is None else {SIGNATURE: signature(self._secret, int(time.time()), body)}
        await self._post(body, **headers)


def signature(secret: str, time_s: int, body: bytes) -> str:
    """HMAC-SHA256 of the time, a dot and the body: an old message sent anew cannot be given a new time.

    >>> signature("secret", 1700000000, b"{}")
    't=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163'
    """
    return f"t={time_s},v1={hmac.new(secret.encode(), b'%d.%b' % (time_s, body), 'sha256').hexdigest()}"


class SlackReceiver(_Posting):
    """The message's text, to an incoming webhook of Slack's or of what speaks like it."""

    name = "slack"

    async def tell(self, message: Message) -> None:
        """Post it."""
        text = f"{one_line(message.subject)}\n{message.text}"
        for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):  # else ids could link and mention
            text = text.replace(plain, escaped)
        await self._post(orjson.dumps({"text": text}))


class AlertmanagerReceiver(_Posting):
    """Alerts to an Alertmanager's API v2, which groups and routes them itself.

    What fires is told again before `FIRES_ON_S` are over, as it expects; what is resolved is told with its end.
    """

    name = "alertmanager"
    by_account, resends = False, True

    def __init__(
        self, url: str, timeout_s: float = 10, *, generator_url: str | None = None,
        login: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{url.rstrip('/')}/api/v2/alerts", timeout_s, login=login, tls=tls)
        self._generator_url = generator_url

    async def tell(self, message: Message) -> None:
        """Post the alerts, each in the last state that the message has; nothing else is an alert."""
        latest = {change["alert_id"]: change for change in message.json.get("alerts", ())}
        if latest:
            await self._post(orjson.dumps([self._alert(change) for change in latest.values()]))

    def _alert(self, change: Change) -> dict[str, Any]:
        labels = ("severity", "seller_id", "marketplace_id", "subject")
        ends = change["changed_at"]
        if change["state"] == "firing":
            ends = (datetime.now(UTC) + timedelta(seconds=FIRES_ON_S)).isoformat()
        alert = {
            "labels": {"alertname": change["rule"]} | {name: change[name] for name in labels},
            "annotations": {
                "summary": change["text"], "alert_id": change["alert_id"], "value": str(change["value"]),
                "threshold": str(change["threshold"]), "orders": " ".join(change["order_ids"]),
            },
            "startsAt": change["since"],
            "endsAt": ends,
        }  # fmt: skip
        if self._generator_url is not None:
            alert["generatorURL"] = self._generator_url.replace("{alert_id}", quote(change["alert_id"], safe=""))
        return alert


# --- by SMTP -------------------------------------------------------------------------------------------------


class MailServer(NamedTuple):
    """A server that takes mail; `port` 0: the usual one. Says of itself only the host."""

    host: str
    port: int = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    login: tuple[str, str] | None = None  # user and password
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"MailServer({self.host!r})"


class EmailReceiver:
    """One mail a message. A server's 5xx does not pass, all else may."""

    name, by_account, resends = "email", True, False

    def __init__(self, server: MailServer, sender: str, to: Sequence[str], timeout_s: float = 30) -> None:
        self._server, self._sender, self._to, self._timeout_s = server, sender, tuple(to), timeout_s

    async def tell(self, message: Message) -> None:
        """Hand it to the server; some of several addresses may be refused, which is logged."""
        import aiosmtplib

        server = self._server
        user, password = server.login or (None, None)
        try:
            async with asyncio.timeout(self._timeout_s):
                refused, _ = await aiosmtplib.send(
                    self._mail(message), recipients=self._to, hostname=server.host, port=server.port or None,
                    username=user, password=password, use_tls=server.security == "tls",
                    start_tls=server.security == "starttls", tls_context=server.tls, timeout=self._timeout_s,
                )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as failed:
            codes = [each.code for each in failed.recipients]
            raise Untold(f"SMTP {codes[0]} for every address", may_pass=min(codes) < 500) from None
        except aiosmtplib.SMTPResponseException as failed:
            raise Untold(f"SMTP {failed.code}", may_pass=failed.code < 500) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as failed:
            raise Untold(type(failed).__name__, may_pass=True) from None
        if refused:
            log.warning("mail server %s refused %d of %d addresses", server.host, len(refused), len(self._to))

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(SMTP)
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Subject"] = one_line(message.subject)
        mail["Date"], mail["Message-ID"] = formatdate(), f"<{message.id}@sellerpulse>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    async def close(self) -> None:
        """Connections are as long as a mail."""
