"""The sections of the settings, each a frozen table with its defaults: what can be said, and what must hold of it.

Place in the flow: read by `settings`. Knows neither files nor environment; a validator's words never repeat a value
that may be a secret.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from streams.core.metrics import Terms


def _database(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = "://" not in url or (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:  # its words may repeat a password
        good = False
    if not good:
        raise ValueError("must be a folder or http[s]://[user[:password]@]host:port/database")
    return url


def _web(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must be an address, http[s]://...")
    return url


def _span(days: tuple[int, int]) -> tuple[int, int]:
    if days[0] > days[1]:
        raise ValueError("must be two numbers of days, the lower one first")
    return days


Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
DatabaseAddress = Annotated[Text, AfterValidator(_database)]
WebAddress = Annotated[str, AfterValidator(_web)]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Lag = Annotated[int, Field(ge=0, le=3_650)]
Kept = Annotated[int, Field(ge=30, le=36_500)]  # receivers are still told of changes that are days old
Span = Annotated[tuple[Lag, Lag], AfterValidator(_span)]
Score = Annotated[float, Field(ge=0, le=10)]
Reward = Annotated[int, Field(ge=0, le=1_000_000)]
Penalty = Annotated[int, Field(ge=-1_000_000, le=0)]
Money = Annotated[float, Field(ge=0, le=1_000_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=300)]


class Section(BaseModel):
    """A table of settings: frozen, and closed to keys that it does not know. Addresses are not in its repr.

    The text below a field is what the documentation says of the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Access(Section):
    """Who we are to a server, and whose certificates we trust there: None, those that this machine trusts.

    A secret is said or is in a file, of which only the name is known here: `credentials` reads it.
    """

    password: Secret | None = None
    """Better in the environment or a file than here."""
    password_file: Text | None = None
    """The file that holds it; a newline at its end does not count."""
    ca_file: Text | None = None
    """Who signed the server's certificate, PEM; else whom this machine trusts."""
    certificate_file: Text | None = None
    """Our own certificate, PEM, where the server asks for one."""
    key_file: Text | None = None
    """Its key, PEM."""
    key_password: Secret | None = None
    """Of the key, if it is encrypted."""
    key_password_file: Text | None = None
    """The file that holds it."""

    @property
    def has_password(self) -> bool:
        """Whether a password is said, or where it is."""
        return bool(self.password or self.password_file)

    @property
    def has_tls(self) -> bool:
        """Whether anything is said that TLS alone needs."""
        return bool(self.ca_file or self.certificate_file)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.password and self.password_file:
            raise ValueError("password and password_file are both given")
        if self.key_password and self.key_password_file:
            raise ValueError("key_password and key_password_file are both given")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file need each other")
        if (self.key_password or self.key_password_file) and not self.key_file:
            raise ValueError("a password of a key needs key_file")
        return self

    def fits(self, url: str, user: str | None) -> None:
        """Hold it against an address: nothing said twice, and no TLS meant where none is spoken."""
        parts = urlsplit(url)
        if (user and parts.username) or (self.has_password and parts.password):
            raise ValueError("user or password is given in the address and beside it")
        if self.has_tls and parts.scheme == "http":
            raise ValueError("ca_file and certificate_file need an address https://...")


class Registry(Access):
    """How to speak to the Schema Registry."""

    user: Text | None = None
    """Who we are to it."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.has_password != bool(self.user):
            raise ValueError("user and password (or password_file) need each other")
        return self


class Kafka(Access):
    """The broker, how to speak to it, and the topics as they should be."""

    bootstrap: Text = "127.0.0.1:9092"
    """HOST:PORT of one broker or several, with commas between."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How we say who we are; with SASL_PLAINTEXT and SASL_SSL."""
    username: Text | None = None
    """Who we are, with a sasl_mechanism."""
    group: Text = "sellerpulse"
    """The consumer group: workers of one group share the partitions, another group begins at the earliest records."""
    partitions: Count = 4
    """Of orders, feedback and surveys alike; how many workers can share the work."""
    replication: Count = 1
    """How many brokers keep each partition."""
    retention_days: Days = 30
    """How long topics keep events."""
    dlq_retention_days: Days = 14
    """How long dead letters are kept: they alone hold original bytes."""
    schema_registry_url: WebAddress | None = Field(default=None, repr=False)
    """With one, records are in Confluent wire format; else Avro single objects."""
    registry: Registry = Registry()

    @property
    def speaks_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @model_validator(mode="after")
    def _is_secured_as_said(self) -> Self:
        if self.security_protocol.startswith("SASL_"):
            if not (self.sasl_mechanism and self.username and self.has_password):
                wanted = "sasl_mechanism, username and password (or password_file)"
                raise ValueError(f"security_protocol {self.security_protocol} needs {wanted}")
        elif self.sasl_mechanism or self.username or self.has_password:
            raise ValueError("sasl_mechanism, username and password need security_protocol SASL_SSL or SASL_PLAINTEXT")
        if self.has_tls and not self.speaks_tls:
            raise ValueError("ca_file and certificate_file need security_protocol SASL_SSL or SSL")
        return self

    @model_validator(mode="after")
    def _has_the_registry_that_it_speaks_of(self) -> Self:
        if self.schema_registry_url is not None:
            self.registry.fits(self.schema_registry_url, self.registry.user)
        elif self.registry != Registry():
            raise ValueError("registry needs schema_registry_url")
        return self


