"""What an analyst may ask: read our tables, with functions that look at nothing else, within limits.

Place in the flow: `front` has each statement of an analyst admitted here before anything of it reaches the engine.
Pure. The engine itself cannot refuse: chDB has no rights, and its `readonly` lets a query read and write files, call
other servers and stop other queries. So all is refused that is not known to be harmless: the statement is taken apart
by ClickHouse's own rules of words, strings and comments, every function must be on a list, and what goes on is put
together anew, without its comments, of what was looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from sink.statement import Refused, Statement, Terms, parse, quoted

_OURS_ALONE = frozenset(("forgotten_orders", "forgetting"))  # by their salt, ids could be tried out
OTHERS_DATABASE = "default"  # chDB's: it also takes the files of the working folder for tables


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# By the engine's own categories. Not among them: AI, dictionaries, introspection, internals, machine learning.
_CATEGORIES = frozenset(
    (
        *("Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional"),
        *("Dates and Times", "Distance", "Encoding", "Financial", "Geo", "Geo Polygon", "Hash", "IP Address", "JSON"),
        *("Logical", "Map", "Mathematical", "Null", "NumericIndexedVector", "Random Number", "Rounding", "String"),
        *("String Replacement", "String Search", "String Splitting", "Time Series", "Time Window", "Tuple"),
        *("Type Conversion", "URL", "UUID", "Window Functions"),
    )
)
# Of a category that holds all sorts of things.
_OTHERS = _words(
    """bar blockNumber byteSize countDigits currentDatabase currentSchemas currentUser defaultValueOfArgumentType
    defaultValueOfTypeName displayName errorCodeToName finalizeAggregation formatQuery formatQueryOrNull
    formatQuerySingleLine formatQuerySingleLineOrNull formatReadableDecimalSize formatReadableQuantity
    formatReadableSize formatReadableTimeDelta getSetting getSizeOfEnumType getSubcolumn hostName identity ignore
    indexHint initializeAggregation isConstant isDecimalOverflow materialize minSampleSizeContinuous
    minSampleSizeConversion neighbor normalizeQuery normalizedQueryHash parseReadableSize parseReadableSizeOrNull
    parseReadableSizeOrZero parseTimeDelta pgTableIsVisible queryID revision rowNumberInAllBlocks rowNumberInBlock
    runningAccumulate runningDifference runningDifferenceStartingWithFirstValue throwIf toColumnTypeName toTypeName
    transform uptime variantElement variantType version visibleWidth"""
)
_NOT_THESE = frozenset(["chdb"])  # of an allowed category, but of chDB's making
_TABLE_FUNCTIONS = "numbers numbers_mt zeros generateSeries generate_series values view null format"
# What the parser takes for a function although the engine lists none of the name.
_SYNTAX = "date_add dateadd timestamp_add timestampadd date_sub datesub timestamp_sub timestampsub datediff grouping"
_TYPES = """aggregatefunction array bool boolean bfloat16 char date date32 datetime datetime32 datetime64 dec decimal
    decimal32 decimal64 decimal128 decimal256 double dynamic enum enum8 enum16 fixedstring float float32 float64 int
    int8 int16 int32 int64 int128 int256 json lowcardinality map nested nullable numeric simpleaggregatefunction string
    text time time64 timestamp tuple uint8 uint16 uint32 uint64 uint128 uint256 uuid varchar variant"""
_SUFFIXES = ("simplestate", "ordefault", "distinct", "resample", "foreach", "argmax", "argmin", "ornull", "mergestate",
             "tuple", "merge", "state", "array", "null", "map", "if")  # fmt: skip
# Words of SQL that may stand before a parenthesis.
_KEYWORDS = _words(
    """all and anti any apply array as asof ast between by case columns cross cube desc describe distinct div else
    estimate except exists explain fill filter first from full global group having ilike in inner intersect
    interpolate interval is join last left like limit not offset on or order outer over partition pipeline plan
    prewhere qualify query replace right rollup sample select semi set sets settings show step syntax table then
    ties to tree union using when where window with within"""
)

_VERBS = frozenset((b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS"))
_SHOWN = re.compile(
    r"show (?:(?:full|extended) )*(?:tables|databases|columns|fields|index|indexes|indices|keys|functions|settings"
    r"|changed settings|create (?:table|view)|create (?!(?:user|role|quota|row|policy|settings|profile|named)\b))\b"
)
_EXPLAINED = re.compile(
    r"explain (?:(?:ast|syntax|query tree|plan|pipeline|estimate) )?(?:\w+ = \d (?:, )?)*(?:\( )*(?:select|with) "
)
_AFTER_A_SETTING = frozenset(["", ",", ")", ";", "union", "except", "intersect", "format", "settings"])
_NO_FORMATS = frozenset(["arrowtable", "dataframe"])  # chDB's for Python: no bytes come of them
_NEVER = frozenset(["into", "insert", "outfile", "infile", "parallel"])
_SYSTEM_TABLES = _words(
    """aggregate_function_combinators collations columns contributors data_skipping_indices data_type_families
    databases formats functions keywords licenses numbers numbers_mt one settings table_engines table_functions
    tables time_zones view_refreshes zeros"""
)

# Settings that change how an answer looks, or that can only make a query smaller.
_HARMLESS = re.compile(
    r"""output_format_(?!schema|parallel)\w+|format_csv_\w+|format_custom_\w+|format_tsv_\w+|date_time_(?:in|out)put_format
    |bool_(?:true|false)_representation|session_timezone|join_use_nulls|union_default_mode|transform_null_in|extremes
    |group_by_use_nulls|aggregate_functions_null_for_empty|empty_result_for_aggregation_by_empty_set|final|limit|offset
    |prefer_column_name_to_alias|count_distinct_implementation|cast_keep_nullable|result_overflow_mode
    |cast_string_to_(?:dynamic|variant)_use_inference|max_rows_to_read|max_bytes_to_read
    |show_table_uuid_in_table_create_query_if_not_nil|describe_compact_output|network_compression_method"""
    .replace("\n    ", "")
)  # fmt: skip

_TOKEN = re.compile(
    rb"""(?P<space>\s++) | (?P<comment>--[^\n]*+|/\*.*?\*/)
       | (?P<string>'(?:[^'\\]++|\\.)*+') | (?P<name>"[^"\\]*+"|`[^`\\]*+`) | (?P<word>[A-Za-z_]\w*+)
       | (?P<number>\d\w*+(?:\.\d\w*+|\.(?!\w))?) | (?P<mark>[][(){},.;:+*/%=<>!?|^&~-])""",
    re.VERBOSE | re.DOTALL,
)


class Function(NamedTuple):
    """A function as the engine's own list has it."""

    name: str
    alias_to: str
    category: str
    is_aggregate: bool
    is_higher_order: bool


