"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import docs.markdown
import docs.settings
import schemas
import streams.commands.telling
import streams.core
import streams.log
import streams.reading.catalogue


def modules() -> list[ModuleType]:
    found = [docs.markdown, docs.settings, streams.log, streams.commands.telling, streams.reading.catalogue]
    for package in (schemas, streams.core):
        names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
        found += [importlib.import_module(name) for name in names]
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    assert sum(doctest.testmod(module).attempted for module in modules()) >= 6
