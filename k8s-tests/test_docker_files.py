"""The files for users with Docker, each read by the program it is for: kind, skaffold, BuildKit, GitHub's actions."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster import images, layers, project
from cluster.dockerfile import instructions, read
from cluster.errors import ClusterError
from cluster.shell import run
from vendor_crds import module_folder

ROOT = Path(__file__).parent.parent
VENDORS = Path(__file__).parent / "vendors"
KIND = "sigs.k8s.io/kind@v0.30.0"
SKAFFOLD = "github.com/GoogleContainerTools/skaffold/v2@v2.16.1"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yaml"
NAME = "meterpipe"


def load_by_kind(config: Path, work: Path) -> list[str]:
    """Have kind's own package load a configuration; it gives the cluster's name and its nodes' roles."""
    module = work / "kind"
    run("cp", "-R", module_folder(KIND), module)
    run("chmod", "-R", "u+w", module)  # Go keeps modules read-only
    folder = module / "pkg" / "load"  # below pkg/, for its internal packages
    folder.mkdir()
    shutil.copy(VENDORS / "kind" / "main.go", folder)
    return run("go", "run", "./pkg/load", config, cwd=module).split()


def skaffold_problems(config: dict[str, Any]) -> list[str]:
    version = config["apiVersion"].partition("/")[2]
    file = module_folder(SKAFFOLD) / "docs-v2" / "content" / "en" / "schemas" / f"{version}.json"
    checker = jsonschema.Draft7Validator(json.loads(file.read_text()))
    return [f"{problem.json_path}: {problem.message}" for problem in checker.iter_errors(config)]


def test_kind_loads_its_configuration(tmp_path: Path) -> None:
    assert load_by_kind(ROOT / "kind-config.yaml", tmp_path) == [NAME, "control-plane"]


def test_kind_would_refuse_a_wrong_configuration(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((ROOT / "kind-config.yaml").read_text() + "nodez: []\n")
    with pytest.raises(ClusterError, match="nodez"):
        load_by_kind(wrong, tmp_path)


def test_skaffold_takes_its_configuration() -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    assert skaffold_problems(config) == []
    assert skaffold_problems(config | {"bild": {}}) != []


def test_what_skaffold_names_is_there() -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    (release,) = config["deploy"]["helm"]["releases"]
    assert (ROOT / release["chartPath"] / "Chart.yaml").is_file()
    values = yaml.safe_load((ROOT / release["chartPath"] / "values.yaml").read_text())
    for name in release["setValueTemplates"]:
        section, field = name.split(".")
        assert field in values[section]
    for profile in config["profiles"]:
        for path in profile["manifests"]["kustomize"]["paths"]:
            assert (ROOT / path / "kustomization.yaml").is_file()
    (artifact,) = config["build"]["artifacts"]
    assert (ROOT / artifact["docker"]["dockerfile"]).is_file()


def test_buildkit_reads_the_dockerfile_without_a_warning() -> None:
    stages = run("go", "run", ".", ROOT / "Dockerfile", cwd=VENDORS / "dockerfile").splitlines()
    assert [stage.split()[0] for stage in stages] == ["debian:${DEBIAN}-slim", "base", "base"]


def test_the_image_without_docker_is_made_of_what_the_dockerfile_says() -> None:
    contents = read(ROOT / "Dockerfile")
    assert contents.suite == layers.SUITE
    assert contents.config == images.RECIPES[NAME].config
    assert contents.config.user == images.USER
    assert {ROOT / name for name in contents.sources} == {*project.SOURCES, project.LOCK}
    assert all(path.exists() for path in project.SOURCES)


def test_docker_is_given_each_file_that_is_copied_and_no_other() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_in == set(read(ROOT / "Dockerfile").sources)


def test_an_instruction_that_the_other_way_of_making_the_image_does_not_know_is_an_error() -> None:
    assert instructions("# a\nFROM a AS \\\n  b\nUSER 1\n") == [("FROM", "a AS    b"), ("USER", "1")]
    with pytest.raises(ClusterError, match="VOLUME"):
        instructions("FROM a\nVOLUME /data\n")


def test_the_workflow_is_one_that_github_takes() -> None:
    run("go", "run", ACTIONLINT, "-shellcheck=", WORKFLOW, cwd=ROOT)


def test_the_workflow_uses_the_release_of_kind_that_loads_its_configuration_here() -> None:
    assert KIND in WORKFLOW.read_text()


def test_the_tests_on_kind_get_every_image_that_tests_load(tmp_path: Path) -> None:
    """With programs in place of docker, kind and the others that only note how they are called."""
    called = tmp_path / "called"
    checkout = tmp_path / "checkout"
    (checkout / "k8s-tests" / "cluster").mkdir(parents=True)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(Path(__file__).parent / "on-kind", checkout / "k8s-tests")
    places = [tmp_path / "bin" / "docker", tmp_path / "bin" / "kind", checkout / "meterpipe"]
    for place in (*places, checkout / ".venv" / "bin" / "python", checkout / ".venv" / "bin" / "pytest"):
        place.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >>{called}\necho "made-${{3:-}}"\n')
        place.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    subprocess.run([checkout / "k8s-tests" / "on-kind", "-k", "chart"], env=environment, check=True)
    lines = called.read_text().splitlines()
    assert lines[-1] == "pytest k8s-tests -k chart"
    assert f"kind load docker-image --name {NAME} {images.reference(NAME)}" in lines
    loaded = {line.rpartition(" made-")[2] for line in lines if line.startswith("kind load image-archive")}
    assert loaded == images.RECIPES.keys() - {NAME, *images.NODE_IMAGES, "metrics-server"}