FUNCTIONS = """SELECT name, alias_to, categories AS category, toBool(is_aggregate) AS is_aggregate,
    toBool(ifNull(higher_order, 0)) AS is_higher_order FROM system.functions"""


class _Token(NamedTuple):
    kind: str
    text: str  # of a name what it names; of a word the same in small letters

    @property
    def names(self) -> bool:
        return self.kind in ("word", "name")


class Gate:
    """Admits what analysts may ask. `limits` are settings that a request may lower and not raise; 0 is no limit."""

    def __init__(self, database: str, functions: Iterable[Function], limits: Mapping[str, int]) -> None:
        known = list(functions)
        listed = {one.name for one in known if _is_harmless(one)}
        harmless = listed | {one.name for one in known if one.alias_to in listed}
        extra = f"{_TABLE_FUNCTIONS} {_SYNTAX} {_TYPES}".split()
        self._allowed = {name.lower() for name in [*harmless, *extra]}
        self._aggregates = {one.name.lower() for one in known if one.is_aggregate and one.name in harmless}
        self._refused = {one.name.lower() for one in known} - self._allowed
        self._higher_order = {one.name.lower() for one in known if one.is_higher_order} | {"apply"}
        self._database, self._limits = database, limits

    def admit(self, statement: Statement, terms: Terms) -> tuple[Statement, Terms]:
        """The statement and its terms as they may be run. Raises Refused."""
        if statement.verb not in _VERBS:
            raise _denied("analysts only read: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN and EXISTS")
        clean = b"".join(text for _, text in _taken_apart(statement.sql))
        self._check([_Token(kind, _plain(kind, text)) for kind, text in _taken_apart(clean) if kind != "space"])
        statement = parse(clean, b"")
        if (wanted := statement.format or terms.format or "TSV").lower() in _NO_FORMATS or not wanted.isidentifier():
            raise Refused.by_us(73, "UNKNOWN_FORMAT", f"Unknown format {quoted(wanted)}")
        return statement, self._bounded(terms)

    def _check(self, tokens: list[_Token]) -> None:
        _check_form(" ".join(token.text for token in tokens[:24]) + " ")
        higher = any(token.names and token.text.lower() in self._higher_order for token in tokens)
        for before, token, after in _neighbours(tokens):
            if token.kind == "string" and "." in (before.text, after.text):
                raise _denied("names go in backquotes")
            if not token.names:
                continue
            name = token.text.lower()
            if token.kind == "word" and name in _NEVER:
                raise _denied(f"{name.upper()} is not for analysts")
            if token.kind == "word" and name == "identifier" and before.text == ":":
                raise _denied("a parameter stands for a value, not for a name")
            if name in _OURS_ALONE:
                raise _denied(f"table {name} is not for analysts")
            if name == OTHERS_DATABASE:
                raise _denied(f"database {OTHERS_DATABASE} is not for analysts")
            if after.text == "(" and after.kind == "mark":
                self._check_function(token)
            elif higher and name in self._refused:  # a function may be handed over by its bare name
                raise _denied(f"{quoted(token.text)} beside a function that takes functions is not for analysts")
        _check_settings(tokens)
        _check_tables(tokens)

    def _check_function(self, token: _Token) -> None:
        name = token.text.lower()
        if (token.kind == "word" and name in _KEYWORDS) or name in self._allowed:
            return
        while suffix := next((end for end in _SUFFIXES if name.endswith(end)), None):
            name = name.removesuffix(suffix)
            if name in self._aggregates:
                return
        raise _denied(f"function {quoted(token.text)} is not for analysts")

    def _bounded(self, terms: Terms) -> Terms:
        settings: dict[str, str] = {}
        for name, value in terms.settings.items():
            if name in self._limits:
                settings[name] = str(_lower(value, self._limits[name]))
            elif name == "readonly" and value in ("1", "2"):
                pass  # it is
            elif _HARMLESS.fullmatch(name):
                settings[name] = value
            else:
                raise Refused.by_us(164, "READONLY", f"Cannot modify {quoted(name)} setting in readonly mode")
        database = terms.database
        if database and database.lower() in (OTHERS_DATABASE, "system"):
            if database != OTHERS_DATABASE:
                raise _denied(f"database {database} is not for analysts")
            database = self._database  # what clients say who were told of none
        return replace(terms, settings=settings, database=database)


