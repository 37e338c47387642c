"""What the numbers were measured on: the machine and the versions of what does the work."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.peers import environment

PARTS = ("faust-streaming", "aiokafka", "chdb", "chdb-core", "fastavro", "numpy", "pyarrow")
POM = Path(__file__).parents[1] / "deploy" / "kafka" / "pom.xml"


def machine() -> dict[str, str]:
    """By name, in the order in which it is told. Cores are those that this process may use."""
    found = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)<", POM.read_text(encoding="utf-8"))
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{part: version(part) for part in PARTS},
        "Kafka": found[1] if found else "unknown",
        **{f"peers' {part}": pin for part, pin in environment.versions().items()},
    }
