"""The composition root: settings in, a Faust app out. Nothing connects before the app is started.

`faust -A streams.app worker` and `sellerpulse worker` run the same app.
"""

import logging
import math
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, cast, get_args

import faust

from schemas.codec import Codec, Registry
from schemas.events import TOPICS
from streams.agents import CHECK_S, Worker, dead_letter_topics, today
from streams.alerter import Alerter
from streams.credentials import (
    faust_credentials,
    open_store,
    receiver_login,
    registry_client,
    signing_secret,
    slack_address,
)
from streams.digest import Schedule
from streams.health import Health
from streams.inforce import in_force
from streams.outbox import Outbox
from streams.receivers import (
    AlertmanagerReceiver,
    EmailReceiver,
    LogReceiver,
    MailServer,
    Receiver,
    SlackReceiver,
    WebhookReceiver,
)
from streams.refusals import LIMIT
from streams.rewrite import Historian
from streams.settings import Settings, load_settings
from streams.tally import Tally
from streams.telemetry import Telemetry
from streams.topics import DEAD_LETTER_BYTES
from streams.transport import App, Consumer, NoTables
from streams.web.page import page_of
from streams.web.probes import probes
from streams.web.server import Server

log = logging.getLogger(__name__)

HOT_BYTES = 192 << 20  # of accounts in memory; what a worker takes beside them is in README, Measured
SESSION_S = 10.0  # a killed worker's partitions are taken over after this


def create_app(
    settings: Settings, *, live: bool = True, share: tuple[int, int] | None = None, dlq_limit: float = LIMIT
) -> App:
    """A Faust app for these settings. Unless `live`, its as-of day is the database's, and no alert is evaluated.

    With a `share`, n of so many workers, it takes that part of the partitions instead of joining a consumer group.
    It ends when more than `dlq_limit` of a topic's last records are refused.
    """
    app = App(
        settings.kafka.group,
        broker=[f"sellerpulse://{address.strip()}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=faust_credentials(settings.kafka),
        autodiscover=False,
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 4,
        broker_commit_interval=SESSION_S / 4,  # the pipeline commits after each flush; this is for a failed one
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.gettempdir(),  # Faust makes a folder for tables; there are none
        producer_acks=-1,
        producer_max_request_size=DEAD_LETTER_BYTES,
        store="memory://",
        stream_buffer_maxsize=32,  # batches a topic, of at most 1 MiB each
        stream_wait_empty=False,  # what an agent holds is flushed or forgotten by the worker
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        TableManager=NoTables,
    )
    app.share = share
    rules, other_rules = settings.alerts.rules, settings.alerts.other_rules
    open_sink = partial(open_store, settings.clickhouse)
    tally = Tally()
    worker = Worker(
        app, Codec(registry=registry(settings)), settings.terms_of,
        open_sink=open_sink,
        as_of=today if live else lambda store: store.as_of(),
        judge=(
            Alerter(rules, other_rules, Outbox(receivers(settings), open_sink, tally), schedule(settings), tally)
            if live
            else Historian(rules, other_rules)
        ),
        standard=settings.standard(judged=not live),
        in_force=in_force(settings) if live else None,  # a replay says it for all its workers
        hot_bytes=HOT_BYTES if live else 0,  # a replay has no head to be near
        dlq_limit=dlq_limit,
        check_s=CHECK_S if live else math.inf,
        tally=tally,
    )  # fmt: skip
    _connect(app, worker)
    if live and settings.web.enabled:
        _serve(app, worker, settings)
    return app


def _serve(app: App, worker: Worker, settings: Settings) -> None:
    """What a live worker shows over HTTP."""

    def consumer() -> Consumer | None:
        return cast("Consumer | None", app._consumer)  # noqa: SLF001  # `consumer` would make one

    health = Health(worker.tally, lambda: worker.pipeline, consumer)
    telemetry = Telemetry(worker.tally, health, lambda: worker.pipeline, consumer)
    page = page_of(settings, settings.clickhouse, partial(_lag, consumer))
    routes = [*probes(telemetry.text, health.stuck, health.unready), *page.routes()]
    said = settings.web
    app.beside = (health, Server(routes, host=said.host, port=said.port, around=[page.guard.around]), page)


def _lag(consumer: Callable[[], Consumer | None]) -> int | None:
    """How many records of its partitions this worker has yet to make durable."""
    found = consumer()
    return None if found is None else sum(found.lag().values())


def _connect(app: faust.App, worker: Worker) -> None:
    for topic in TOPICS:
        app.agent(_batches(app, topic), name=topic)(worker.events)
    app.agent(_batches(app, *dead_letter_topics()), name="dead_letters")(worker.dead_letters)

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(_: Any, partitions: Any, **__: Any) -> None:
        await worker.assigned(partitions)

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(_: Any, partitions: Any, **__: Any) -> None:
        await worker.revoked(partitions)

    @app.on_before_shutdown.connect(weak=False)
    async def stopping(_: Any, **__: Any) -> None:
        await worker.stop()


def _batches(app: faust.App, *topics: str) -> Any:
    return app.topic(*topics, key_serializer="raw", value_serializer="raw")


def schedule(settings: Settings) -> Schedule | None:
    """When accounts are sent their digests; None: never."""
    said = settings.digest
    weekdays = get_args(type(said).model_fields["weekday"].annotation)
    return Schedule(weekdays.index(said.weekday), said.hour) if said.enabled else None


def receivers(settings: Settings) -> list[Receiver]:
    """Who is told of alerts. Raises ConfigurationError for a secret that cannot be read."""
    said = settings.receivers
    told: list[Receiver] = [LogReceiver()] if said.log else []
    if (webhook := said.webhook) is not None:
        told.append(WebhookReceiver(webhook.url, webhook.timeout_s, secret=signing_secret(webhook)))
    if (slack := said.slack) is not None:
        told.append(SlackReceiver(slack_address(slack), slack.timeout_s))
    if (email := said.email) is not None:
        login, tls = receiver_login(email, "receivers.email")
        server = MailServer(email.host, email.port, email.security, login, tls)
        told.append(EmailReceiver(server, email.sender, email.to, email.timeout_s))
    if (manager := said.alertmanager) is not None:
        login, tls = receiver_login(manager, "receivers.alertmanager")
        told.append(
            AlertmanagerReceiver(
                manager.url, manager.timeout_s, generator_url=manager.generator_url, login=login, tls=tls
            )
        )
    return told


def registry(settings: Settings) -> Registry | None:
    """The Schema Registry's client, if one is configured."""
    if settings.kafka.schema_registry_url is None:
        return None
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client: Registry = SchemaRegistryClient.new_client(registry_client(settings.kafka))
    return client


def __getattr__(name: str) -> faust.App:
    """`app`, made when asked for: `faust -A streams.app` reads it, importing the module connects to nothing."""
    if name == "app":
        app = create_app(load_settings())

        @app.on_before_shutdown.connect(weak=False)
        async def tell(_: Any, **__: Any) -> None:
            if app.ended is not None:  # Faust's program would not say why
                log.error("%s", app.ended)

        return app
    raise AttributeError(name)
