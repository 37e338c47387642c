"""The error tree, split by what the caller does about it.

SellerpulseError
+-- ConfigurationError    wrong usage, settings or place: one line, exit 2
+-- Unavailable           broker, database or registry out of reach: retried with backoff, which is the backpressure
+-- SinkRejected          the database refused our statement: our bug, stop loudly
+-- FileDamaged           an input file is cut short: its good part was kept, exit 1
+-- TooManyRefused        a worker refuses more than its limit: it stops in good order, exit 1

A bad event is no error but a value: `schemas.events.Refusal`.
"""

import ssl

_TLS_WORDS = {"WRONG_VERSION_NUMBER": "the other side speaks none"}


class SellerpulseError(Exception):
    """Anything that ends a command with one line instead of a traceback."""


class ConfigurationError(SellerpulseError):
    """Wrong usage, settings, file or folder: nothing was written."""


class Unavailable(SellerpulseError):
    """A broker, database or registry cannot be reached just now."""


class SinkRejected(SellerpulseError):
    """The database understood a statement and refused it: trying again would not help."""


class FileDamaged(SellerpulseError):
    """An input file ends in the middle of a record or of its compression."""


class TooManyRefused(SellerpulseError):
    """More records of a topic are refused than a worker may refuse: a producer went wrong, and the worker stops."""


def reason_of(failed: BaseException) -> str | None:
    """Why there was no answer, in the word of TLS or of the operating system; None if it was for neither."""
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS failed: {_TLS_WORDS.get(cause.reason, cause.reason.lower().replace('_', ' '))}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
    return None
