"""An SQL statement taken apart no further than serving it needs (verb, format, an insert's data), and its terms.

Place in the flow: what `front` was sent becomes what `lanes` runs. Pure; the judge of SQL is the engine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

READS = frozenset(b"SELECT WITH FROM SHOW DESCRIBE DESC EXISTS EXPLAIN CHECK".split())

_TOKEN = re.compile(
    rb"""(?P<skip>\s++|--[^\n]*+|/\*.*?\*/)
       | (?P<text>'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"|`(?:[^`\\]++|\\.)*+`)
       | (?P<word>[A-Za-z_]\w*+)
       | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_VERB = re.compile(rb"(?:\s|--[^\n]*+|/\*.*?\*/|\()*+([A-Za-z]+)", re.DOTALL)
_QUIET = rb"""'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"|`(?:[^`\\]++|\\.)*+`|--[^\n]*+|/\*.*?\*/"""
_SUSPECT = re.compile(
    _QUIET + rb"|(?P<end>;)|\b(?:(?P<file>INTO\s+OUTFILE|FROM\s+INFILE)|(?P<write>INSERT))\b",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING = re.compile(rb"(?:\s|;|--[^\n]*+|/\*.*?\*/)*+\Z", re.DOTALL)
_GOES_ON = re.compile(rb"\s*(?:FORMAT|VALUES|SELECT|WITH|SETTINGS)\b", re.IGNORECASE)
_FORMAT_NAME = re.compile(rb"\s+(\w+)[ \t\f]*\r?\n?")
# Not one in a string: from there on the quotes that are left are odd in number.
_ASKED_FORMAT = re.compile(rb"""\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b(?:[^'"`\\]|'[^'\\]*+')*+)?;?\s*\Z""", re.IGNORECASE)
_TAIL = 4096  # bytes at the end of a statement, where a FORMAT is looked for
_BEFORE_A_NAME = (b"INTO", b"TABLE", b"FUNCTION", b".")
_ERROR = re.compile(r"(?:std::exception\. )?Code: (\d+)")


class Refused(Exception):
    """A statement that was not done: ClickHouse's number for the reason, and its message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def by_us(cls, code: int, name: str, message: str) -> "Refused":
        """A refusal of ours in the words that ClickHouse's clients look for."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")

    @classmethod
    def by_engine(cls, error: Exception) -> "Refused":
        """The engine's exception without what the layers above it put before it."""
        text = str(error)
        found = _ERROR.search(text)
        if found is None:
            return cls.by_us(1002, "UNKNOWN_EXCEPTION", text)
        return cls(int(found[1]), text[found.start() :].strip())


@dataclass(frozen=True)
class Statement:
    """A statement taken apart as far as needed; `data` is None unless it is an insert of data."""

    sql: bytes  # without an insert's FORMAT and data
    verb: bytes  # the first keyword, in capitals
    format: str | None = None
    data: bytes | None = None
    input_at: tuple[int, int] | None = None  # where "input(" stands in an INSERT ... SELECT of the data

    def check(self, *, read_only: bool) -> None:
        """Refuse what a server would not do: several statements at once, its own files, writing when reading.

        chDB takes them, being a command line at heart; what begins with "??" it would even send to a service
        on the network.
        """
        if not self.verb:
            raise Refused.by_us(62, "SYNTAX_ERROR", "Syntax error: a statement begins with a keyword")
        writes = self.verb not in READS
        for found in _SUSPECT.finditer(self.sql):
            if found["end"] and not _NOTHING.match(self.sql, found.end()):
                raise Refused.by_us(62, "SYNTAX_ERROR", "Syntax error: multi-statements are not allowed")
            if found["file"]:
                raise Refused.by_us(48, "NOT_IMPLEMENTED", "No files of the server for a client")
            writes = writes or found["write"] is not None
        if read_only and writes:
            message = "Cannot execute query in readonly mode: GET only reads, use POST"
            raise Refused.by_us(164, "READONLY", message)

    def into(self, file: str) -> bytes:
        """The statement with its result going to a file of the server's."""
        sql = self.sql.rstrip(b"; \t\r\n")
        start = max(len(sql) - _TAIL, 0)
        found = _ASKED_FORMAT.search(sql[start:])
        at = start + found.start() if found else len(sql)
        return b"%b INTO OUTFILE %b TRUNCATE %b" % (sql[:at], quoted(file).encode(), sql[at:])


@dataclass(frozen=True)
class Session:
    """What a request says of the session it belongs to."""

    name: str
    timeout_s: float = 60
    must_exist: bool = False


@dataclass(frozen=True)
class Terms:
    """What a request says besides its statement."""

    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    database: str | None = None
    format: str | None = None  # of a statement that names none
    whole: bool = False  # the statement must have ended before the answer begins
    session: Session | None = None


def parse(query: bytes, body: bytes) -> Statement:
    """The statement of a request: it may begin in the URL and go on in the body, as an insert's data does."""
    found = _VERB.match(query or body)
    verb = found[1].upper() if found else b""
    if verb != b"INSERT":
        sql = query + b"\n" + body if query and body else query or body
        asked = _ASKED_FORMAT.search(sql[-_TAIL:])
        return Statement(sql, verb, asked[1].decode() if asked else None)
    if not query:
        return _parse_insert(body)
    insert = _parse_insert(query)
    if not body:
        return insert
    if insert.data is not None:
        return replace(insert, data=insert.data + body if insert.data else body)
    if insert.format is None and not _GOES_ON.match(body):
        return replace(insert, data=body)
    return _parse_insert(query + b"\n" + body)


def _parse_insert(text: bytes) -> Statement:
    """Find where the data begins, which can be anything at all: no token may be looked for behind that."""
    depth, selects, previous = 0, False, b""
    input_start, input_at = 0, None
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "skip":
            continue
        word = token[0].upper() if token.lastgroup == "word" else token[0]
        if word == b"(":
            depth += 1
            input_at = (input_start, token.end()) if previous == b"INPUT" else input_at
        elif word == b")":
            depth -= 1
        elif word == b"INPUT":
            input_start = token.start()
        elif depth == 0 and token.lastgroup == "word" and previous not in _BEFORE_A_NAME:
            selects = selects or word in (b"SELECT", b"WITH")
            if word == b"VALUES" and not selects:
                return Statement(text[: token.start()], b"INSERT", "Values", text[token.end() :])
            name = _FORMAT_NAME.match(text, token.end()) if word == b"FORMAT" else None
            if name and (input_at or not selects):
                start = text[: token.start()]
                return Statement(start, b"INSERT", name[1].decode(), text[name.end() :], input_at)
        previous = word
    return Statement(text, b"INSERT", "Null" if selects else None)


def quoted(value: str) -> str:
    """The value as an SQL string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
