"""What of npm's registry lies in this repository: `make vendor` fetches it anew, as `vendored.json` says.

Each such file stands beside what it tells of: package, version, licence, and the SHA-256 of every file taken.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANIFESTS = (ROOT / "streams/web/static/vendor/uplot/vendored.json", ROOT / "tests/axe/vendored.json")


def sha256(file: Path) -> str:
    """Of its bytes, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def fetch(manifest: Path) -> None:
    """Take the named files out of the package, and note what they are."""
    told = json.loads(manifest.read_text())
    with tempfile.TemporaryDirectory() as folder:
        pack = ["npm", "pack", "--silent", f"{told['package']}@{told['version']}"]
        name = subprocess.run(pack, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(Path(folder, name)) as packed:
            for path in told["files"]:
                member = packed.extractfile(f"package/{path}")
                assert member is not None, path
                manifest.with_name(Path(path).name).write_bytes(member.read())
    told["files"] = {path: sha256(manifest.with_name(Path(path).name)) for path in told["files"]}
    manifest.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    for each in MANIFESTS:
        fetch(each)
