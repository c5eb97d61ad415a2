"""requirements.lock: what pyproject.toml asks for, pinned with hashes, and free of addresses."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
RENEW = (
    "renew it: uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --all-extras "
    "pyproject.toml -o requirements.lock"
)


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]


def pinned() -> dict[str, list[Version]]:
    pins: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", LOCK, re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


@pytest.mark.parametrize("text", wanted())
def test_what_the_project_asks_for_is_pinned_within_its_bounds(text: str):
    requirement = Requirement(text)
    versions = pinned().get(canonicalize_name(requirement.name), [])
    assert versions, f"{requirement.name} is not locked; {RENEW}"
    assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), RENEW


def test_every_pin_has_hashes():
    entries = [entry for entry in re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE) if not entry.startswith("#")]
    assert len(entries) == sum(map(len, pinned().values()))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_no_address_and_no_path_of_a_machine_is_in_it():
    assert (
        re.findall(r"https?://\S+|--(?:extra-)?index-url|--find-links|--trusted-host|file:|@ |(?:^|\s)/\w+", LOCK) == []
    )
