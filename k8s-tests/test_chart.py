"""The chart: what it lets through, what it gives, and that a real API server takes it, anew and as an upgrade."""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Harness
from kube import Kube, KubeError, eventually
from meterpipe.cli.operator import operator
from meterpipe.spec.crd import definition
from meterpipe_operator.kinds import KINDS, Kind

from charts import ALL_ON, CHART, Manifest, helm, leaves, of_kind, rendered, template

OURS = ("image.repository=localhost/meterpipe", "image.tag=test", "image.pullPolicy=Never")
NO_IMAGE = ("image.repository=localhost/absent", "image.pullPolicy=Never")  # an operator that never starts
READ = {"get", "list", "watch"}
OWN = READ | {"create", "patch", "delete"}
CRD = "meterpipelines.meterpipe.io"


@cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return found


@cache
def default_values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return found


def setting(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def closed_objects(place: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the path of each object whose fields the schema names."""
    if "properties" in place:
        yield path
    for name, child in place.get("properties", {}).items():
        yield from closed_objects(child, (*path, name))


class TestValues:
    @pytest.mark.parametrize("words", [(), ("-f", ALL_ON)], ids=["defaults", "all on"])
    def test_helm_finds_nothing_wrong(self, words: tuple[str | Path, ...]) -> None:
        done = helm("lint", "--strict", CHART, *words)
        assert done.returncode == 0, done.stdout

    @pytest.mark.parametrize("path", list(closed_objects(schema())), ids=lambda path: ".".join(path) or "top")
    def test_a_setting_that_does_not_exist_is_refused(self, path: tuple[str, ...]) -> None:
        done = helm("lint", CHART, "--set", ".".join((*path, "notThere=1")))
        assert done.returncode != 0
        assert "additional properties 'notThere' not allowed" in done.stdout + done.stderr

    def test_each_setting_of_the_schema_has_a_default_and_the_other_way_round(self) -> None:
        def known(place: dict[str, Any], values: Any, path: str) -> Iterator[str]:
            names = place.get("properties", {}).keys() - {"global", "group", "claims", "kind"}
            if not names or not isinstance(values, dict) or not values:
                return
            yield from (f"{path}.{name}" for name in names ^ values.keys())
            for name in names & values.keys():
                yield from known(place["properties"][name], values[name], f"{path}.{name}")

        assert list(known(schema(), default_values(), "")) == []

    def test_the_file_with_all_on_leaves_no_switch_off(self) -> None:
        given = dict(leaves(yaml.safe_load(ALL_ON.read_text())))
        off = {path for path, value in leaves(default_values()) if value in (False, [], {}, "")}
        settled = {("image", "tag"), ("serviceAccount", "name")}  # the digest wins; the full name is the default
        above = {path[:depth] for path in given for depth in range(1, len(path) + 1)}
        assert off - settled - above == set()
        assert not [path for path, value in given.items() if value is False]


class TestManifests:
    @pytest.mark.parametrize("words", [(), ("-f", ALL_ON)], ids=["defaults", "all on"])
    def test_every_pod_is_confined(self, words: tuple[str | Path, ...]) -> None:
        manifests = rendered(*words)
        pods = [m["spec"] for m in of_kind(manifests, "Pod")]
        pods += [m["spec"]["template"]["spec"] for m in of_kind(manifests, "Deployment")]
        assert len(pods) == 2
        for pod in pods:
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                security = container["securityContext"]
                assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
                assert "memory" in container["resources"]["limits"]

    def test_there_is_never_a_second_operator(self) -> None:
        (deployment,) = of_kind(rendered(), "Deployment")
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}

    def test_the_definition_is_the_one_the_models_give(self) -> None:
        (crd,) = of_kind(rendered(), "CustomResourceDefinition")
        assert crd["spec"] == definition()["spec"]
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    @pytest.mark.parametrize("words", [(), ("-f", ALL_ON)], ids=["defaults", "all on"])
    def test_the_command_line_of_the_operator_takes_every_argument(self, words: tuple[str | Path, ...]) -> None:
        (deployment,) = of_kind(rendered(*words), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        command, *options = container["args"]
        assert command == operator.name
        given = operator.make_context(command, options).params
        assert given["all_namespaces"] != bool(given["namespaces"])

    def test_the_image_is_named_by_digest_when_one_is_given(self) -> None:
        (deployment,) = of_kind(rendered("-f", ALL_ON), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"registry.example.com/metering/meterpipe@sha256:{'0123456789abcdef' * 4}"
        assert "--image=registry.example.com/metering/meterpipe:0.1.0" in container["args"]
        assert "--pull-secret=registry-of-workers" in container["args"]


class TestRoles:
    def test_the_operator_may_do_with_each_kind_what_it_does_and_no_more(self) -> None:
        (role,) = [r for r in of_kind(rendered(), "ClusterRole") if r["metadata"]["name"] == "system-mp-meterpipe"]
        special = {
            ("meterpipe.io", "meterpipelines"): READ | {"patch"},
            ("meterpipe.io", "meterpipelines/status"): {"patch"},
        }
        wanted = {(kind.group, kind.plural): OWN if kind.owned else READ for kind in KINDS} | special
        assert granted(role) == wanted

    def test_with_namespaces_named_there_are_roles_in_these_alone(self) -> None:
        manifests = rendered("-f", ALL_ON, "--set", "rbac.aggregate=false")
        assert of_kind(manifests, "ClusterRole") == of_kind(manifests, "ClusterRoleBinding") == []
        roles = {role["metadata"]["namespace"]: granted(role) for role in of_kind(manifests, "Role")}
        assert roles.keys() == {"metering-north", "metering-south", "kafka"}
        assert roles["metering-north"] == roles["metering-south"]
        assert roles["kafka"] == {
            (kind.group, kind.plural): _there(kind) for kind in KINDS if kind.external
        }  # fmt: skip
        bound = {b["metadata"]["namespace"]: b["subjects"] for b in of_kind(manifests, "RoleBinding")}
        account = {"kind": "ServiceAccount", "name": "metering-operator", "namespace": "system"}
        assert bound == {namespace: [account] for namespace in roles}


def _there(kind: Kind) -> set[str]:
    """Where only Kafka and Cassandra are, Secrets are read and not written."""
    return OWN if kind.owned and kind.plural != "secrets" else READ


def granted(role: Manifest) -> dict[tuple[str, str], set[str]]:
    """Return the verbs by group and resource; a resource in two rules has those of both."""
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


@pytest.mark.k8s
class TestServer:
    @pytest.fixture
    def strict(self, kube: Kube) -> Kube:
        """A namespace that takes only pods that are confined."""
        kube.kubectl("label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce=restricted")
        return kube

    @pytest.mark.parametrize("words", [(), ("-f", ALL_ON)], ids=["defaults", "all on"])
    def test_the_api_server_takes_all_of_it(
        self, strict: Kube, vendor_kinds: None, words: tuple[str | Path, ...]
    ) -> None:
        here = strict.namespace
        moved = setting(
            f"watch.namespaces={{{here}}}", f"dashboards.namespace={here}", f"dependencies.namespaces={{{here}}}"
        )
        text = template(*words, *(moved if words else []), namespace=here)
        answer = strict.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
            stdin=text,
        )
        assert len(answer.splitlines()) == len(documents(text))
        assert "Warning" not in answer

    def test_pods_of_the_chart_pass_the_restricted_standard(self, strict: Kube) -> None:
        manifests = rendered(*setting(*OURS))
        (deployment,) = of_kind(manifests, "Deployment")
        (probe,) = of_kind(manifests, "Pod")
        spec = deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
        for pod in (spec, probe["spec"]):
            about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": pod}
            strict.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(about))

    def test_an_upgrade_renews_the_definition_and_keeps_certificate_and_pipelines(
        self, kube: Kube, tmp_path: Path
    ) -> None:
        older = shutil.copytree(CHART, tmp_path / "meterpipe")
        _age(older)
        values = (*NO_IMAGE, f"watch.namespaces={{{kube.namespace}}}", "rbac.aggregate=false")
        command: tuple[str | Path, ...] = ("upgrade", "--install", "--take-ownership", "mp")
        kube.helm(*command, older, *setting(*values))
        try:
            kube.apply("{apiVersion: meterpipe.io/v1alpha1, kind: MeterPipeline, metadata: {name: stays}}")
            assert described(kube) == "Older."
            before = kube.get("secret", "mp-meterpipe-webhook")["data"]
            uid = kube.get("meterpipeline", "stays")["metadata"]["uid"]
            kube.helm(*command, CHART, *setting(*values))
            assert eventually(lambda: described(kube), lambda text: text != "Older.")
            assert kube.get("secret", "mp-meterpipe-webhook")["data"] == before
            assert bundle(kube) == before["ca.crt"]
            assert kube.get("meterpipeline", "stays")["metadata"]["uid"] == uid
        finally:
            kube.helm("uninstall", "mp", "--ignore-not-found")
        assert kube.get("meterpipeline", "stays")["metadata"]["uid"] == uid

    def test_a_certificate_near_its_end_is_made_anew_by_an_upgrade(self, kube: Kube) -> None:
        values = (*NO_IMAGE, "crds.install=false", f"watch.namespaces={{{kube.namespace}}}", "rbac.aggregate=false")
        command: tuple[str | Path, ...] = ("upgrade", "--install", "mp", CHART, *setting(*values))
        kube.helm(*command)
        try:
            before = kube.get("secret", "mp-meterpipe-webhook")["data"]
            kube.kubectl("annotate", "--overwrite", "secret/mp-meterpipe-webhook", "meterpipe.io/expires=1700000000")
            kube.helm(*command)
            after = kube.get("secret", "mp-meterpipe-webhook")["data"]
            assert after["tls.crt"] != before["tls.crt"]
            assert bundle(kube) == after["ca.crt"]
        finally:
            kube.helm("uninstall", "mp", "--ignore-not-found")

    def test_helm_test_finds_the_operator_ready_and_its_webhook_at_work(self, harness: Harness, strict: Kube) -> None:
        harness.load("meterpipe")
        values = (*OURS, f"watch.namespaces={{{strict.namespace}}}", "rbac.aggregate=false")
        strict.helm("upgrade", "--install", "--take-ownership", "mp", CHART, *setting(*values), "--wait")
        try:
            strict.helm("test", "mp", "--timeout", "60s")
            wrong = "{apiVersion: meterpipe.io/v1alpha1, kind: MeterPipeline, metadata: {name: wrong}, spec: %s}"
            with pytest.raises(KubeError, match=r"spec\.readings\.timezone.*did you mean Europe/Paris"):
                strict.apply(wrong % "{readings: {timezone: Europe/Pariss}}")
        finally:
            strict.helm("uninstall", "mp", "--wait")


def _age(chart: Path) -> None:
    """Make a chart the release before: a lower version, and a definition that says something else."""
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0", "version: 0.0.9"))
    file = chart / "files" / "meterpipelines.yaml"
    crd = yaml.safe_load(file.read_text())
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "Older."
    file.write_text(json.dumps(crd))


def described(kube: Kube) -> str:
    """Return the description of MeterPipelines that the API server has."""
    return str(kube.get("crd", CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"])


def bundle(kube: Kube) -> str:
    """Return the authority that the API server trusts for the webhook."""
    (webhook,) = kube.get("validatingwebhookconfiguration", f"{kube.namespace}-mp-meterpipe")["webhooks"]
    return str(webhook["clientConfig"]["caBundle"])


def documents(text: str) -> list[Any]:
    """Return the documents of a YAML text that are not empty."""
    return [document for document in yaml.safe_load_all(text) if document]
