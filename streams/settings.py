"""Settings: what a file, the environment and flags say, held against what there is to say.

Place in the flow: read once by the command, passed down by the composition root. Reads one file and the environment
it is given, connects to nothing. Whatever is wrong is a ConfigurationError of one line that says where it was said (of
a file also the line), which key and why, never the value: it may be a secret.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from schemas.errors import ConfigurationError
from schemas.rows import Standard
from streams.core.comments import VERSION
from streams.core.metrics import METRICS, Terms, snapshot_sql
from streams.failpoints import VARIABLE as FAILPOINTS
from streams.receivertables import Receivers
from streams.ruletables import Alerts, unknown
from streams.sections import (
    Cases,
    ClickHouse,
    Connectors,
    Digest,
    Gateway,
    Kafka,
    Metrics,
    Outreach,
    Section,
    Source,
    Text,
    Web,
)

PREFIX = "SELLERPULSE_"
FILE_VARIABLE = f"{PREFIX}SETTINGS"  # names the file, where no flag does
NOT_SETTINGS = frozenset((FILE_VARIABLE, f"{PREFIX}CI", FAILPOINTS))
DEFAULT_FILE = Path("sellerpulse.toml")


class Settings(Section):
    """Everything that can be set. Frozen; can be pickled."""

    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    metrics: Metrics = Metrics()
    sources: dict[Text, Source] = Field(default_factory=dict)
    alerts: Alerts = Alerts()
    cases: Cases = Cases()
    outreach: Outreach = Outreach()
    connectors: Connectors = Connectors()
    receivers: Receivers = Receivers()
    digest: Digest = Digest()
    web: Web = Web()
    gateway: Gateway = Gateway()
    _terms: dict[str, Terms] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _put_together(self) -> Self:
        partial = frozenset(name for name, source in self.sources.items() if source.partial)
        for marketplace in ("", *self.metrics.marketplaces):
            self._terms[marketplace] = replace(self.metrics.terms_of(marketplace), partial_sources=partial)
        return self

    def terms_of(self, marketplace_id: str) -> Terms:
        """How this marketplace judges, and which sources tell only a part of what it judges by."""
        return self._terms.get(marketplace_id) or self._terms[""]

    def standard(self, *, judged: bool) -> Standard:
        """What tells these settings and word lists from others, of rows, and if `judged`, of a replay's alerts."""
        partial = self.terms_of("").partial_sources
        formulas = snapshot_sql(Terms(partial_sources=partial))
        catalogue = repr(([(metric.name, metric.type) for metric in METRICS], formulas, sorted(partial), VERSION))
        return Standard(
            _hash(catalogue + self.metrics.model_dump_json()), _hash(self.alerts.model_dump_json()) if judged else 0
        )


def _hash(text: str) -> int:
    """Never 0, which stands for none."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") | 1


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings: flags beat environment beats file beats defaults, key by key; a list is one value.

    Without `path` the file is that of SELLERPULSE_SETTINGS, else ./sellerpulse.toml if there. `overrides` are nested
    as the sections are, None says nothing. A variable is SELLERPULSE_SECTION__KEY, its value as it is or, for lists
    and tables, JSON; marketplaces and sources keep their case. Raises ConfigurationError.
    """
    environ = os.environ if environ is None else environ
    said = _Said()
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    if path is not None or DEFAULT_FILE.exists():
        said.read(path or DEFAULT_FILE)
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable not in NOT_SETTINGS:
            said.add(_path_of(variable), _parsed(variable, text), variable)
    said.add((), overrides or {}, "command line")
    try:
        return Settings.model_validate(said.values)
    except ValidationError as wrong:
        raise ConfigurationError(said.complaint(wrong)) from None  # nothing of what was said goes further


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as failed:
        raise ConfigurationError(f"{path} cannot be read: {failed.strerror}") from failed
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigurationError(f"{path} is not TOML: {wrong}") from None


