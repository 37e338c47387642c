"""Receivers: a webhook against a real server on loopback, and that none holds up another."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streams.receivers import ATTEMPTS, WAITING_MAX, LogReceiver, Receivers, WebhookReceiver

CHANGE = {
    "alert_id": "a1", "rule": "negative_rate", "seller_id": "S", "marketplace_id": "M", "state": "firing",
    "severity": "critical", "value": 0.07, "order_ids": ["o1"], "order_count": 1, "text": "It fires.",
}  # fmt: skip


def served(answers: list[int], use: Callable[[str], Awaitable[None]]) -> list[Any]:
    """Serve the answers one after the other, the last for ever; what was posted while `use` had the address."""
    posted: list[Any] = []

    async def hook(request: web.Request) -> web.Response:
        posted.append((request.content_type, await request.json()))
        return web.Response(status=answers[min(len(posted), len(answers)) - 1])

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/hook", hook)
        async with TestServer(app) as server:
            await use(f"http://me:hunter2@{server.host}:{server.port}/hook?key=hunter2")

    asyncio.run(run())
    return posted


async def post(url: str, timeout_s: float = 5) -> None:
    webhook = WebhookReceiver(url, timeout_s, backoff_s=0.001)
    await webhook.notify(CHANGE)
    await webhook.close()


@pytest.mark.parametrize(
    "answers, posts, told",
    [
        ([204], 1, True),
        ([500, 429, 200], 3, True),
        ([503], ATTEMPTS, False),
        ([400], 1, False),
        ([302], 1, False),  # would arrive without its body
    ],
)
def test_a_webhook_is_told_in_the_end_or_given_up(
    answers: list[int], posts: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    posted = served(answers, post)
    assert posted == [("application/json", CHANGE)] * posts
    assert [record.message for record in caplog.records] == (
        [] if told else [f"webhook at 127.0.0.1 was not told of alert a1: HTTP {answers[-1]}"]
    )


@pytest.mark.parametrize("address", ["127.0.0.1:1/hook", "127.0.0.1:99999999/hook", "no host"])
def test_a_webhook_that_is_not_there_is_one_line_without_its_secrets(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(post(f"http://me:hunter2@{address}?key=hunter2"))
    (record,) = caplog.records
    assert "was not told of alert a1" in record.message
    assert "hunter2" not in caplog.text
    assert "\n" not in record.message


def test_a_webhook_that_does_not_answer_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        given_up = asyncio.Event()

        async def hook(_: web.Request) -> web.Response:
            await given_up.wait()
            return web.Response()

        app = web.Application()
        app.router.add_post("/", hook)
        async with TestServer(app) as server:
            await post(f"http://{server.host}:{server.port}/", timeout_s=0.02)
            given_up.set()

    asyncio.run(run())
    (record,) = caplog.records
    assert record.message == "webhook at 127.0.0.1 was not told of alert a1: TimeoutError"


def test_the_log_gets_one_structured_line_at_the_level_of_the_alert(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asyncio.run(LogReceiver().notify(CHANGE | {"text": "two\nlines"}))
    asyncio.run(LogReceiver().notify(CHANGE | {"state": "resolved"}))
    firing, resolved = caplog.records
    assert (firing.levelname, resolved.levelname) == ("CRITICAL", "INFO")
    word, _, told = firing.message.partition(" ")
    assert word == "alert"
    assert json.loads(told) == {key: value for key, value in CHANGE.items() if key != "order_ids"} | {
        "text": "two\nlines"
    }
    assert "\n" not in firing.message


# --- several -------------------------------------------------------------------------------------------------


class Collecting:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.closed = False

    async def notify(self, change: Mapping[str, Any]) -> None:
        self.told.append(change)

    async def close(self) -> None:
        self.closed = True


class Hanging(Collecting):
    """Never done with what it is told."""

    async def notify(self, change: Mapping[str, Any]) -> None:
        await super().notify(change)
        await asyncio.Event().wait()


class Raising(Collecting):
    """Breaks its promise."""

    async def notify(self, change: Mapping[str, Any]) -> None:
        await super().notify(change)
        raise ZeroDivisionError


def test_one_that_hangs_or_raises_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    good, hanging, raising = Collecting(), Hanging(), Raising()
    changes = [{"alert_id": str(i)} for i in range(3)]

    async def run() -> None:
        receivers = Receivers([hanging, raising, good])
        for change in changes:
            receivers.notify(change)
        await receivers.close(0.05)

    asyncio.run(run())
    assert good.told == raising.told == changes
    assert hanging.told == changes[:1]
    assert all(receiver.closed for receiver in (good, hanging, raising))
    assert "Hanging was not told of 3 changes" in [record.message for record in caplog.records]


def test_one_that_is_too_far_behind_misses_changes(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        receivers = Receivers([Hanging()])
        for i in range(WAITING_MAX + 1):
            receivers.notify({"alert_id": str(i)})
        await receivers.close(0)

    asyncio.run(run())
    assert f"Hanging is {WAITING_MAX} changes behind and misses alert {WAITING_MAX}" in caplog.text


def test_receivers_can_be_closed_unused() -> None:
    good = Collecting()
    asyncio.run(Receivers([good]).close())
    assert good.closed