class Http(Section):
    """ClickHouse's HTTP interface for analysts, by whoever holds an embedded database. No port: 8123, or the next free.

    The limits are those of one statement. Without a password whoever is on this machine may read.
    """

    enabled: bool = True
    """Whether analysts are served at all."""
    host: Text = "127.0.0.1"
    """The address to listen on; any other only with a password."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Not said: 8123, or the next free one up to 8132."""
    password: Secret | None = None
    """Analysts'; better in the environment or a file than here."""
    password_file: Text | None = None
    """The file that holds it; a newline at its end does not count."""
    max_execution_s: Count = 30
    """Seconds; a request may ask for less, as of the next two."""
    max_result_rows: Count = 1_000_000
    """Rows of an answer."""
    max_memory_mb: Annotated[int, Field(ge=64)] = 1024
    """Memory of a statement."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.password and self.password_file:
            raise ValueError("password and password_file are both given")
        return self


class ClickHouse(Access):
    """The database: a folder, which needs nothing of `Access`, or http[s]://[user[:password]@]host:port/database.

    A server has an HTTP interface of its own. What is to be kept so many days is kept for ever if nothing is said.
    """

    url: DatabaseAddress = Field(default="sellerpulse-db", repr=False)
    """A folder, or http[s]://[user[:password]@]host:port/database."""
    user: Text | None = None
    """Who we are to a server, unless its address says it."""
    keep_rejected_days: Kept | None = None
    """Days that `rejected_events` are kept; for ever unless it is said."""
    keep_alert_history_days: Kept | None = None
    """Days that `alert_history` is kept; for ever unless it is said."""
    http: Http = Http()

    @model_validator(mode="after")
    def _fits_its_address(self) -> Self:
        self.fits(self.url, self.user)
        return self


class MarketplaceTerms(Section):
    """What may differ by marketplace; not said: as everywhere."""

    points_problem_free: Reward | None = None
    points_negative: Penalty | None = None
    cs_min_responses: Count | None = None
    cs_red_below: Score | None = None
    cs_yellow_below: Score | None = None
    odr_lag_days: Lag | None = None


_TERMS = Terms()


class Metrics(Section):
    """How marketplaces judge: windows, weights, minimums and bands, as in `Terms`; and what differs by marketplace."""

    short_days: Days = _TERMS.short_days
    """The window of columns named 30d."""
    medium_days: Days = _TERMS.medium_days
    """The window of columns named 90d."""
    long_days: Days = _TERMS.long_days
    """The window of columns named 365d."""
    odr_days: Days = _TERMS.odr_days
    """The window of the order defect rate, by the day of the order."""
    odr_lag_days: Lag = _TERMS.odr_lag_days
    """How many days before the row's day that window ends: some marketplaces leave orders time to ripen."""
    receipt_days: Days = _TERMS.receipt_days
    """Days after shipping until an order counts as received, where neither delivery nor a promise is known."""
    cs_days: Days = _TERMS.cs_days
    """The days before its Monday that the Customer Service score is of."""
    cs_min_responses: Count = _TERMS.cs_min_responses
    """With fewer survey answers in them the last score that had enough stays on show."""
    cs_red_below: Score = _TERMS.cs_red_below
    """The band of a shown score is red below this."""
    cs_yellow_below: Score = _TERMS.cs_yellow_below
    """Yellow below this, green from it on."""
    points_problem_free: Reward = _TERMS.points_problem_free
    """Buy Box points of an order received and problem-free."""
    points_negative: Penalty = _TERMS.points_negative
    """Buy Box points of a standing rating of 1-2 stars."""
    marketplaces: dict[Text, MarketplaceTerms] = {}
    _terms: dict[str | None, Terms] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _put_together(self) -> Self:
        self._terms[None] = Terms(**self.model_dump(exclude={"marketplaces"}))
        for name, terms in self.marketplaces.items():
            self._terms[name] = replace(self._terms[None], **terms.model_dump(exclude_none=True))
        for marketplace, there in self._terms.items():
            if there.cs_red_below > there.cs_yellow_below:
                where = "" if marketplace is None else f" on {marketplace}"
                raise ValueError(f"cs_red_below is above cs_yellow_below{where}")
        return self

    def terms_of(self, marketplace_id: str) -> Terms:
        """How this marketplace judges."""
        return self._terms.get(marketplace_id) or self._terms[None]


