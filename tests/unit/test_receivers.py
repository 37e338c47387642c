"""Receivers against real servers on loopback: HTTP, SMTP with and without TLS; what each is told, and what it says."""

import asyncio
import json
import logging
import ssl
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from streams.app import receivers
from streams.receivers import (
    FIRES_ON_S,
    SIGNATURE,
    AlertmanagerReceiver,
    EmailReceiver,
    LogReceiver,
    MailServer,
    Message,
    Receiver,
    SlackReceiver,
    Untold,
    WebhookReceiver,
    about,
    signature,
)
from streams.settings import load_settings

SECRET = "hunter" + "2"
CHANGE = {
    "id": "a1-firing-5", "alert_id": "a1", "rule": "negative_rate", "seller_id": "S", "marketplace_id": "M",
    "subject": "negative_rate_90d", "state": "firing", "severity": "critical", "value": 0.07, "threshold": 0.05,
    "since": "2025-06-30T00:00:00Z", "resolved_at": None, "order_ids": ["o1", "o2"], "order_count": 2,
    "text": "It fires: 7 % <!channel> & more.", "changed_at": "2025-06-30T10:00:00.000Z",
}  # fmt: skip
ENDED = CHANGE | {
    "id": "a1-resolved-6", "state": "resolved", "resolved_at": "2025-07-01T00:00:00Z", "text": "It is over.",
    "changed_at": "2025-07-01T10:00:00.000Z",
}  # fmt: skip
DIGEST = Message("digest-S-2025-06-30", "Your week", "Standing: good\nOpen cases: 2", {"open_cases": 2})


def told(receiver: Receiver, *messages: Message) -> list[Untold | None]:
    """What each telling raised."""

    async def run() -> list[Untold | None]:
        raised: list[Untold | None] = []
        for message in messages:
            try:
                await receiver.tell(message)
                raised.append(None)
            except Untold as failed:
                raised.append(failed)
        await receiver.close()
        return raised

    return asyncio.run(run())


# --- HTTP ----------------------------------------------------------------------------------------------------


