"""`python -m schemas.release FILE` (`make release-schema FILE=...`): a change becomes its topic's newest version.

For a checkout of the project, never for an installed program: it moves files of `schemas/`.
"""

import json
import sys
from pathlib import Path

from schemas.codec import SCHEMAS
from schemas.compatibility import faults, topic_of
from schemas.versions import Version, edited, keep, mark_of, released


def release(file: Path, folder: Path = SCHEMAS) -> Version | list[str]:
    """The version made of the file, or why there is none, a line each."""
    text = file.read_text(encoding="utf-8")
    schema = json.loads(text)
    topic, versions = topic_of(schema), released(folder)
    found = edited(folder) or faults(schema, versions[topic] if topic else [])
    if found or topic is None:
        return found
    same = [version for version in versions[topic] if mark_of(version.schema) == mark_of(schema)]
    return [f"it is version {same[0].number}, words apart"] if same else keep(topic, text, folder)


if __name__ == "__main__":
    done = release(Path(sys.argv[1]))
    if isinstance(done, list):
        sys.exit("\n".join(done))
    print(f"version {done.number} of {done.topic}: record its bytes in tests/unit/test_schema_versions.py")
