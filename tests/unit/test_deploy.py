"""The Compose file, the image and the pins, held against the rules that keep them safe and repeatable."""

import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
EXACT_TAG = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$")
REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")

every_service = pytest.mark.parametrize("name", SERVICES)


def waits_for(name: str, condition: str) -> set[str]:
    awaited = SERVICES[name].get("depends_on", {})
    return {other for other, how in awaited.items() if how["condition"] == condition}


def is_one_shot(name: str) -> bool:
    return any(name in waits_for(other, "service_completed_successfully") for other in SERVICES)


def test_compose_file_keeps_to_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(COMPOSE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_service
def test_service_tells_its_health_or_ends(name: str) -> None:
    if is_one_shot(name):
        assert SERVICES[name]["restart"] == "no"
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@every_service
def test_service_waits_only_for_health_that_is_told(name: str) -> None:
    assert all("healthcheck" in SERVICES[other] for other in waits_for(name, "service_healthy"))


@every_service
def test_image_is_pinned_to_a_release(name: str) -> None:
    assert EXACT_TAG.fullmatch(SERVICES[name]["image"])


@every_service
def test_ports_are_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@every_service
def test_secrets_come_from_outside_and_have_no_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key):
            assert REQUIRED.fullmatch(value), key
        if inside := re.search(r"://[^:/@]*:([^/@]*)@", str(value)):
            assert REQUIRED.fullmatch(inside[1]), key


@every_service
def test_service_gains_no_privileges(name: str) -> None:
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def test_image_builds_on_a_pinned_release_and_runs_as_nobody_special() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert all(EXACT_TAG.fullmatch(base) for base in bases)
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] != "root"


def test_compose_and_the_broker_without_containers_are_one_kafka() -> None:
    jars = ET.parse(ROOT / "deploy" / "kafka" / "pom.xml").getroot()  # noqa: S314  our own file
    versions = {jar.findtext("artifactId"): jar.findtext("version") for jar in jars.iter("dependency")}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{versions['kafka_2.13']}"


def test_every_dependency_has_one_exact_pin_and_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = sum(project["optional-dependencies"].values(), project["dependencies"])
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", pin) for pin in pins)
    pinned = {pin.split("==")[0] for pin in pins}
    assert {re.split(r"[\[<>=~!;]", one)[0].strip() for one in asked} <= pinned
