"""The peers' own environment: their packages at their own pins, apart from ours. Made on first use, then kept."""

import subprocess
import sys
import venv
from hashlib import blake2b
from pathlib import Path

from bench.measured import Step, SubjectFailed

PINS = Path(__file__).with_name("constraints.txt")
PACKAGES = ("faust-streaming", "quixstreams", "rocksdict")
_WITHIN_S = 900


def python_of_peers(output: Path, step: Step) -> Path:
    """The peers' Python, below the folder that keeps what a bench makes. Raises SubjectFailed."""
    folder = output / "peers-venv"
    python, made = folder / "bin" / "python", folder / "made-of"
    origin = blake2b(PINS.read_bytes() + sys.version.encode(), digest_size=8).hexdigest()
    if not made.exists() or made.read_text() != origin:
        step("making the peers' environment")
        venv.create(folder, clear=True, with_pip=True)
        _install(python)
        made.write_text(origin)
    return python


def _install(python: Path) -> None:
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "--constraint", str(PINS), *PACKAGES]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    if finished.returncode != 0:
        told = finished.stderr.strip().splitlines() or ["nothing said"]
        raise SubjectFailed(f"the peers' packages cannot be installed: {told[-1]}")


def versions() -> dict[str, str]:
    """Of what is measured, by the pins."""
    pins = dict(line.split("==") for line in PINS.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {package: pins[package] for package in PACKAGES}
