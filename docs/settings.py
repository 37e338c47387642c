"""Every key of the settings: type and default from the models that read them, meaning from the words below a field."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.markdown import Undocumented, put, table, text
from streams.settings import Settings

Schema = dict[str, Any]


def filled(markdown: str) -> str:
    """The page with every section."""
    return put(markdown, "\n\n".join(sections(Settings, (), Settings.model_json_schema(), {})))


# --- sections ------------------------------------------------------------------------------------------------


def sections(model: type[BaseModel], path: tuple[str, ...], schema: Schema, around: Mapping[str, str]) -> Iterator[str]:
    """A section and those within it, as Markdown; `schema` is the model's in JSON.

    Of a section about one of many, such as a marketplace, a key without words means what it does in the section
    `around`. Raises Undocumented.
    """
    models, meant = schema.get("$defs", {}), {**around, **words(model)}
    rows, within, missing = [], [], []
    for name, field in sorted(
        model.model_fields.items(), key=lambda each: each[0] not in vars(model)["__annotations__"]
    ):
        key = field.alias or name
        if (inner := model_in(field.annotation)) is not None:
            within.append((inner, (*path, _step(key, field.annotation))))
        elif name not in meant:
            missing.append(f"{'.'.join(path)}.{key}")
        else:
            kind = kind_of(schema["properties"][key])
            rows.append((f"`{key}`", kind, _default(field), text(meant[name])))
    if missing:
        where = f"its field of {model.__module__}.{model.__name__}"
        raise Undocumented(f'{", ".join(missing)} has no words: write """...""" below {where}')
    if path:
        yield f"## `{_title(path)}`\n\n{text(_about(model))}"
        if rows:
            yield table(("key", "type", "default", "meaning"), rows)
    for inner, there in within:
        known = meant if there[-1].endswith(".NAME") else {}
        yield from sections(inner, there, {**models[inner.__name__], "$defs": models}, known)


def _title(path: tuple[str, ...]) -> str:
    """As it stands in a file."""
    dotted = ".".join(step.removesuffix("[]") for step in path)
    return f"[[{dotted}]]" if path[-1].endswith("[]") else f"[{dotted}]"


def _step(key: str, annotation: Any) -> str:
    origins = {get_origin(annotation), *map(get_origin, get_args(annotation))}
    return f"{key}[]" if tuple in origins else f"{key}.NAME" if dict in origins else key


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a section that a field is, or of the sections that it holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner))), None)


# --- words ---------------------------------------------------------------------------------------------------


def _about(model: type[BaseModel]) -> str:
    """The model's docstring."""
    if not model.__doc__:
        raise Undocumented(f"{model.__name__} has no docstring")
    return " ".join(inspect.cleandoc(model.__doc__).split())


def words(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model and of those that it extends, by the field's name in Python."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= _below_fields(each)
    return found


def _below_fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = below.value if isinstance(below, ast.Expr) else None
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                yield field.target.id, " ".join(said.value.split())


# --- types and defaults --------------------------------------------------------------------------------------


def kind_of(schema: Schema) -> str:
    """What may be said, in words.

    >>> kind_of({"type": "integer", "minimum": 1, "maximum": 9})
    'whole number, 1 to 9'
    >>> kind_of({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]})
    'list of whole number then text'
    """
    if "anyOf" in schema:
        return " or ".join(kind_of(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"])
    match schema.get("type"):
        case "integer" | "number" as number:
            return ("whole number" if number == "integer" else "number") + _bounds(schema)
        case "array":
            each = " then ".join(map(kind_of, schema["prefixItems"])) if "prefixItems" in schema else ""
            return f"list of {each or kind_of(schema.get('items', {}))}"
        case "object":
            return f"{{NAME: {kind_of(schema.get('additionalProperties', {}))}}}"
        case "boolean":
            return "`true` or `false`"
        case "string":
            return "secret" if schema.get("writeOnly") else "text"
    return "anything"


def _bounds(schema: Schema) -> str:
    bounds = {"exclusiveMinimum": "above", "minimum": "at least", "maximum": "at most"}
    if "minimum" in schema and "maximum" in schema:
        return f", {schema['minimum']} to {schema['maximum']}"
    return "".join(f", {words} {schema[name]}" for name, words in bounds.items() if name in schema)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.get_default(call_default_factory=True)
    return "" if value in (None, (), {}) else f"`{json.dumps(value)}`"
