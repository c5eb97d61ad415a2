"""The harness itself: what a test may rely on when it asks for a cluster."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.configs import programs
from cluster.layout import Cluster
from cluster.record import Process, processes_in_namespace_of, read_record, sysctls
from cluster.store import cache_root
from harness import Harness, run_tool, tool
from kube import Kube, eventually

pytestmark = pytest.mark.k8s
HERE = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: localhost/python:test
        imagePullPolicy: Never
        command: [python3, -m, http.server, "8080", --directory, /etc]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""


@pytest.fixture
def ours(harness: Harness) -> Harness:
    if not harness.ours:
        pytest.skip("looks into the node of cluster/cluster, and METERPIPE_TEST_KUBECONFIG names another cluster")
    return harness


@pytest.fixture
def web(kube: Kube) -> Kube:
    kube.apply(WEB)
    kube.rollout("web")
    return kube


def test_the_node_is_ready_and_every_program_tells_the_version_that_was_asked_for(ours: Harness) -> None:
    wanted = next(
        line.split()[1]
        for line in (HERE / "cluster/go/kubernetes/go.mod").read_text().splitlines()
        if line.split()[:1] == ["k8s.io/kubernetes"]
    )
    (node,) = ours.kube.get("nodes")["items"]
    conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == wanted
    versions = json.loads(ours.kube.kubectl("version", "-o", "json"))
    assert {versions["clientVersion"]["gitVersion"], versions["serverVersion"]["gitVersion"]} == {wanted}


def test_a_pod_reaches_a_service_by_its_name(web: Kube) -> None:
    def fetch() -> str:
        return web.kubectl("exec", "deploy/web", "--", "curl", "-sS", "-m", "2", "http://web/hostname")

    assert eventually(fetch, lambda body: body.startswith("web-"))


def test_the_machine_reaches_pods_and_services(ours: Harness, web: Kube) -> None:
    service = web.get("service", "web")["spec"]["clusterIP"]
    (pod,) = web.get("pods", "-l", "app=web")["items"]
    for url in (f"http://{service}/hostname", f"http://{pod['status']['podIP']}:8080/hostname"):
        command = ["curl", "-sS", "-m", "5", "--noproxy", "*", url]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("web-")


def test_there_is_no_way_out_of_the_cluster(ours: Harness) -> None:
    command = tool("exec", "ip", "route", "get", "203.0.113.1")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "Network is unreachable" in answer.stderr


def test_an_image_of_own_files_can_be_made_loaded_and_run(ours: Harness, kube: Kube, tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("good morning")
    archive = tmp_path / "greeter.tar"
    added = ("--base", "python", "--add", f"{tmp_path}/greeting:/srv/greeting", "--env", "WHO=pods")
    run_tool("make-image", archive, "localhost/greeter:1", *added, "--entrypoint", "/bin/sh -c")
    ours.load(archive)
    say = "cat /srv/greeting; echo , $WHO"
    kube.kubectl(
        "run", "greeter", "--image=localhost/greeter:1", "--image-pull-policy=Never", "--restart=Never", "--", say
    )
    kube.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/greeter", "--timeout=60s")
    assert kube.kubectl("logs", "greeter") == "good morning, pods\n"


def test_an_image_is_loaded_again_only_when_it_has_changed(ours: Harness, tmp_path: Path) -> None:
    def load(text: str, file: str) -> str:
        (tmp_path / "text").write_text(text)
        run_tool("make-image", tmp_path / file, "localhost/changing:1", "--add", f"{tmp_path}/text:/text")
        return load_again(file)

    def load_again(file: str) -> str:
        command = tool("load-image", tmp_path / file)
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.strip().rpartition(".tar ")[2]

    assert load("one", "a.tar") == "loaded"
    assert load_again("a.tar") == "was there already"
    assert load("two", "b.tar") == "loaded"
    assert load_again("a.tar") == "loaded"


def test_helm_installs_and_removes_a_chart(harness: Harness, kube: Kube, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: note, version: 0.1.0}")
    (tmp_path / "templates" / "note.yaml").write_text(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: note}, data: {text: {{ .Values.text }}}}"
    )
    kube.helm("install", "note", tmp_path, "--set", "text=hello")
    assert kube.get("configmap", "note")["data"] == {"text": "hello"}
    kube.helm("uninstall", "note")
    assert kube.get("configmap", "--field-selector=metadata.name=note")["items"] == []


def test_a_killed_api_server_comes_back_and_pods_do_not_notice(ours: Harness, web: Kube) -> None:
    def containers() -> list[tuple[str, int, str]]:
        (pod,) = web.get("pods", "-l", "app=web")["items"]
        states = pod["status"]["containerStatuses"]
        return [(c["containerID"], c["restartCount"], c["state"]["running"]["startedAt"]) for c in states]

    def apiserver() -> dict[str, int]:
        found: dict[str, int] = json.loads(run_tool("status", "--json"))["programs"]["kube-apiserver"]
        return found

    before, first = containers(), apiserver()
    run_tool("exec", "kill", "-9", str(first["pid"]))
    eventually(apiserver, lambda now: now["starts"] > first["starts"] and now["pid"] is not None)
    eventually(lambda: web.kubectl("get", "--raw", "/readyz"), lambda text: text == "ok")
    assert containers() == before
    web.kubectl("scale", "deployment/web", "--replicas=2")
    web.rollout("web")


def test_writes_to_the_api_are_in_the_audit_log_and_reads_are_not(ours: Harness, kube: Kube) -> None:
    kube.kubectl("create", "configmap", "written", "--from-literal=a=1")
    kube.kubectl("get", "configmap", "written")
    log = Path(json.loads(run_tool("status", "--json"))["logs"]) / "audit.log"

    def events() -> list[str]:
        found = [json.loads(line) for line in log.read_text().splitlines() if kube.namespace in line]
        return [e["verb"] for e in found if e["objectRef"].get("name") == "written"]

    assert eventually(events, bool) == ["create"]


def test_metrics_server_gives_numbers_for_autoscaling(ours: Harness, web: Kube) -> None:
    run_tool("up", "--metrics-server")
    eventually(lambda: web.kubectl("top", "pods"), lambda text: "web-" in text, seconds=120)


@pytest.fixture
def second_cluster() -> Iterator[str]:
    yield "second"
    run_tool("down", name="second")


@pytest.mark.usefixtures("ours")
def test_down_leaves_nothing_behind_even_after_a_crash(second_cluster: str) -> None:
    before = traces(second_cluster)
    crashed = processes_after_up(second_cluster)
    during = traces(second_cluster)
    assert all(during[kind] != before[kind] for kind in ("links", "routes", "cgroups", "files"))

    os.kill(crashed[0].pid, signal.SIGKILL)
    eventually(lambda: [p for p in crashed if p.alive], lambda left: not left)
    stopped = processes_after_up(second_cluster)  # over what the crash left
    run_tool("down", name=second_cluster)
    assert [p for p in stopped if p.alive] == []
    assert traces(second_cluster) == before


def processes_after_up(name: str) -> list[Process]:
    """Bring a cluster up and return its processes, the outermost one first."""
    run_tool("up", name=name)
    record = read_record(cache_root() / "run" / name)
    assert record is not None
    assert record.init is not None
    members = [Process.of(pid) for pid in processes_in_namespace_of(record.init.pid)]
    assert len(members) > len(programs(Cluster(name, record.network, cache_root())))
    return [record.init, *members]


def traces(name: str) -> dict[str, list[str]]:
    """List what a cluster of this name has on the machine, whatever else changes on it meanwhile."""
    state = str(cache_root() / "run" / name)

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return {
        "links": [line for line in lines("ip", "-o", "link") if f"mpk-{name}" in line],
        "routes": [line for line in lines("ip", "route") if f"mpk-{name}" in line],
        "rules": lines("nft", "list", "ruleset"),
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if state in line],
        "cgroups": sorted(map(str, CGROUPS.glob(f"*/meterpipe-{name}"))),
        "files": [state] if Path(state).exists() else [],
        "sysctls": list(sysctls().values()),
    }
