"""What machines ask a worker: `/metrics` of Prometheus, `/healthz` and `/readyz` of whoever starts it anew.

Place in the flow: beside it. A probe answers 200 and ok, or 503 and why not, a reason a line. Should the event loop
itself be stuck nothing answers, and the probe times out.
"""

from collections.abc import Callable, Sequence

from aiohttp import web

PATHS = ("/metrics", "/healthz", "/readyz")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"

Reasons = Callable[[], Sequence[str]]


def probes(metrics: Callable[[], bytes], stuck: Reasons, unready: Reasons) -> list[web.AbstractRouteDef]:
    """The three routes, over what gives the metrics and the reasons not to be well."""

    async def of_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers=_HEADERS | {"Content-Type": _METRICS})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(stuck())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(unready())

    return [web.get(path, one) for path, one in zip(PATHS, (of_metrics, healthz, readyz), strict=True)]


def _answer(reasons: Sequence[str]) -> web.Response:
    text = "".join(f"{reason}\n" for reason in reasons or ["ok"])
    return web.Response(text=text, status=503 if reasons else 200, headers=_HEADERS)
