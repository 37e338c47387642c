"""Reads one field of many records at once, with numpy: as `schemas.binary` does of one, but only what is surely right.

Its place in the flow: under the batch's check. A reader is given positions in a batch's bytes, one a record, and gives
the values there, the positions behind them, and of which records both are sure.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.binary import built

ITEMS_MAX = 16  # of an array: each takes a round of the walk

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]  # one a record: positions in the batch's bytes, or values

# --- a batch's bytes -----------------------------------------------------------------------------------------

_HIGH = 0x8080_8080_8080_8080  # the bits that no ASCII byte has, in a word of 8 bytes
_HIGH_BELOW = np.array([_HIGH & (1 << 8 * n) - 1 for n in range(8)], np.uint64)  # those of its first n bytes
_BELOW = [(1 << 8 * n) - 1 for n in range(9)]  # all bits of its first n bytes


class Buffer:
    """The values of a batch end to end, read at many positions at once; any position behind them reads as zeros."""

    def __init__(self, values: Iterable[bytes]) -> None:
        joined = b"".join((*values, bytes(23)))  # two words of zeros at the least, when cut to whole words
        self._bytes = np.frombuffer(joined, np.uint8)
        self._words = np.ndarray((len(joined) - 7,), "<u8", joined, strides=(1,))  # one at every byte: they overlap
        self._highs = np.frombuffer(joined, "<u8", len(joined) // 8) & _HIGH
        counts = np.bitwise_count(self._highs)
        self._highs_before = counts.cumsum(dtype=np.uint8) - counts  # modulo 256 as all that is asked of it

    def byte(self, at: Ints) -> NDArray[np.uint8]:
        return self._bytes.take(at, mode="clip")

    def word(self, at: Ints) -> NDArray[np.uint64]:
        """The 8 bytes at each position, the first one lowest."""
        return self._words[np.minimum(at, len(self._words) - 1)]

    def is_ascii(self, at: Ints, end: Ints) -> Mask:
        """Whether all bytes from `at` to before `end` are below 128; for less than 256 of them."""
        is_ascii: Mask = self._highs_until(at) == self._highs_until(end)
        return is_ascii

    def _highs_until(self, at: Ints) -> NDArray[np.uint8]:
        # Counted by word: a running count over all bytes would take longer than the rest of the walk.
        word = at >> 3
        within: NDArray[np.uint8] = np.bitwise_count(self._highs.take(word, mode="clip") & _HIGH_BELOW.take(at & 7))
        within += self._highs_before.take(word, mode="clip")
        return within


# --- fields, as in schemas.binary but of many records at once --------------------------------------------------


class Column(NamedTuple):
    """A field of many records: its values, the positions after it, and where both are surely right.

    The value of a string is its length, of an array its count, of a double whether it is finite.
    """

    value: Ints
    after: Ints
    sure: Mask


Read = Callable[[Buffer, Ints], Column]

NULL = -1  # as a value: no other that is surely right is negative


def _small(buffer: Buffer, at: Ints) -> Column:
    """A number from 0 to 63, which is one byte: also a string's length or an array's count."""
    byte = buffer.byte(at)
    return Column((byte >> 1).astype(np.int64), at + 1, byte & 0x81 == 0)


def _time(buffer: Buffer, at: Ints) -> Column:
    """A long of 6 bytes that is not negative: as milliseconds, from July 1970 to September 2039."""
    word = buffer.word(at)
    value = np.zeros_like(word)
    for place in range(6):
        value |= word >> place & 0x7F << 7 * place
    return Column((value >> 1).astype(np.int64), at + 6, word & 0x8080_8080_8081 == 0x80_8080_8080)


def _string(buffer: Buffer, at: Ints) -> Column:
    size, start, is_short = _small(buffer, at)
    return Column(size, end := start + size, is_short & buffer.is_ascii(start, end))


def _boolean(buffer: Buffer, at: Ints) -> Column:
    byte = buffer.byte(at)
    return Column(byte.astype(np.int64), at + 1, byte <= 1)


def _double(buffer: Buffer, at: Ints) -> Column:
    is_finite = np.isfinite(buffer.word(at).view(np.float64))
    return Column(is_finite.astype(np.int64), at + 8, np.ones_like(is_finite))


def one_of(forms: Sequence[bytes]) -> Read:
    """One of these byte strings, none of which starts another; its value is the form's number."""
    sizes = np.array([len(form) for form in forms])
    words = [
        [(place, int.from_bytes(form[place : place + 8], "little"), _BELOW[min(len(form) - place, 8)])
         for place in range(0, len(form), 8)]
        for form in forms
    ]  # fmt: skip

    def read(buffer: Buffer, at: Ints) -> Column:
        found = {place: buffer.word(at + place) for place in range(0, int(sizes.max()), 8)}
        number = np.full(len(at), -1)
        for this, form in enumerate(words):
            same = np.ones(len(at), np.bool_)
            for place, word, bits in form:
                same &= found[place] & bits == word
            number[same] = this
        return Column(number, at + sizes[number], number >= 0)

    return read


def _nullable(read: Read) -> Read:
    def read_nullable(buffer: Buffer, at: Ints) -> Column:
        branch = buffer.byte(at)
        after, sure = at + 1, (branch == 0) | (branch == 2)
        some = np.flatnonzero(branch == 2)
        inner = read(buffer, after[some])
        value = np.full(len(at), NULL)
        value[some], after[some], sure[some] = inner
        return Column(value, after, sure)

    return read_nullable


def _array(read: Read) -> Read:
    def read_array(buffer: Buffer, at: Ints) -> Column:
        """Of one block with at most ITEMS_MAX items, or of none."""
        count, after, sure = _small(buffer, at)
        sure &= count <= ITEMS_MAX
        count[~sure] = 0
        for item in range(int(count.max(initial=0))):
            more = np.flatnonzero(count > item)
            _, after[more], is_sure = read(buffer, after[more])
            sure[more] &= is_sure
        some = count > 0
        sure &= ~some | (buffer.byte(after) == 0)  # the empty block that ends them
        return Column(count, after + some, sure)

    return read_array


_PLAIN: dict[str, Read] = {"string": _string, "long": _time, "int": _small, "boolean": _boolean, "double": _double}


def reader_of(schema: Any) -> Read:
    """A reader of a field of this schema, many records at once."""
    return built(schema, _PLAIN, _nullable, _array)
