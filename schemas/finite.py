"""Whether every record of a schema ends: what a stranger's schema must be held against before a record is read by it.

fastavro follows a schema that contains itself as deep as a record's bytes say, past the end of the stack, which no
exception tells; and items that take no bytes as often as a record says, which may be for ever.
"""

from typing import Any


def least_bytes(schema: Any, known: dict[str, int | None] | None = None) -> int:
    """The fewest bytes that a value takes, of a schema as `fastavro.parse_schema` gives it.

    Raises ValueError for a schema that contains itself, or repeats what takes no bytes. `known`: of named ones so far.
    """
    known = {} if known is None else known
    if isinstance(schema, str):
        least = known.get(schema, 0 if schema == "null" else 1)
        if least is None:
            raise ValueError(f"{schema} contains itself")
        return least
    if isinstance(schema, list):
        for branch in schema:
            least_bytes(branch, known)
        return 1
    kind = schema["type"]
    if kind in ("record", "error"):
        known[schema["name"]] = None
        known[schema["name"]] = least = sum(least_bytes(field["type"], known) for field in schema["fields"])
        return least
    if kind == "array" and not least_bytes(schema["items"], known):
        raise ValueError("an array of nothing")
    if kind == "map":
        least_bytes(schema["values"], known)
    if kind in ("fixed", "enum"):
        known[schema["name"]] = least = int(schema["size"]) if kind == "fixed" else 1
        return least
    return 1 if kind in ("array", "map") else least_bytes(kind, known)
