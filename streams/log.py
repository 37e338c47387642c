"""The log: short lines for people or JSON for collectors, on stderr; never a password.

Place in the flow: set up once by the command, beside the flow. Must not import what it quietens.
"""

import json
import logging
import re
from datetime import UTC, datetime

FORMATS = ("text", "json")

_OURS = ("streams", "sink", "schemas")
# Their warnings repeat, in worse words, the line that a command ends with or that we log ourselves.
_NOISY = ("aiokafka", "asyncio", "clickhouse_connect", "faust", "mode", "urllib3")
_REPEAT_S = 30.0  # a noisy one's message is said again after this: in an outage aiokafka says it sixty times a second
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
_said_at: dict[tuple[object, ...], float] = {}


def configure_logging(log_format: str) -> None:
    """Our log from INFO, others' from WARNING, the noisy ones' from ERROR. Again replaces what was set up."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    handler.addFilter(_is_wanted)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def _is_wanted(record: logging.LogRecord) -> bool:
    # Not by their loggers' levels: some set those themselves when they are imported.
    if record.name.partition(".")[0] not in _NOISY:
        return True
    # Before what it is about is put in, but for the kind of error: not being let in is news after no answer.
    message = (str(record.msg), *(type(one) for one in record.args or () if isinstance(one, Exception)))
    if record.levelno < logging.ERROR or record.created - _said_at.get(message, 0.0) < _REPEAT_S:
        return False
    _said_at[message] = record.created
    return True


def without_passwords(text: str) -> str:
    """The text, with *** for the password of every address in it.

    >>> without_passwords("no answer from http://me:secret@db:8123/pulse")
    'no answer from http://me:***@db:8123/pulse'
    """
    return _PASSWORD.sub(r"\1:***@", text)


class _Text(logging.Formatter):
    """One short line a record, and its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return without_passwords(super().format(record))


class _Json(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return without_passwords(json.dumps(told, ensure_ascii=False))
