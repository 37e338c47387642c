"""What people say about alerts, written for the outbox to read before it tells receivers.

Place in the flow: behind it. Who may say so is for whoever asks to know.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError, SellerpulseError
from schemas.rows import Ack, AlertRow, Silence
from streams.reading.account import Unknown

if TYPE_CHECKING:
    from sink.store import Store

GLOBS = {"rule": "rule", "seller": "seller_id", "marketplace": "marketplace_id", "severity": "severity"}


def acknowledge(store: "Store", alert_ids: Sequence[str], by: str, comment: str) -> list[AlertRow]:
    """Somebody knows of these alerts: all, or, if one is unknown or resolved, none, which raises SellerpulseError."""
    known = {alert.alert_id: alert for alert in store.alerts(ids=alert_ids) if not alert.gone}
    for alert_id in alert_ids:
        if alert_id not in known:
            raise Unknown(f"there is no alert {alert_id}")
        if known[alert_id].state == "resolved":
            raise SellerpulseError(f"alert {alert_id} is resolved: there is nothing to acknowledge")
    store.acknowledge([Ack(a.seller_id, a.marketplace_id, a.alert_id, a.severity, by, comment) for a in known.values()])
    return list(known.values())


def silence(store: "Store", globs: Mapping[str, str], until: int, by: str, comment: str) -> Silence:
    """Silence what all of these globs match, each by a name of `GLOBS`, until then (epoch ms).

    Raises ConfigurationError if that is over already.
    """
    if until <= time.time() * 1000:
        raise ConfigurationError("until is over already")
    every = {column: globs.get(name, "*") for name, column in GLOBS.items()}
    made = Silence(secrets.token_hex(4), **every, until=until, by=by, comment=comment)
    store.silence(made)
    return made