def _path_of(variable: str) -> tuple[str, ...]:
    parts = variable.removeprefix(PREFIX).split("__")
    return tuple(
        part if before in ("MARKETPLACES", "SOURCES") else part.lower()
        for before, part in zip(["", *parts], parts, strict=False)
    )


def _parsed(variable: str, text: str) -> Any:
    if not text.startswith(("[", "{")) or variable.endswith(("PASSWORD", "TOKEN")):  # which may begin with anything
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ConfigurationError(f"{variable} is not JSON") from None


class _Said:
    """What was said, later over earlier, and by whom."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._by: dict[tuple[str, ...], str] = {}
        self._texts: dict[str, str] = {}  # of files

    def read(self, path: Path) -> None:
        """A file says what is in it."""
        text, values = read_toml(path)
        self._texts[str(path)] = text
        self.add((), values, str(path))

    def add(self, path: tuple[str, ...], value: Any, by: str) -> None:
        """Somebody says this value of this key; of a table, each of its keys."""
        if isinstance(value, Mapping):
            for key, inner in value.items():
                self.add((*path, key), inner, by)
            return
        if value is None:
            return
        table = self.values
        for part in path[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[path[-1]] = value
        self._by.pop(path, None)
        self._by[path] = by  # last, so that of several the last one is found

    def complaint(self, wrong: ValidationError) -> str:
        """The first thing that is wrong, in one line; a misspelt key before the one that is then missing."""
        loc, reason = first_error(wrong, Settings)
        by = self._who(loc)
        where = f"{by}:{line_of(self._texts[by], loc)}" if by in self._texts else by
        return " ".join(f"{where}: {reason}".split())

    def _who(self, loc: tuple[int | str, ...]) -> str:
        """Who said the key, or the one that shares most of its path."""

        def shared(path: tuple[str, ...]) -> int:
            return next(
                (i for i, (a, b) in enumerate(zip(path, loc, strict=False)) if a != b), min(len(path), len(loc))
            )

        return self._by[max(reversed(self._by), key=shared)]


def first_error(wrong: ValidationError, model: type[BaseModel]) -> tuple[tuple[int | str, ...], str]:
    """Where the first thing is wrong, and the key with what is; a misspelt key before the one that is then missing."""
    errors = wrong.errors(include_url=False, include_input=False)
    error = min(errors, key=lambda one: one["type"] != "extra_forbidden")
    loc = (*error["loc"], *error.get("ctx", {}).get("at", ()))
    key = _dotted(loc)
    if error["type"] == "extra_forbidden":
        return loc, f"{key} is {unknown(key, map('.'.join, _keys(model)))}"
    said = error["msg"].removeprefix("Value error, ")
    return loc, f"{key}: {said[:1].lower()}{said[1:]}"


def line_of(text: str, loc: Sequence[int | str]) -> int:
    """The line of a TOML text that says this key, or the one nearest above it: tomllib knows no lines.

    It is the last line of the shortest beginning that, read alone, has the key.
    """
    deepest = _depth(tomllib.loads(text), loc)
    lines = text.split("\n")
    for n in range(1, len(lines)):
        try:
            known = tomllib.loads("\n".join(lines[:n]))
        except tomllib.TOMLDecodeError:
            continue  # it ends within a value
        if _depth(known, loc) == deepest:
            return n
    return len(lines)


def _depth(value: Any, loc: Sequence[int | str]) -> int:
    """How many steps of a path there are."""
    for depth, step in enumerate(loc):
        try:
            value = value[step]
        except (LookupError, TypeError):
            return depth
    return len(loc)


def _dotted(loc: tuple[int | str, ...]) -> str:
    """A key as one would write it: alerts.rules[0].minimum.orders_90d."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part != "[key]"]
    return "".join(parts).removeprefix(".")


def _keys(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that there is, sections too."""
    for name, field in model.model_fields.items():
        path = (*at, field.alias or name)
        yield path
        for inner in _models_in(field.annotation):
            yield from _keys(inner, path)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
