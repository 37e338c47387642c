"""Statements taken apart: where an insert's data begins, and what is no business of a server."""

import pytest

from sink.statement import Refused, parse


@pytest.mark.parametrize(
    "query, body, sql, name, data",
    [
        ("", "INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t ", "Native", "\x01\x02"),
        ("", "insert into t (a, b)\nformat CSV\r\n\n1,2", "insert into t (a, b)\n", "CSV", "\n1,2"),
        ("", "INSERT INTO t FORMAT TSV  1\t2", "INSERT INTO t ", "TSV", "1\t2"),
        ("", "INSERT INTO t VALUES (1, 'FORMAT x')", "INSERT INTO t ", "Values", " (1, 'FORMAT x')"),
        ("", "INSERT INTO format FORMAT CSV\n1", "INSERT INTO format ", "CSV", "1"),
        ("", "INSERT INTO d.values (`format`) FORMAT CSV\n1", "INSERT INTO d.values (`format`) ", "CSV", "1"),
        ("", "/* FORMAT A */ INSERT INTO t -- FORMAT B\n FORMAT C\n1", None, "C", "1"),
        ("INSERT INTO t FORMAT Avro", "Obj\x01; FORMAT CSV\n", "INSERT INTO t ", "Avro", "Obj\x01; FORMAT CSV\n"),
        ("INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT CSV", "1", "INSERT INTO t SETTINGS a = 'FORMAT x' ", "CSV", "1"),
        ("INSERT INTO t", "VALUES (1)", "INSERT INTO t\n", "Values", " (1)"),
        ("INSERT INTO t", "(1)", "INSERT INTO t", None, "(1)"),
        ("INSERT INTO t VALUES (1),", "(2)", "INSERT INTO t ", "Values", " (1),(2)"),
        ("", "INSERT INTO t SELECT 1 FORMAT CSV", "INSERT INTO t SELECT 1 FORMAT CSV", "Null", None),
        ("SELECT 1", "FORMAT JSON", "SELECT 1\nFORMAT JSON", "JSON", None),
        ("", "SELECT 'FORMAT CSV'", "SELECT 'FORMAT CSV'", None, None),
        ("", "SELECT 1 FORMAT CSV SETTINGS max_threads = 1;", None, "CSV", None),
    ],
)
def test_data_begins_behind_the_format(
    query: str, body: str, sql: str | None, name: str | None, data: str | None
) -> None:
    statement = parse(query.encode(), body.encode())
    assert statement.format == name
    assert statement.data == (None if data is None else data.encode())
    assert sql is None or statement.sql == sql.encode()


def test_the_place_of_inserted_data_in_a_select_is_found() -> None:
    statement = parse(b"INSERT INTO t SELECT input, x FROM input('x Int8') WHERE x > 1 FORMAT CSV", b"1")
    assert statement.input_at is not None
    start, end = statement.input_at
    assert statement.sql[start:end] == b"input("
    assert (statement.format, statement.data) == ("CSV", b"1")


@pytest.mark.parametrize(
    "sql, read_only, code",
    [
        ("SELECT 1", True, None),
        ("(SELECT 1)", True, None),
        ("-- a; b\nSELECT ';', `a;b` /* ; INSERT */ ; -- end", True, None),
        ("SELECT 'it''s; INSERT', '\\';'", True, None),
        ("INSERT INTO t VALUES (';')", False, None),
        ("DROP TABLE t", False, None),
        ("DROP TABLE t", True, 164),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", True, 164),
        ("SELECT 1; SELECT 2", False, 62),
        ("SELECT 1 into\n outfile 'x'", False, 48),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", False, 48),
        ("?? what", False, 62),
        ("", False, 62),
    ],
)
def test_only_one_statement_that_a_server_would_take_passes(sql: str, read_only: bool, code: int | None) -> None:
    statement = parse(b"", sql.encode())
    if code is None:
        statement.check(read_only=read_only)
    else:
        with pytest.raises(Refused) as raised:
            statement.check(read_only=read_only)
        assert raised.value.code == code
