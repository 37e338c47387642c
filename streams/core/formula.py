"""What a formula of the catalogue is written in: values that are numpy arrays in a worker, and SQL in the database.

Arithmetic and comparisons are the operators of both; the few things that have no operator are the functions below.
Each says the same of an array and of an `Sql`, null being NaN in the one and NULL in the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Value = Any  # an array of n rows, or an Sql; numbers mix with both


class Sql:
    """An expression of SQL, which operators make longer."""

    __slots__ = ("text",)
    __hash__ = None  # type: ignore[assignment]  # == makes an expression

    def __init__(self, text: str) -> None:
        self.text = text

    def __add__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} + {_text(other)})")

    def __sub__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} - {_text(other)})")

    def __mul__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} * {_text(other)})")

    __rmul__ = __mul__

    def __truediv__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} / {_text(other)})")

    def __floordiv__(self, other: Value) -> "Sql":
        return Sql(f"intDiv({self.text}, {_text(other)})")

    def __mod__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} % {_text(other)})")

    def __lt__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} < {_text(other)})")

    def __gt__(self, other: Value) -> "Sql":
        return Sql(f"({self.text} > {_text(other)})")

    def __eq__(self, other: Value) -> "Sql":  # type: ignore[override]
        return Sql(f"({self.text} = {_text(other)})")


def _text(value: Value) -> str:
    if isinstance(value, Sql):
        return value.text
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else repr(value)


def at_least(value: Value, least: int) -> Value:
    """The value, or `least` where it is less."""
    return Sql(f"greatest({value.text}, {least})") if isinstance(value, Sql) else np.maximum(value, least)


def null_if(condition: Value, value: Value) -> Value:
    """The number, null where the condition holds."""
    if isinstance(condition, Sql):
        return Sql(f"if({condition.text}, NULL, {_text(value)})")
    return np.where(condition, np.nan, value)


def is_null(value: Value) -> Value:
    """Whether a number is null."""
    return Sql(f"isNull({value.text})") if isinstance(value, Sql) else np.isnan(value)


def flag(condition: Value) -> Value:
    """A condition as 0 or 1."""
    return Sql(f"toUInt8({condition.text})") if isinstance(condition, Sql) else condition.astype(np.uint8)


def first_of(cases: Sequence[tuple[Value, str | None]], otherwise: str) -> Value:
    """The text of the first condition that holds; None is null."""
    conditions, texts = [condition for condition, _ in cases], [text for _, text in cases]
    if isinstance(conditions[0], Sql):
        branches = ", ".join(f"{condition.text}, {_text(text)}" for condition, text in cases)
        return Sql(f"multiIf({branches}, {_text(otherwise)})")
    return np.select(conditions, [np.array(text, dtype=object) for text in texts], np.array(otherwise, dtype=object))
