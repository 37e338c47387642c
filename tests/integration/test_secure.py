"""Secure connections on a real broker, by password and by certificate, with database and registry behind TLS too.

Secrets are planted in the settings; nothing that a command says, logs or is called by may hold one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.integration.program import Program, run, serving, wait_until
from tests.integration.secured import (
    SECRETS,
    USER,
    Certificates,
    RegistryServer,
    Secured,
    let_in,
    secure_broker,
    shut_out,
    tls_front,
)

EVENTS = 2_000
WAYS = ["PLAIN", "SCRAM-SHA-512", "certificate"]
COMMANDS = [("topics", "check"), ("ingest", "events.jsonl"), ("worker",), ("status",)]

Settings = dict[str, str]


@pytest.fixture(scope="module")
def secured(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """All servers, with topics, and a file of events in their folder."""
    del kafka_jars
    folder = tmp_path_factory.mktemp("secured")
    files = Certificates(folder)
    broker = secure_broker(folder, files)
    with ExitStack() as stack:
        stack.callback(broker.stop)
        broker.start()
        let_in(broker, USER, SECRETS["password"])
        database = stack.enter_context(serving(folder, "--password-file", files["database"]))
        front = stack.enter_context(tls_front(database.port, files.served(mutual=True)))
        registry = stack.enter_context(RegistryServer(files.served(mutual=False)))
        found = Secured(files, broker, database, front, registry.url)
        _said(found, found.sasl("SCRAM-SHA-256"), "topics", "create")
        words = ["--sellers", "5", "--days", "30", "--events", str(EVENTS), "-o", "events.jsonl"]
        _said(found, {}, "simulate", *words)
        yield found


def _run(secured: Secured, settings: Settings, *words: str) -> CompletedProcess[str]:
    """A command to its end, which has said no secret."""
    done = run(secured.files.folder, *words, within_s=90, **settings)
    _assert_no_secret(done.stdout, done.stderr)
    return done


def _said(secured: Secured, settings: Settings, *words: str) -> str:
    """What a command says that must end well."""
    done = _run(secured, settings, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert not [name for name, secret in SECRETS.items() if secret in text or json.dumps(secret)[1:-1] in text]


def _settings(secured: Secured, way: str, group: str = "") -> Settings:
    into_kafka = secured.mutual() if way == "certificate" else secured.sasl(way)
    group = group or way.lower().replace("-", "_")
    return into_kafka | secured.rest(f"by_{group}") | {"KAFKA__GROUP": group}


# --- let in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_events_go_through_kafka_to_the_database_and_no_secret_is_seen(secured: Secured, way: str) -> None:
    settings = _settings(secured, way)
    assert f"{EVENTS:,} events accepted, 0 records refused" in _said(secured, settings, "ingest", "events.jsonl")
    with Program(secured.files.folder, "worker", **settings) as worker:
        _drain(secured, settings, worker)
        processes = _processes()
        assert "sellerpulse worker" in processes
        query = "SELECT count() AS rejected, (SELECT count() FROM order_events) AS orders FROM rejected_events"
        found = json.loads(_said(secured, settings, "sql", query, "--format", "JSONEachRow"))
        assert worker.stop() == 0
        assert found["rejected"] == 0
        assert found["orders"] > EVENTS / 4
        _assert_no_secret(worker.log(), processes)


def _drain(secured: Secured, settings: Settings, worker: Program) -> None:
    """Wait until the one worker has nothing left to do."""

    def drained() -> bool:
        found = json.loads(_run(secured, settings, "status", "--format", "json").stdout)
        return bool(found["healthy"] and found["kafka"]["workers"] == 1 and not any(found["kafka"]["lag"].values()))

    wait_until(drained, 120, "all is well, nothing left to do", worker)


def _processes() -> str:
    """What `ps` shows of everybody."""
    found = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(words.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


# --- not let in ----------------------------------------------------------------------------------------------


def test_a_wrong_password_an_untrusted_certificate_and_a_wrong_port_are_one_line_each(secured: Secured) -> None:
    right, files = _settings(secured, "SCRAM-SHA-512"), secured.files
    address, plain_text = right["KAFKA__BOOTSTRAP"], secured.broker.bootstrap
    wrong = {
        f"Kafka at {address} does not let us in: ": {"KAFKA__PASSWORD_FILE": files["key"]},
        f"Kafka at {address} has a certificate that kafka": {"KAFKA__CA_FILE": files["other-ca.pem"]},
        f"Kafka at {plain_text} speaks no TLS": {"KAFKA__BOOTSTRAP": plain_text},
    }  # fmt: skip
    with ThreadPoolExecutor(4) as pool:  # each waits most of its time
        told = [
            (said, words, pool.submit(_run, secured, right | change, *words))
            for said, change in wrong.items()
            for words in COMMANDS
        ]
    for said, words, done in told:
        result = done.result()
        lines = result.stderr.splitlines()
        if words == ("status",):  # which tells of the database too, whether there is one or not
            lines += [line for line in result.stdout.splitlines() if re.match("WRONG +Kafka at", line)]
        assert (result.returncode, len(lines)) == (1, 1), (words, result)
        assert said in lines[0]


def test_other_ways_of_not_getting_in_are_one_line_each(secured: Secured) -> None:
    sasl, mutual = secured.sasl("PLAIN"), secured.mutual()
    elsewhere = sasl["KAFKA__BOOTSTRAP"].replace("127.0.0.1", "localhost")
    no_certificate = {name: mutual[name] for name in ("KAFKA__BOOTSTRAP", "KAFKA__SECURITY_PROTOCOL", "KAFKA__CA_FILE")}
    wrong: dict[str, tuple[int, Settings]] = {
        "or of another host": (1, sasl | {"KAFKA__BOOTSTRAP": elsewhere}),
        "does not let us in: ": (1, sasl | {"KAFKA__PASSWORD_FILE": secured.files["registry"]}),
        "breaks TLS off": (1, no_certificate),
        "hangs up on us": (1, {"KAFKA__BOOTSTRAP": sasl["KAFKA__BOOTSTRAP"]}),
        "or its password is missing or wrong": (2, mutual | {"KAFKA__KEY_PASSWORD": "another"}),
        "kafka.password_file: nowhere cannot be read: No such file": (2, sasl | {"KAFKA__PASSWORD_FILE": "nowhere"}),
    }
    _assert_each_is_one_line(secured, {said: (("topics", "check"), *rest) for said, rest in wrong.items()})


def test_a_database_or_registry_that_is_not_trusted_or_does_not_trust_us_is_one_line_each(secured: Secured) -> None:
    files, right = secured.files, _settings(secured, "PLAIN")
    no_certificate = {n: v for n, v in right.items() if not n.startswith(("CLICKHOUSE__CERT", "CLICKHOUSE__KEY"))}
    in_plain_text = secured.database.url("by_plain").replace("http:", "https:")
    other_ca = files["other-ca.pem"]
    ask, feed = ("sql", "SELECT 1"), ("ingest", "events.jsonl")
    wrong: dict[str, tuple[tuple[str, ...], int, Settings]] = {
        "/by_plain cannot be used: its certificate is not trusted": (ask, 1, right | {"CLICKHOUSE__CA_FILE": other_ca}),
        "/by_plain: wrong user or password": (ask, 2, right | {"CLICKHOUSE__PASSWORD": "another"}),
        "TLS failed: the other side speaks none": (ask, 1, right | {"CLICKHOUSE__URL": in_plain_text}),
        f"https://127.0.0.1:{secured.front}/by_plain cannot be used: ": (ask, 1, no_certificate),
        "Schema Registry: its certificate is not trusted": (feed, 1, right | {"KAFKA__REGISTRY__CA_FILE": other_ca}),
        "Schema Registry: wrong user or password": (feed, 1, right | {"KAFKA__REGISTRY__PASSWORD_FILE": files["key"]}),
    }
    _assert_each_is_one_line(secured, wrong)


def _assert_each_is_one_line(secured: Secured, wrong: Mapping[str, tuple[tuple[str, ...], int, Settings]]) -> None:
    """By what is said: the command, its exit code, its settings."""
    with ThreadPoolExecutor(4) as pool:
        told = {said: pool.submit(_run, secured, settings, *words) for said, (words, _, settings) in wrong.items()}
    for said, done in told.items():
        result = done.result()
        assert (result.returncode, result.stderr.count("\n")) == (wrong[said][1], 1), result.stderr
        assert said in result.stderr


def test_a_worker_that_is_shut_out_while_it_runs_says_so_and_goes_on_when_it_is_let_in(secured: Secured) -> None:
    broker, leaver = secured.broker, "leaver"
    let_in(broker, leaver, SECRETS["password"])
    settings = _settings(secured, "SCRAM-SHA-512", leaver) | {"KAFKA__USERNAME": leaver}
    with Program(secured.files.folder, "worker", **settings) as worker:
        wait_until(lambda: "partitions [" in worker.log(), 60, "a worker at work", worker)
        shut_out(broker, leaver)
        broker.kill()  # until it connects anew nobody asks who it is
        broker.start()
        wait_until(lambda: "SaslAuthenticationFailed" in worker.log(), 60, "a word of it", worker)
        let_in(broker, leaver, SECRETS["password"])
        _said(secured, settings, "ingest", "events.jsonl")
        _drain(secured, settings, worker)
        assert worker.log().count("SaslAuthenticationFailed") < 5
        assert worker.stop() == 0
        _assert_no_secret(worker.log())
