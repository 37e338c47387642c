"""The released versions of every topic's schema: where they are kept, and by what an edit of one is noticed.

Place in the flow: beside the codec, which reads the same files. `{topic}.avsc` is the newest version, earlier ones are
`versions/{topic}-{number}.avsc`. `released.json` has a line for each, and grows alone: the fingerprint that its records
carry, which says nothing of defaults and logical types, and a seal, which says all but words.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.codec import SCHEMAS
from schemas.events import TOPICS, Topic

RELEASED = "released.json"


class Version(NamedTuple):
    """A version of a topic's schema, numbered from 1 on, and its text as it is kept."""

    topic: Topic
    number: int
    text: str

    @property
    def schema(self) -> Any:
        """What the text says."""
        return json.loads(self.text)

    @property
    def fingerprint(self) -> str:
        """By which its records name it, in hex as in the bytes."""
        return fingerprint_of(self.schema)


Released = dict[Topic, list[Version]]


def released(folder: Path = SCHEMAS) -> Released:
    """Every version of every topic, oldest first. Raises OSError when one is not where it was kept."""
    marks = _marks(folder)
    return {
        topic: [
            Version(topic, number, _place(folder, topic, number, len(marks[topic])).read_text(encoding="utf-8"))
            for number in range(1, len(marks[topic]) + 1)
        ]
        for topic in TOPICS
    }


def edited(folder: Path = SCHEMAS) -> list[str]:
    """What is not as it was released, each with what to do about it."""
    marks, kept, wrong = _marks(folder), set[Path](), []
    for topic in TOPICS:
        for number, mark in enumerate(marks[topic], 1):
            path = _place(folder, topic, number, len(marks[topic]))
            kept.add(path)
            if not path.is_file():
                wrong.append(f"{path.name} is gone: restore version {number} of {topic}")
            elif mark_of(json.loads(path.read_text(encoding="utf-8"))) != mark:
                wrong.append(
                    f"{path.name} is not version {number} of {topic} as it was released: restore it, put the change "
                    "into a file of its own and run `make release-schema FILE=...`"
                )
    strays = sorted(set(folder.glob("**/*.avsc")) - kept)
    return wrong + [f"{path.name} was never released: `make release-schema FILE=...` does that" for path in strays]


def keep(topic: Topic, text: str, folder: Path = SCHEMAS) -> Version:
    """Make this text, found fit, the topic's newest version: the one that was goes to where earlier ones are."""
    marks, newest = _marks(folder), folder / f"{topic}.avsc"
    number = len(marks[topic]) + 1
    earlier = _place(folder, topic, number - 1, number)
    earlier.parent.mkdir(exist_ok=True)
    newest.rename(earlier)
    newest.write_text(text, encoding="utf-8")
    marks[topic].append(mark_of(json.loads(text)))
    (folder / RELEASED).write_text(json.dumps(marks, indent=2) + "\n", encoding="utf-8")
    return Version(topic, number, text)


def fingerprint_of(schema: Any) -> str:
    """CRC-64-AVRO of the canonical form, in hex as in the bytes of a record."""
    return fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")


def mark_of(schema: Any) -> dict[str, str]:
    """A version's line in `released.json`."""
    return {"fingerprint": fingerprint_of(schema), "seal": blake2b(bare(schema).encode(), digest_size=8).hexdigest()}


def bare(schema: Any) -> str:
    """All that a schema says but its words; equal texts for equal schemas."""
    return json.dumps(_wordless(schema), sort_keys=True)


def _wordless(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _wordless(value) for key, value in schema.items() if key != "doc"}
    return [_wordless(each) for each in schema] if isinstance(schema, list) else schema


def _marks(folder: Path) -> dict[Topic, list[dict[str, str]]]:
    marks: dict[Topic, list[dict[str, str]]] = json.loads((folder / RELEASED).read_text(encoding="utf-8"))
    return marks


def _place(folder: Path, topic: Topic, number: int, newest: int) -> Path:
    return folder / f"{topic}.avsc" if number == newest else folder / "versions" / f"{topic}-{number}.avsc"
