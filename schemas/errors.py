"""The error tree, split by what the caller does about it.

SellerpulseError
+-- ConfigurationError    wrong usage, settings or place: one line, exit 2
+-- Unavailable           broker, database or registry out of reach: retried with backoff, which is the backpressure
+-- SinkRejected          the database refused our statement: our bug, stop loudly
+-- FileDamaged           an input file is cut short: its good part was kept, exit 1
+-- TooManyRefused        a worker refuses more than its limit: it stops in good order, exit 1

A bad event is no error but a value: `schemas.events.Refusal`.
"""


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
