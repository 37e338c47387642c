"""A clock that is wrong, for a process with this folder on its PYTHONPATH: by the seconds in the file CHAOS_CLOCK.

Python reads a module of this name at its start. Of the wall clock alone: time-outs go by the monotonic one.
"""

import os
import time
from pathlib import Path

_file, _time, _time_ns = Path(os.environ["CHAOS_CLOCK"]), time.time, time.time_ns


def _offset_s() -> int:
    return int(_file.read_text())


time.time = lambda: _time() + _offset_s()
time.time_ns = lambda: _time_ns() + _offset_s() * 1_000_000_000
