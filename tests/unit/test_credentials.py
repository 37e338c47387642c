"""Credentials: what each client is given, and what is said of a file that is not what it should be."""

import ssl
from pathlib import Path

import faust
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from schemas.errors import ConfigurationError
from streams.credentials import faust_credentials, librdkafka, open_store, page_token, registry_client
from streams.sections import ClickHouse, Kafka, Registry, Web

SECRET = "hunter" + "2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CA, a certificate of its with an encrypted key, and the secret in a file."""
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "us.crt"))
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (tmp_path / "us.key").write_bytes(key)
    (tmp_path / "secret").write_text(f"{SECRET}\r\n")
    return tmp_path


def mutual(folder: Path, **more: str) -> Kafka:
    files = {name: str(folder / file) for name, file in (("ca_file", "ca.pem"), ("key_password_file", "secret"))}
    files |= {"certificate_file": str(folder / "us.crt"), "key_file": str(folder / "us.key")}
    return Kafka.model_validate({"bootstrap": "kafka:1", "security_protocol": "SSL"} | files | more)


def sasl(folder: Path, **more: str) -> Kafka:
    said = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "username": "me"}
    said |= {"password_file": str(folder / "secret"), "ca_file": str(folder / "ca.pem")}
    return Kafka.model_validate({"bootstrap": "kafka:1"} | said | more)


def test_plain_text_is_what_nobody_says() -> None:
    assert librdkafka(Kafka()) == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}
    assert faust_credentials(Kafka()) is None


def test_a_password_goes_to_both_clients_without_its_newline(folder: Path) -> None:
    assert librdkafka(sasl(folder)) == {
        "bootstrap.servers": "kafka:1", "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me", "sasl.password": SECRET, "ssl.ca.location": str(folder / "ca.pem"),
    }  # fmt: skip
    given = faust_credentials(sasl(folder))
    assert isinstance(given, faust.SASLCredentials)
    assert (given.protocol.value, given.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (given.username, given.password) == ("me", SECRET)
    assert given.ssl_context is not None
    assert len(given.ssl_context.get_ca_certs()) == 1
    assert SECRET not in repr(given)


def test_without_tls_a_password_goes_in_plain_text_only_if_that_is_said() -> None:
    said = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": "me", "password": SECRET}
    given = faust_credentials(Kafka.model_validate(said))
    assert isinstance(given, faust.SASLCredentials)
    assert (given.protocol.value, given.ssl_context) == ("SASL_PLAINTEXT", None)


def test_a_certificate_goes_to_both_clients_and_host_names_are_verified(folder: Path) -> None:
    config = librdkafka(mutual(folder))
    assert config["ssl.certificate.location"] == str(folder / "us.crt")
    assert (config["ssl.key.location"], config["ssl.key.password"]) == (str(folder / "us.key"), SECRET)
    assert not {"ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification"} & set(config)
    given = faust_credentials(mutual(folder))
    assert isinstance(given, faust.SSLCredentials)
    assert (given.context.check_hostname, given.context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_the_registry_has_its_own_user_and_ca(folder: Path) -> None:
    registry = Registry(user="me", password_file=str(folder / "secret"), ca_file=str(folder / "ca.pem"))
    assert registry_client(Kafka(schema_registry_url="https://registry", registry=registry)) == {
        "url": "https://registry", "basic.auth.user.info": f"me:{SECRET}", "ssl.ca.location": str(folder / "ca.pem"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "key, content, expected",
    [
        ("password_file", None, "cannot be read: No such file or directory"),
        ("password_file", b"\n", "is empty"),
        ("password_file", b"\xff" + SECRET.encode(), "is not UTF-8"),
        ("ca_file", None, "cannot be read: No such file or directory"),
        ("ca_file", SECRET.encode(), "holds no certificate in PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(
    folder: Path, key: str, content: bytes | None, expected: str
) -> None:
    file = folder / "given"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        librdkafka(sasl(folder, **{key: str(file)}))
    assert str(refused.value) == f"kafka.{key}: {file} {expected}"


@pytest.mark.parametrize("key", ["key_password_file", "key_file", "certificate_file"])
def test_a_key_that_does_not_open_or_fit_is_one_line(folder: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.key_file: .* is not the key of .*, or its pass") as refused:
        librdkafka(mutual(folder, **{key: str(folder / "ca.pem")}))
    assert "\n" not in str(refused.value)


def test_a_key_whose_password_is_missing_is_not_asked_for(folder: Path) -> None:
    kafka = mutual(folder).model_copy(update={"key_password_file": None})
    with pytest.raises(ConfigurationError, match="its password is missing or wrong"):
        faust_credentials(kafka)


def test_a_database_whose_password_file_is_missing_is_not_asked() -> None:
    with pytest.raises(ConfigurationError, match=r"clickhouse\.password_file: nowhere cannot be read: No such file"):
        open_store(ClickHouse.model_validate({"url": "https://localhost:1/x", "password_file": "nowhere"}))


def test_the_pages_token_is_said_or_in_a_file_or_there_is_none(folder: Path) -> None:
    assert page_token(Web()) is None
    assert page_token(Web.model_validate({"token": SECRET})) == SECRET
    assert page_token(Web(token_file=str(folder / "secret"))) == SECRET
    assert SECRET not in repr(Web.model_validate({"token": SECRET}))
    with pytest.raises(ConfigurationError, match=r"web\.token_file: .*none cannot be read"):
        page_token(Web(token_file=str(folder / "none")))
    with pytest.raises(ValueError, match="token and token_file are both given"):
        Web.model_validate({"token": SECRET, "token_file": "secret"})
