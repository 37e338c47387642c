"""What integration tests share: the broker, and a time limit that leaves room for its start."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import broker
from tests.integration.program import Ground, laid_out, serving

LIMIT_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder; the hook is given the items of all folders."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """What every broker needs."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        reason = f"a real broker needs {' and '.join(missing)}"
        if "SELLERPULSE_CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    broker.fetch()


@pytest.fixture(scope="session")
def kafka(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.Broker]:
    """One broker for the session: a test takes topic and group names of its own, and leaves it running."""
    del kafka_jars
    kafka = broker.Broker(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture(scope="module")
def ground(kafka: broker.Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Topics as `topics create` makes them, and a server."""
    folder = tmp_path_factory.mktemp("worker")
    with serving(folder) as database:
        yield laid_out(folder, kafka.bootstrap, database)
