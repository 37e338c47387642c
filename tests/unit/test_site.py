"""The documentation: it builds with no broken link, loads nothing from elsewhere, tells everything, and that is so."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from docs import commands, metrics, runbook, settings, tables
from docs.markdown import Undocumented
from sink.connect import connect
from sink.store import Store
from streams.commands.cli import COMMANDS, cli
from streams.core.metrics import METRICS
from streams.settings import Settings

pytestmark = pytest.mark.timeout(300)  # the build, on a machine that does other things

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "form": "action"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it: by a process of its own, which has an embedded database."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


# --- what is built -------------------------------------------------------------------------------------------


def test_every_page_is_built(site: Path) -> None:
    """Strictly: a link that leads nowhere, or an undocumented thing, would have ended it."""
    assert {page.stem for page in site.glob("*.html")} >= {Path(name).stem for name in PAGES}


class Loads(HTMLParser):
    """What a page has a browser fetch by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag in LOADED and "canonical" not in (said.get("rel") or ""):
            self.addresses += filter(None, [said.get(LOADED[tag]), said.get("srcset")])


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    foreign = re.compile(r"(?:\w+:)?//")
    loaded = {page.name: Loads(page.read_text(encoding="utf-8")).addresses for page in site.glob("*.html")}
    assert all(loaded.values())
    here = {site / each for these in loaded.values() for each in these if not each.startswith(("data:", "/"))}
    assert not [file for file in here if not file.exists()]
    assert not [(page, each) for page, these in loaded.items() for each in these if foreign.match(each)]
    sheets = "".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert "url(" in sheets
    assert not [each for each in re.findall(r"(?:url\(|@import )[\"']?([^)\"' ;]+)", sheets) if foreign.match(each)]


def test_a_foreign_address_would_be_found() -> None:
    assert Loads('<img srcset="//x.org/a.png"><link rel="icon" href="https://x.org/i">').addresses == [
        "//x.org/a.png", "https://x.org/i",
    ]  # fmt: skip


# --- what is told --------------------------------------------------------------------------------------------


def _text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_metric_column_command_and_setting_is_on_its_page(site: Path) -> None:
    told = {name: _text_of(site / f"{name}.html") for name in ("metrics", "tables", "commands", "settings")}
    assert not [metric.name for metric in METRICS for page in ("metrics", "tables") if metric.name not in told[page]]
    assert not [path for path, _ in _commands(cli, "sellerpulse") if f"{path}¶" not in told["commands"]]
    assert not [key for key in _keys(Settings) if key not in told["settings"]]
    ddl = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sink" / "ddl").glob("*.sql"))
    views = re.findall(r"^CREATE VIEW (\w+)", ddl, re.MULTILINE)
    assert views
    assert not [view for view in views if f"{view}¶" not in told["tables"]]


def test_every_rule_and_alert_has_its_entry(site: Path) -> None:
    told = _text_of(site / "runbook.html")
    assert not [name for name in runbook.known() if f"{name}¶" not in told]


def test_what_has_no_words_is_undocumented() -> None:
    with pytest.raises(Undocumented, match=r"new_rate has no worked example: add new_rate = "):
        metrics.check([METRICS[0]._replace(name="new_rate")], {})
    with pytest.raises(Undocumented, match="works out old_rate, which is no metric"):
        metrics.check([], {"old_rate": metrics.Example(1, "b")})
    with pytest.raises(Undocumented, match=r"seller_daily.day has no COMMENT"):
        tables.check([tables.Table("seller_daily", "Rows", True, (tables.Column("day", "Date", ""),))])
    with pytest.raises(Undocumented, match=r"has no entry ### `new_rule`"):
        runbook.check(PAGES["runbook.md"], [*runbook.known(), "new_rule"])
    with pytest.raises(Undocumented, match="an entry negative_rate, which is no rule or alert"):
        runbook.check(PAGES["runbook.md"], [name for name in runbook.known() if name != "negative_rate"])
    with pytest.raises(Undocumented, match=r"the entry negative_rate does not say \*\*Ends"):
        runbook.check("### `negative_rate`\n**Means.** **Matters.** **Look.** **Do.**", ["negative_rate"])
    with pytest.raises(Undocumented, match=r"`x --loud` has no help"):
        commands.check(click.Command("x", help="x", params=[click.Option(["--loud"])]), "x")
    with pytest.raises(Undocumented, match=r'web.colour has no words: write """'):
        list(settings.sections(_Wordless, ("web",), _Wordless.model_json_schema(), {}))


class _Wordless(BaseModel):
    """A section."""

    colour: str = "red"


# --- what it tells is so -------------------------------------------------------------------------------------


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, f"{path} {name}")


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        if (inner := settings.model_in(field.annotation)) is not None:
            yield from _keys(inner)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_a_page_shows_are_there_with_their_options(page: str) -> None:
    there = dict(_commands(cli, "sellerpulse"))
    blocks = re.findall(r"```console\n(.*?)```", PAGES[page], re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"\$ (\S*/)?sellerpulse ", line)]
    lines += re.findall(rf"`(sellerpulse (?:{'|'.join(COMMANDS)})[^`]*)`", PAGES[page])
    for line in lines:
        words = shlex.split(line.removeprefix("$ ").replace(".venv/bin/", ""), comments=True)
        path = max((name for name in there if words[: len(name.split())] == name.split()), key=len)
        known = {option for each in there[path].params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, line
        assert len(path.split()) > 1, line


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = connect(str(tmp_path_factory.mktemp("database") / "db"))
    yield store
    store.close()


def test_the_queries_of_the_runbook_run(database: Store) -> None:
    queries = re.findall(r"```sql\n(.*?)```", PAGES["runbook.md"], re.DOTALL)
    assert len(queries) > 5
    for query in queries:
        database.query_arrow(query)
