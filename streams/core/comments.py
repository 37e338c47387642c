"""What a rating's comment and answers say: what it would be removed for, and what went wrong."""

from typing import NamedTuple

Answers = tuple[bool | None, bool | None, bool | None]  # on time, as described, service

GROUNDS = ("obscene", "personal_data", "promotional", "product_review", "fulfilment")
CAUSES = ("late", "not_as_described", "product", "service", "packaging", "tracking", "return", "cancel", "unknown")
VERSION = 1  # of what is read out of a comment: cases that were made by another one are made anew

_CAUSE_OF_NO = ("late", "not_as_described", "service")


class Reading(NamedTuple):
    """Removal grounds, and root causes (`unknown` if none), each in the order of `GROUNDS` and `CAUSES`."""

    grounds: tuple[str, ...]
    causes: tuple[str, ...]


def read(comment: str | None, *, rating: int, answers: Answers | None, by_marketplace: bool) -> Reading:
    """What a comment and the three answers say of an order that the marketplace fulfilled, or the seller."""
    grounds = ("personal_data",) if comment and ("[e-mail]" in comment or "[phone]" in comment) else ()
    said_no = {cause for cause, answer in zip(_CAUSE_OF_NO, answers or (), strict=False) if answer is False}
    return Reading(grounds, tuple(cause for cause in CAUSES if cause in said_no) or ("unknown",))