class Posted:
    """A request as it came."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.path, self.headers, self.body, self.type = request.path, request.headers, body, request.content_type

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def served(answers: list[web.Response], use: Callable[[str], Awaitable[None]]) -> list[Posted]:
    """Serve the answers one after the other; what was posted while `use` had the address."""
    posted: list[Posted] = []

    async def hook(request: web.Request) -> web.Response:
        posted.append(Posted(request, await request.read()))
        return answers[len(posted) - 1]

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", hook)
        async with TestServer(app) as server:
            await use(f"http://{server.host}:{server.port}")

    asyncio.run(run())
    return posted


def posted_by(make: Callable[[str], Receiver], message: Message) -> Posted:
    """The one request by which a receiver was told."""

    async def use(url: str) -> None:
        receiver = make(url)
        await receiver.tell(message)
        await receiver.close()

    (posted,) = served([web.Response()], use)
    assert posted.type == "application/json"
    return posted


HTTP: list[Callable[[str], Receiver]] = [
    lambda url: WebhookReceiver(f"{url}/hook?key={SECRET}", 5),
    lambda url: SlackReceiver(f"{url}/services/{SECRET}", 5),
    lambda url: AlertmanagerReceiver(url, 5),
]


@pytest.mark.parametrize("make", HTTP)
@pytest.mark.parametrize(
    "status, may_pass", [(500, True), (503, True), (429, True), (408, True), (400, False), (404, False), (302, False)]
)
def test_whether_a_refusal_may_pass_is_told_by_its_status(
    make: Callable[[str], Receiver], status: int, may_pass: bool
) -> None:
    answer = web.Response(status=status, text=SECRET, headers={"Retry-After": "7"})

    async def use(url: str) -> None:
        receiver = make(url)
        with pytest.raises(Untold) as raised:
            await receiver.tell(about([CHANGE]))
        await receiver.close()
        assert (str(raised.value), raised.value.may_pass, raised.value.after_s) == (f"HTTP {status}", may_pass, 7)

    assert len(served([answer], use)) == 1


@pytest.mark.parametrize("wish, after_s", [("900", 900), ("86400", 900), ("9" * 400, 900), ("tomorrow", 0)])
def test_a_server_that_wishes_to_be_left_alone_for_ever_is_asked_again(wish: str, after_s: float) -> None:
    async def use(url: str) -> None:
        receiver = WebhookReceiver(url, 5)
        with pytest.raises(Untold) as raised:
            await receiver.tell(about([CHANGE]))
        await receiver.close()
        assert raised.value.after_s == after_s

    served([web.Response(status=503, headers={"Retry-After": wish})], use)


@pytest.mark.parametrize("make", HTTP)
@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1:99999999", "no host"])
def test_who_is_not_there_may_come_back_and_no_secret_is_said(make: Callable[[str], Receiver], host: str) -> None:
    (failed,) = told(make(f"http://me:{SECRET}@{host}"), about([CHANGE]))
    assert failed is not None
    assert failed.may_pass
    assert SECRET not in f"{failed} {failed!r} {failed.__cause__!r}"


def test_who_does_not_answer_is_left_after_the_time_out() -> None:
    async def run() -> None:
        given_up = asyncio.Event()

        async def hook(_: web.Request) -> web.Response:
            await given_up.wait()
            return web.Response()

        app = web.Application()
        app.router.add_post("/", hook)
        async with TestServer(app) as server:
            receiver = WebhookReceiver(f"http://{server.host}:{server.port}/", 0.02)
            with pytest.raises(Untold, match="TimeoutError"):
                await receiver.tell(about([CHANGE]))
            given_up.set()
            await receiver.close()

    asyncio.run(run())


def test_a_webhook_gets_the_changes_of_an_account_in_one_message_with_their_ids() -> None:
    posted = posted_by(lambda url: WebhookReceiver(f"{url}/hook", 5), about([CHANGE, ENDED]))
    assert (posted.path, SIGNATURE in posted.headers) == ("/hook", False)
    assert posted.json["alerts"] == [CHANGE, ENDED]
    assert (posted.json["seller_id"], posted.json["marketplace_id"]) == ("S", "M")
    assert posted.json["id"] == about([CHANGE, ENDED]).id != about([CHANGE]).id


def test_a_webhook_with_a_secret_is_signed_with_the_time() -> None:
    posted = posted_by(lambda url: WebhookReceiver(url, 5, secret=SECRET), DIGEST)
    signed_at = int(posted.headers[SIGNATURE].partition(",")[0].removeprefix("t="))
    assert abs(time.time() - signed_at) < 60
    assert posted.headers[SIGNATURE] == signature(SECRET, signed_at, posted.body)
    assert posted.headers[SIGNATURE] != signature(SECRET, signed_at, posted.body + b" ")
    assert posted.json == DIGEST.json


def test_slack_gets_one_text_in_which_nothing_links_or_mentions() -> None:
    posted = posted_by(SlackReceiver, about([CHANGE, ENDED]))
    assert posted.json == {
        "text": "[critical] S on M: 1 alert firing, 1 resolved\nIt fires: 7 % &lt;!channel&gt; &amp; more.\nIt is over."
    }


def test_an_alertmanager_gets_what_fires_with_an_end_to_come_and_what_is_over_with_its_end() -> None:
    other = ENDED | {"alert_id": "a2", "id": "a2-resolved-6"}
    message = about([CHANGE, other])

    def make(url: str) -> Receiver:
        link = "https://example.org/alerts/{alert_id}"
        return AlertmanagerReceiver(f"{url}/am/", 5, generator_url=link, login=("me", SECRET))

    posted = posted_by(make, message)
    assert posted.path == "/am/api/v2/alerts"
    assert b64decode(posted.headers["Authorization"].removeprefix("Basic ")).decode() == f"me:{SECRET}"
    firing, resolved = posted.json
    assert firing["labels"] == {
        "alertname": "negative_rate", "severity": "critical", "seller_id": "S", "marketplace_id": "M",
        "subject": "negative_rate_90d",
    }  # fmt: skip
    assert firing["annotations"]["summary"] == CHANGE["text"]
    assert firing["generatorURL"] == "https://example.org/alerts/a1"
    assert firing["startsAt"] == resolved["startsAt"] == CHANGE["since"]
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time()))
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + FIRES_ON_S + 60))
    assert now < firing["endsAt"] < soon
    assert resolved["endsAt"] == ENDED["changed_at"]


def test_of_one_alert_an_alertmanager_gets_the_last_state_and_of_a_digest_nothing() -> None:
    posted = posted_by(AlertmanagerReceiver, about([CHANGE, ENDED]))
    assert [alert["endsAt"] for alert in posted.json] == [ENDED["changed_at"]]
    assert told(AlertmanagerReceiver("http://127.0.0.1:1"), DIGEST) == [None]


# --- SMTP ----------------------------------------------------------------------------------------------------


class Mailbox:
    """What a server on loopback was given, and what it answers to whom."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refused: dict[str, str] = {}
        self.answer = "250 OK"
        self.users: list[str] = []

    async def handle_RCPT(  # noqa: N802  # its name there
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            content = cast("bytes", envelope.content)
            self.mails.append(message_from_bytes(content, policy=policy.default))
        return self.answer

    def login(self, _: SMTP, __: Session, ___: Any, ____: str, data: LoginPassword) -> AuthResult:
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == SECRET.encode(), handled=False)


