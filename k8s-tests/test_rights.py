"""What the ServiceAccounts of operator and workers may do, and what they may not, asked from the API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Harness
from kube import Kube
from pipeline import WORKERS, Pipeline
from release import NAME, NAMESPACE, Release

pytestmark = pytest.mark.k8s
RIGHTS: dict[str, dict[str, list[str]]] = yaml.safe_load((Path(__file__).parent / "rights.yaml").read_text())


def reviews(rules: list[str], user: str, namespace: str) -> Iterator[dict[str, Any]]:
    """A question an action, as SubjectAccessReviews."""
    home = user.split(":")[2]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
    for rule in rules:
        verbs, what = rule.split()
        kind, _, subresource = what.partition("/")
        resource, _, group = kind.partition(".")
        for verb in verbs.split(","):
            attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
            attributes |= {"subresource": subresource} if subresource else {}
            yield {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
            }


def allowed(kube: Kube, rules: list[str], user: str, namespace: str) -> dict[str, bool]:
    """The answers, by `verb resource`."""
    asked = {"apiVersion": "v1", "kind": "List", "items": list(reviews(rules, user, namespace))}
    answer, found = kube.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(asked)).strip(), {}
    while answer:  # one object after the other
        item, end = json.JSONDecoder().raw_decode(answer)
        answer = answer[end:].lstrip()
        about = item["spec"]["resourceAttributes"]
        what = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        found[f"{about['verb']} {what}"] = bool(item["status"]["allowed"])
    return found


def test_the_operator_may_do_what_it_must_and_nothing_else(harness: Harness, city: Pipeline, release: Release) -> None:
    user, rules = f"system:serviceaccount:{NAMESPACE}:{NAME}", RIGHTS["operator"]
    may = allowed(harness.kube, rules["may"], user, city.kube.namespace)
    may_not = allowed(harness.kube, rules["mayNot"], user, city.kube.namespace)
    assert [what for what, yes in may.items() if not yes] == []
    assert [what for what, yes in may_not.items() if yes] == []


@pytest.mark.parametrize("worker", [*WORKERS, "tasks"])
def test_workers_may_ask_nothing_of_the_api_server(harness: Harness, city: Pipeline, worker: str) -> None:
    city.ready()
    account = city.kube.get("serviceaccount", f"city-{worker}")["metadata"]["name"]
    user = f"system:serviceaccount:{city.kube.namespace}:{account}"
    found = allowed(harness.kube, RIGHTS["workers"]["mayNot"], user, city.kube.namespace)
    assert [what for what, yes in found.items() if yes] == []


@pytest.mark.parametrize("worker", WORKERS)
def test_pods_of_workers_have_no_token_no_privilege_and_no_writable_root(city: Pipeline, worker: str) -> None:
    city.ready()
    selector = f"app.kubernetes.io/instance=city,app.kubernetes.io/component={worker}"
    for pod in city.kube.get("pods", "-l", selector)["items"]:
        spec = pod["spec"]
        sources = [source for volume in spec["volumes"] for source in volume.get("projected", {}).get("sources", [])]
        assert not [source for source in sources if "serviceAccountToken" in source]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
