"""Who may send events, of which accounts, how many a second and how many requests at once.

A key is 256 random bits, and its SHA-256 is all that is kept. A slow hash, as passwords need, would be for nothing:
it makes guesses dear where guesses have a chance, and among 2^256 keys none has.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil

from streams.gateway.refusing import NotTaken
from streams.sections import Gateway, GatewayKey

_PREFIX = "spk_"  # so that who finds one knows what it is, and scanners for secrets can be told
_SCHEME = "bearer "


def new_key() -> tuple[str, str]:
    """A key, and the hash of it that is kept."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Bucket:
    """Lets pass so many a second, in bursts of as many: whoever takes more runs into debt, and waits until it is paid.

    What a request takes is known after it was read; so one is let in as long as there is no debt.
    """

    def __init__(self, a_second: float, clock: Callable[[], float]) -> None:
        self._a_second, self._clock = a_second, clock
        self._left, self._at = a_second, clock()

    def take(self, count: int) -> None:
        """So many passed."""
        self._refill()
        self._left -= count

    def debt_s(self) -> float:
        """Seconds until it is paid, 0 if there is none."""
        self._refill()
        return max(-self._left / self._a_second, 0.0)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._a_second, self._a_second)
        self._at = now


class Holder:
    """Whose key it is: the accounts in its scope, what it may take, and what it takes now."""

    def __init__(self, key: GatewayKey, gateway: Gateway, clock: Callable[[], float]) -> None:
        self.name, self.hash = key.name, key.hash
        self._sellers = None if key.sellers == "*" else frozenset(key.sellers)
        self._marketplaces = None if key.marketplaces == "*" else frozenset(key.marketplaces)
        self._at_once, self._requests = gateway.requests_at_once, 0
        self.bucket = Bucket(gateway.events_per_s, clock)

    def may_send(self, seller_id: str, marketplace_id: str) -> bool:
        """Whether the account is in the key's scope."""
        return (self._sellers is None or seller_id in self._sellers) and (
            self._marketplaces is None or marketplace_id in self._marketplaces
        )

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One request, for the block. Raises NotTaken, 429, when the key does too much."""
        if (wait_s := self.bucket.debt_s()) > 0:
            raise NotTaken(429, "more events than this key may send in a second", retry_s=ceil(wait_s))
        if self._requests >= self._at_once:
            raise NotTaken(429, f"more than {self._at_once} requests of this key at once", retry_s=1)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1


class Keyring:
    """All keys."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float] = time.monotonic) -> None:
        self._holders: Sequence[Holder] = [Holder(key, gateway, clock) for key in gateway.keys]

    def holder_of(self, authorization: str) -> Holder:
        """Whose key a header shows, in the same time for every wrong one. Raises NotTaken, 401."""
        shown = hash_of(authorization[len(_SCHEME) :].strip())
        found = None
        for holder in self._holders:  # to the end, whoever it is
            if hmac.compare_digest(holder.hash, shown):
                found = holder
        if found is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise NotTaken(401, "this needs a key of this gateway: Authorization: Bearer KEY")
        return found
