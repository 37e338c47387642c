"""`python -P bench/bare.py WORDS` is `sellerpulse WORDS` without cases and alerts: what the whole is held against.

Nothing else is taken away: rows, marks, commits and self-checks are there. No setting does this, for nobody wants it.
"""

import sys
from typing import Any

import streams.casework


async def _no_cases(*_: Any, **__: Any) -> int:
    return 0


streams.casework.restate_cases = _no_cases  # before anybody has it from there

from streams.alerter import Alerter  # noqa: E402
from streams.commands.cli import main  # noqa: E402
from streams.marks import Marks  # noqa: E402


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no_clocks(*_: Any, **__: Any) -> None:
    return None


def strip() -> None:
    """Take cases and alerts out of this process."""
    for name in ("begin", "judge", "digest"):
        setattr(Alerter, name, _nothing)
    Alerter.clocks = _no_clocks  # type: ignore[assignment,method-assign]
    Marks.claim = _nothing  # type: ignore[method-assign]  # for the sake of cases alone


if __name__ == "__main__":
    strip()
    sys.exit(main())
