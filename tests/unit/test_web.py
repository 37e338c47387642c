"""The worker's HTTP server: real requests to it on loopback."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import pytest
from aiohttp import web

from streams.app import create_app
from streams.settings import Settings
from streams.transport import App
from streams.web.probes import probes
from streams.web.server import Server


def served(use: Callable[[str], Awaitable[None]], stuck: Sequence[str] = (), unready: Sequence[str] = ()) -> None:
    """Serve probes of a worker with these reasons, and a page, while `use` has the address."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="a page")

    async def run() -> None:
        routes = probes(lambda: b"a 1\n", lambda: stuck, lambda: unready)
        server = Server([*routes, web.get("/", page)], host="127.0.0.1", port=0)
        await server.start()
        assert server.url is not None
        try:
            await use(server.url)
        finally:
            await server.stop()

    asyncio.run(run())


async def get(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


def test_who_is_well_says_so_beside_metrics_and_whatever_else_is_served() -> None:
    async def use(url: str) -> None:
        plain = "text/plain; charset=utf-8"
        assert await get(f"{url}/healthz") == await get(f"{url}/readyz") == (200, plain, "ok\n")
        assert await get(f"{url}/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "a 1\n")
        assert (await get(url))[2] == "a page"
        assert (await get(f"{url}/stats"))[0] == 404

    served(use)


def test_who_is_not_well_says_why_a_reason_a_line() -> None:
    async def use(url: str) -> None:
        assert (await get(f"{url}/healthz"))[::2] == (200, "ok\n")
        assert (await get(f"{url}/readyz"))[::2] == (503, "no broker\nno store\n")

    served(use, unready=["no broker", "no store"])


def test_a_port_that_is_taken_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server([], host="127.0.0.1", port=taken.getsockname()[1])
            await server.start()
            assert server.url is None
            await server.stop()

    asyncio.run(run())
    (said,) = [record for record in caplog.records if record.name == "streams.web.server"]
    assert said.levelno == logging.ERROR
    assert "the rest goes on: 127.0.0.1 port" in said.message
    assert "address already in use" in said.message
    assert said.exc_info is None


def test_a_port_that_is_taken_gives_way_to_a_spare_one() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = Server([], host="127.0.0.1", port=port, spare=9)
            await server.start()
            assert server.url is not None
            assert port < int(server.url.rpartition(":")[2]) <= port + 9
            await server.stop()

    asyncio.run(run())


def test_a_stopped_server_lets_go_of_its_port_although_somebody_listens() -> None:
    async def forever(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"x")
        await asyncio.sleep(60)
        return answer

    async def run() -> None:
        server = Server([web.get("/", forever)], host="127.0.0.1", port=0)
        await server.start()
        assert server.url is not None
        port = int(server.url.rpartition(":")[2])
        async with aiohttp.ClientSession() as session, session.get(server.url) as answer:
            assert await answer.content.read(1) == b"x"
            async with asyncio.timeout(10):
                await server.stop()
        socket.create_server(("127.0.0.1", port)).close()

    asyncio.run(run())


@pytest.mark.parametrize("live, enabled, served", [(True, True, True), (True, False, False), (False, True, False)])
def test_only_a_live_worker_serves_anything(live: bool, enabled: bool, served: bool) -> None:
    settings = Settings.model_validate({"web": {"enabled": enabled}})
    app = create_app(settings, live=live)
    assert isinstance(app, App)
    assert any(isinstance(one, Server) for one in app.beside) == served


@pytest.mark.parametrize("asked", [True, False])
def test_faust_shows_nothing_whatever_its_own_command_says(asked: bool) -> None:
    app = create_app(Settings())
    app.conf.web_enabled = asked  # as `faust worker` does unless told --without-web
    assert list(app.boot_strategy.web_server()) == []  # type: ignore[attr-defined]  # not of its interface
