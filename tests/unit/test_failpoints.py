"""Failpoints: armed from outside, or nothing."""

import signal
import subprocess
import sys

import pytest

from schemas.errors import ConfigurationError
from streams import failpoints


def reach_five_times(armed: str) -> int:
    """How a process ends that comes to a failpoint five times."""
    code = "from streams.failpoints import reach\nfor _ in range(5): reach('fed'); print('on', flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={failpoints.VARIABLE: armed}, capture_output=True, check=False
    )
    assert done.stdout.count(b"on") == (2 if done.returncode else 5)
    return done.returncode


@pytest.mark.parametrize("armed, code", [("fed=kill@3", -signal.SIGKILL), ("decoded=kill,fed=kill@6", 0), ("", 0)])
def test_a_process_ends_where_it_was_told_to(armed: str, code: int) -> None:
    assert reach_five_times(armed) == code


@pytest.mark.parametrize("wrong", ["fed", "nowhere=kill", "fed=burn", "fed=kill@soon", "fed=kill@-1"])
def test_what_is_no_failpoint_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{failpoints.VARIABLE}: '{wrong}' is not of the form"):
        failpoints._parsed(wrong)