def _is_harmless(one: Function) -> bool:
    return one.name in _OTHERS or (one.name not in _NOT_THESE and one.category in _CATEGORIES)


def _taken_apart(sql: bytes) -> Iterator[tuple[str, bytes]]:
    """Kinds and texts that make up the statement, a comment as the space that it is. Raises Refused for what is odd."""
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None or found.lastgroup is None or (found[0] == b"/" and sql[at : at + 2] == b"/*"):
            odd = sql[at : at + 1].decode("ascii", "backslashreplace")
            raise Refused.by_us(62, "SYNTAX_ERROR", f"Syntax error: {quoted(odd)} at byte {at} is not for analysts")
        at = found.end()
        yield ("space", b" ") if found.lastgroup == "comment" else (found.lastgroup, found[0])


def _plain(kind: str, text: bytes) -> str:
    plain = text.decode("utf-8", "replace")
    return plain[1:-1] if kind == "name" else plain.lower() if kind == "word" else plain


def _neighbours(tokens: list[_Token]) -> Iterator[tuple[_Token, _Token, _Token]]:
    nothing = _Token("mark", "")
    return zip([nothing, *tokens], tokens, [*tokens[1:], nothing], strict=False)


def _check_form(start: str) -> None:
    """What SHOW shows and EXPLAIN explains; both are words of many meanings."""
    start = start.lstrip("( ")
    if start.startswith("show ") and not _SHOWN.match(start):
        raise _denied("SHOW shows analysts tables, databases, columns, functions and settings")
    if start.startswith("explain ") and not _EXPLAINED.match(start):
        raise _denied("EXPLAIN explains analysts a SELECT")


def _check_settings(tokens: list[_Token]) -> None:
    """What a statement sets itself: `name = value`, or a name alone, which is then true."""
    depth, since = 0, None  # in parentheses; where that is of the outermost SETTINGS
    for before, token, after in _neighbours(tokens):
        name = token.text.lower()
        if token.kind == "mark":
            depth += {"(": 1, ")": -1}.get(name, 0)
            since = None if since is None or depth < since else since  # its SELECT ended
        elif token.kind == "word" and name == "settings" and before.text != ".":
            since = depth if since is None else since
        elif since is not None and token.names and not _HARMLESS.fullmatch(name):
            alone = before.text in ("settings", ",") and after.text in _AFTER_A_SETTING
            if alone or (after.text == "=" and after.kind == "mark"):
                raise Refused.by_us(164, "READONLY", f"Cannot modify {quoted(token.text)} setting in readonly mode")


def _check_tables(tokens: list[_Token]) -> None:
    for first, dot, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if first.names and first.text.lower() == "system" and dot.text == "." and second.text not in _SYSTEM_TABLES:
            raise _denied(f"table system.{second.text} is not for analysts")


def _lower(asked: str, limit: int) -> int:
    try:
        number = int(float(asked))
    except (ValueError, OverflowError):
        raise Refused.by_us(72, "CANNOT_PARSE_NUMBER", f"{quoted(asked)} is no limit") from None
    return min(number, limit) if number > 0 else limit


def _denied(message: str) -> Refused:
    return Refused.by_us(497, "ACCESS_DENIED", message[:1].upper() + message[1:])