class Source(Section):
    """What is known of a source that its events do not say; its name is the `source` of theirs."""

    partial: bool = False
    """Whether its ratings are not all that buyers gave, as in a report of 1-3 stars only: then shares, averages and
    coverage of the accounts that it is part of are null, and rules about them silent."""


# As in `streams.core.comments`, whose word lists settings need not load.
Cause = Literal[
    "late", "not_as_described", "product", "service", "packaging", "tracking", "return", "cancel", "unknown"
]  # fmt: skip


_CREDITS: dict[Cause, float] = dict.fromkeys(("product", "not_as_described"), 50.0)
_CREDITS |= dict.fromkeys(("late", "tracking", "packaging"), 30.0)


class Cases(Section):
    """What an agent may give back by himself, in whatever currency, and what of it differs by root cause.

    And the credit that a case earns which ends well, by root cause: what is not said stays as it is.
    """

    refund_limit: Money = 10.0
    """What an agent may give back for an order, in its currency."""
    refund_limits: dict[Cause, Money] = {}
    """The same by root cause; of several the greatest."""
    credits: dict[Cause, Money] = _CREDITS
    """What an agent earns with a case that ends well, by root cause; of several the greatest."""

    def limit_of(self, causes: Iterable[str]) -> float:
        """Of a case with these root causes: the greatest."""
        limits = cast("dict[str, float]", self.refund_limits)
        return max((limits.get(cause, self.refund_limit) for cause in causes), default=self.refund_limit)

    @property
    def all_credits(self) -> dict[str, float]:
        """Those that were said over those that were not."""
        return cast("dict[str, float]", _CREDITS | self.credits)


class Outreach(Section):
    """Which orders are worth asking about, for feedback and a review: from so many days after receipt until so many."""

    feedback_days: Span = (4, 30)
    """From and until how many days after receipt an order is worth asking for feedback."""
    review: Literal["off", "all", "happy"] = "off"
    """Whom to ask for a product review: nobody, everybody, or, which marketplaces forbid, those with 4-5 stars."""
    review_days: Span = (5, 30)
    """The same for a product review."""


class Connectors(Section):
    """What the connectors that are polled, and a watched folder, remember."""

    state: Text = "sellerpulse-connectors.db"
    """The file that holds what reports last said, and how far watched files were read; `--state` says another."""


class Web(Section):
    """Where a worker shows its metrics, its health and the page: to this machine, unless another address is said.

    The page is asked for by an address, as localhost, or by one of the `names`. Who shows the token may acknowledge
    and silence alerts by it; without one nobody may.
    """

    enabled: bool = True
    """Whether it listens at all."""
    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Port = 8080
    """0: a free one."""
    names: tuple[Text, ...] = ()
    """Names by which browsers may ask for the page, beside addresses and localhost."""
    token: Secret | None = None
    """Who shows it may acknowledge and silence alerts by the page; without one nobody may."""
    token_file: Text | None = None
    """A file that holds the token."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("token and token_file are both given")
        return self


class Digest(Section):
    """Whether each account is sent a digest once a week, and when, in UTC."""

    enabled: bool = False
    """Whether digests are sent."""
    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"
    """On which day."""
    hour: Annotated[int, Field(ge=0, le=23)] = 6
    """At which hour, UTC; not sent any more when it is two days late."""


Scope = tuple[Text, ...] | Literal["*"]


class GatewayKey(Section):
    """One API key of the gateway: `sellerpulse gateway key` makes it and prints this table, without the key itself."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    """Whose it is, for the metrics, the log and dead letters."""
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    """SHA-256 of the key: the key itself is nowhere."""
    sellers: Scope
    """The sellers of whom it may send events; "*": all."""
    marketplaces: Scope
    """The marketplaces; "*": all. An event's seller and marketplace must both be among them."""


class Gateway(Section):
    """Where the HTTP gateway takes events, from whom, and how much. It speaks no TLS: a proxy before it does."""

    host: Text = "127.0.0.1"
    """The address to listen on; any other only behind a proxy that speaks TLS, or keys can be read on the way."""
    port: Port = 8090
    """0: a free one."""
    body_mb: Annotated[int, Field(ge=1, le=64)] = 8
    """MiB of a request's body, decompressed."""
    events_per_request: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """How many events a request may have."""
    events_per_s: Count = 50_000
    """How many events a key may send in a second; what a request has too much is waited off by the next ones."""
    requests_at_once: Count = 16
    """How many requests of a key are worked on at once."""
    kafka_s: Seconds = 10.0
    """Seconds that Kafka has to acknowledge a request's events before the answer is 503."""
    keys: tuple[GatewayKey, ...] = ()

    @model_validator(mode="after")
    def _tells_keys_apart(self) -> Self:
        if len({key.name for key in self.keys}) < len(self.keys) or len({key.hash for key in self.keys}) < len(
            self.keys
        ):
            raise ValueError("two keys have the same name or hash")
        return self
