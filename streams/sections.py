"""The sections of the settings, each a frozen table with its defaults: what can be said, and what must hold of it.

Place in the flow: read by `settings`. Knows neither files nor environment; a validator's words never repeat a value
that may be a secret.
"""

from dataclasses import replace
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

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


Text = Annotated[str, Field(min_length=1)]
DatabaseAddress = Annotated[Text, AfterValidator(_database)]
WebAddress = Annotated[str, AfterValidator(_web)]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Lag = Annotated[int, Field(ge=0, le=3_650)]
Score = Annotated[float, Field(ge=0, le=10)]
Reward = Annotated[int, Field(ge=0, le=1_000_000)]
Penalty = Annotated[int, Field(ge=-1_000_000, le=0)]
Seconds = Annotated[float, Field(gt=0, le=300)]


class Section(BaseModel):
    """A table of settings: frozen, and closed to keys that it does not know. Addresses are not in its repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Kafka(Section):
    """The broker, and the topics as they should be."""

    bootstrap: Text = "127.0.0.1:9092"
    group: Text = "sellerpulse"
    partitions: Count = 4
    replication: Count = 1
    retention_days: Days = 30
    dlq_retention_days: Days = 14
    schema_registry_url: WebAddress | None = Field(default=None, repr=False)


class ClickHouse(Section):
    """The database: a folder, or http[s]://[user[:password]@]host:port/database."""

    url: DatabaseAddress = Field(default="sellerpulse-db", repr=False)


class MarketplaceTerms(Section):
    """What may differ by marketplace; None: as everywhere."""

    points_problem_free: Reward | None = None
    points_negative: Penalty | None = None
    cs_min_responses: Count | None = None
    cs_red_below: Score | None = None
    cs_yellow_below: Score | None = None
    odr_lag_days: Lag | None = None


_TERMS = Terms()


class Metrics(Section):
    """Every field of `Terms`, and what differs by marketplace."""

    short_days: Days = _TERMS.short_days
    medium_days: Days = _TERMS.medium_days
    long_days: Days = _TERMS.long_days
    odr_days: Days = _TERMS.odr_days
    odr_lag_days: Lag = _TERMS.odr_lag_days
    receipt_days: Days = _TERMS.receipt_days
    cs_days: Days = _TERMS.cs_days
    cs_min_responses: Count = _TERMS.cs_min_responses
    cs_red_below: Score = _TERMS.cs_red_below
    cs_yellow_below: Score = _TERMS.cs_yellow_below
    points_problem_free: Reward = _TERMS.points_problem_free
    points_negative: Penalty = _TERMS.points_negative
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


class Webhook(Section):
    """Where changes of alerts are posted as JSON."""

    url: WebAddress = Field(repr=False)
    timeout_s: Seconds = 10


class Receivers(Section):
    """Who is told of changes of alerts."""

    log: bool = True
    webhook: Webhook | None = None
