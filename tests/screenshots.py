"""The README's pictures of the page: `make screenshots` runs a demo and takes them anew, into docs/."""

import re
import tempfile
from pathlib import Path

from PIL import Image

from tests.integration.browser import browsing
from tests.integration.program import Program, wait_until

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, OVERVIEW, ACCOUNT = 1280, 800, 1120
DEMO_S = 600  # on a loaded machine


def take() -> None:
    """The overview and its worst account, with the orders behind a day of its curve."""
    with tempfile.TemporaryDirectory() as folder, Program(Path(folder), "demo", "--stay", WEB__ENABLED="true") as demo:
        wait_until(lambda: "until Ctrl-C" in demo.log(), DEMO_S, "the demo's end", demo)
        found = re.search(r"open (http://\S+)", demo.log())
        assert found is not None, demo.log()
        with browsing() as tab:
            tab.look(WIDTH, OVERVIEW)
            tab.open(found[1])
            tab.see(".accounts tbody tr")
            tab.picture(DOCS / "overview.png")
            tab.look(WIDTH, ACCOUNT)
            tab.click(".accounts tbody tr a")
            tab.click(".curve .u-over", across=0.75)
            tab.see(".behind tbody tr")
            tab.run("scrollTo(0, 0)")
            tab.picture(DOCS / "account.png")
            assert tab.errors == []
    for name in ("overview", "account"):  # 256 colours are enough for a page, and a quarter of the bytes
        with Image.open(DOCS / f"{name}.png") as picture:
            few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    take()
