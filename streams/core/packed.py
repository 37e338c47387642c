"""An account's stories in memory, packed: most of them nobody looks at for weeks.

Place in the flow: between `stories`, which tells what a fact is, and the account that holds them all.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from streams.core.stories import FACT_OF_TOPIC, AnyFact

Story = dict[str, Any]  # event_id -> fact; every story is one topic's events of one subject
_PACK = msgspec.msgpack.Encoder().encode
_UNPACK: dict[Any, Callable[[bytes], list[Any]]] = {
    of: msgspec.msgpack.Decoder(list[of]).decode  # type: ignore[valid-type]
    for of in FACT_OF_TOPIC.values()
}


class Stories:
    """The stories of one topic by their subject. Packed they take a third of the memory that facts do.

    A story that is `open` stays as it is until all are packed, for it is about to change more than once.
    """

    def __init__(self, of: type[AnyFact]) -> None:
        self._unpack = _UNPACK[of]
        self._packed: dict[str, bytes] = {}
        self._open: dict[str, Story] = {}

    def open(self, subject: str) -> Story:
        """The story, to be changed; empty if nothing is known."""
        story = self._open.get(subject)
        if story is None:
            story = self._open[subject] = self[subject]
            self._packed.setdefault(subject, b"")
        return story

    def pack(self) -> None:
        """Pack what is open."""
        for subject, story in self._open.items():
            self._packed[subject] = _PACK(list(story.values()))
        self._open.clear()

    def __getitem__(self, subject: str) -> Story:
        """The story as far as it is known, to be read."""
        if (story := self._open.get(subject)) is not None:
            return story
        packed = self._packed.get(subject)
        return {fact.event_id: fact for fact in self._unpack(packed)} if packed else {}

    def __contains__(self, subject: str) -> bool:
        return subject in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stories) and {*self} == {*other} and all(self[key] == other[key] for key in self)

    __hash__ = None  # type: ignore[assignment]  # they change

    def values(self) -> Iterator[Story]:
        """All of them."""
        return (self[subject] for subject in self)

    def items(self) -> Iterator[tuple[str, Story]]:
        """All of them, each with its subject."""
        return ((subject, self[subject]) for subject in self)