CA = trustme.CA()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def _certificate() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)
    return context


def mailed(
    mailbox: Mailbox, use: Callable[[int], Awaitable[None]], tls: ssl.SSLContext | None = None, **how: Any
) -> None:
    """Serve a mailbox on loopback while `use` has the port; with `tls` from the first byte."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(mailbox, hostname="mail.example.org", loop=loop, **how), "127.0.0.1", 0, ssl=tls
        )
        async with server:
            await use(server.sockets[0].getsockname()[1])
            await asyncio.sleep(0.05)  # the server's side of connections goes too

    asyncio.run(run())


async def _tell(server: MailServer, *messages: Message) -> list[str]:
    """What each telling came to: "", or why not, with ! if that does not pass."""
    receiver = EmailReceiver(server, "pulse@example.org", ["ana@example.org", "bo@example.org"], 10)
    raised = []
    for message in messages:
        try:
            await receiver.tell(message)
            raised.append("")
        except Untold as failed:
            raised.append(f"{failed}{'' if failed.may_pass else '!'}")
    return raised


def test_a_mail_has_the_lines_of_an_account_and_an_id_that_stays(mailbox: Mailbox) -> None:
    message = about([CHANGE, ENDED | {"seller_id": "ä\nBcc: eve@example.org"}])

    async def use(port: int) -> None:
        assert await _tell(MailServer("127.0.0.1", port, "none"), message, message, DIGEST) == ["", "", ""]

    mailed(mailbox, use)
    first, again, digest = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"] == f"<{message.id}@sellerpulse>"
    assert first["Subject"] == message.subject
    assert first["To"] == "ana@example.org, bo@example.org"
    assert first["Bcc"] is None
    assert first.get_content().splitlines() == [CHANGE["text"], ENDED["text"]]
    assert digest["Subject"] == DIGEST.subject
    assert digest.get_content().splitlines() == DIGEST.text.splitlines()


def test_a_mail_goes_by_starttls_with_a_login(mailbox: Mailbox, trusting: ssl.SSLContext) -> None:
    async def use(port: int) -> None:
        good = MailServer("127.0.0.1", port, login=("me", SECRET), tls=trusting)
        assert SECRET not in repr(good)
        assert await _tell(good, about([CHANGE])) == [""]
        assert await _tell(good._replace(login=("me", "wrong")), about([CHANGE])) == ["SMTP 535!"]

    mailed(
        mailbox, use, tls_context=_certificate(), require_starttls=True, auth_required=True, authenticator=mailbox.login
    )
    assert (len(mailbox.mails), {*mailbox.users}) == (1, {"me"})


def test_a_mail_goes_by_tls_and_not_to_whom_nobody_trusts(mailbox: Mailbox, trusting: ssl.SSLContext) -> None:
    async def use(port: int) -> None:
        server = MailServer("127.0.0.1", port, "tls", tls=trusting)
        assert await _tell(server, about([CHANGE])) == [""]
        assert await _tell(server._replace(tls=None), about([CHANGE])) == ["SMTPConnectError"]

    mailed(mailbox, use, _certificate())
    assert len(mailbox.mails) == 1


def test_a_password_is_not_sent_where_nothing_is_encrypted(mailbox: Mailbox) -> None:
    async def use(port: int) -> None:
        assert await _tell(MailServer("127.0.0.1", port, login=("me", SECRET)), about([CHANGE])) == ["SMTPException"]

    mailed(mailbox, use)
    assert (mailbox.mails, mailbox.users) == ([], [])


@pytest.mark.parametrize("answer, said", [("451 later", "SMTP 451"), ("554 no", "SMTP 554!")])
def test_whether_a_server_that_refuses_may_take_it_later_is_told_by_its_code(
    mailbox: Mailbox, answer: str, said: str
) -> None:
    mailbox.answer = answer

    async def use(port: int) -> None:
        assert await _tell(MailServer("127.0.0.1", port, "none"), about([CHANGE])) == [said]

    mailed(mailbox, use)


def test_one_address_of_two_is_enough_and_the_other_is_logged_by_number(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(port: int) -> None:
        server = MailServer("127.0.0.1", port, "none")
        mailbox.refused = {"bo@example.org": "550 who"}
        assert await _tell(server, about([CHANGE])) == [""]
        mailbox.refused |= {"ana@example.org": "450 later"}
        assert await _tell(server, about([CHANGE])) == ["SMTP 450 for every address"]

    mailed(mailbox, use)
    assert [record.message for record in caplog.records if record.name == "streams.receivers"] == [
        "mail server 127.0.0.1 refused 1 of 2 addresses"
    ]


def test_a_mail_server_that_is_not_there_or_says_nothing_may_pass() -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gone.wait()
            writer.close()

        async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
            server = MailServer("127.0.0.1", silent.sockets[0].getsockname()[1], "none")
            receiver = EmailReceiver(server, "a@example.org", ["b@example.org"], 0.1)
            with pytest.raises(Untold, match="Timeout"):
                await receiver.tell(about([CHANGE]))
            gone.set()
            await asyncio.sleep(0.05)
        assert await _tell(MailServer("127.0.0.1", 1, "none"), about([CHANGE])) == ["SMTPConnectError"]

    asyncio.run(run())


# --- the log -------------------------------------------------------------------------------------------------


def test_the_log_gets_one_structured_line_at_the_level_of_the_alert(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told(LogReceiver(), about([CHANGE | {"text": "two\nlines"}, ENDED]), DIGEST)
    firing, resolved, digest = (record for record in caplog.records if record.name == "streams.receivers")
    assert (firing.levelname, resolved.levelname) == ("CRITICAL", "INFO")
    word, _, line = firing.message.partition(" ")
    assert word == "alert"
    shown = {key: value for key, value in CHANGE.items() if key != "order_ids"}
    assert json.loads(line) == shown | {"text": "two\nlines"}
    assert "\n" not in firing.message
    assert digest.message == 'message {"open_cases":2}'


# --- settings ------------------------------------------------------------------------------------------------


def test_receivers_are_made_as_the_settings_say_with_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "slack").write_text(f"https://hooks.slack.com/services/{SECRET}\n")
    file = tmp_path / "sellerpulse.toml"
    file.write_text(f"""
        [receivers.webhook]
        url = "https://example.org/{SECRET}"
        secret_file = "{tmp_path}/secret"
        [receivers.slack]
        url_file = "{tmp_path}/slack"
        [receivers.email]
        host = "mail.example.org"
        user = "me"
        password_file = "{tmp_path}/secret"
        sender = "pulse@example.org"
        to = ["ana@example.org"]
        [receivers.alertmanager]
        url = "http://alertmanager:9093"
    """)
    settings = load_settings(file, {}, {})
    made = receivers(settings)
    assert [receiver.name for receiver in made] == ["log", "webhook", "slack", "email", "alertmanager"]
    assert [receiver.name for receiver in made if receiver.resends] == ["alertmanager"]
    assert SECRET not in f"{made} {settings!r}"
