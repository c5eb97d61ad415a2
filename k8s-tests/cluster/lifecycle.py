"""Bringing a cluster up, loading images into it, and taking it down without a trace."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cluster import configs, node, pki, preflight
from cluster.archive import own_layout, references, write_missing
from cluster.errors import ClusterError
from cluster.layout import Cluster, free_network
from cluster.programs import HERE, KUBERNETES_LINKS
from cluster.record import (
    Process,
    Record,
    processes_in_namespace_of,
    read_record,
    restore,
    sysctls,
)
from cluster.shell import run, say, succeeds, wait_for

CGROUPS = Path("/sys/fs/cgroup")
LOADED = "loaded.json"
CTR = ("ctr", "--address", str(configs.CONTAINERD))


def find(states: Path, name: str) -> tuple[Cluster, Process]:
    """Return a running cluster and its process 1; raise ClusterError when it is not up."""
    state = states / name
    record = read_record(state)
    if record is None or record.init is None or not record.init.alive:
        raise ClusterError(f"cluster {name} is not up", "`cluster up`")
    return Cluster(record.name, record.network, state), record.init


def up(states: Path, name: str, programs: dict[str, Path], images: Sequence[Path]) -> Cluster:
    """Start a cluster and wait until its node is Ready. ``programs``: program to path; ``images``: to load first.

    What an earlier, dead cluster of this name left behind is taken away first.
    """
    preflight.check()
    if read_record(states / name):
        down(states, name, keep_images=True)
    network = free_network(run("ip", "route"))
    cluster = Cluster(name, network, states / name)
    for folder in (cluster.logs, cluster.bin, cluster.state / "etcd", cluster.state / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    cluster.state.chmod(0o700)
    others = _others(states, name)
    record = Record(name, network, sysctls=others[0].sysctls if others else sysctls())
    record.save(cluster.state)
    try:
        _start(cluster, record, programs, images)
    except (ClusterError, KeyboardInterrupt):
        _show_end_of_logs(cluster)
        raise
    return cluster


def _start(cluster: Cluster, record: Record, programs: dict[str, Path], images: Sequence[Path]) -> None:
    for path, text in configs.files(cluster).items():
        path.write_text(text)
    pki.create(cluster)
    _link_programs(cluster, programs)
    _create_cgroups(cluster)
    say("certificates and configuration written")
    init = _enter_namespaces(cluster, record)
    _connect(cluster, init)
    say(f"node started, network {cluster.network}.0.0/16")
    hint = f"read the logs in {cluster.logs}"
    wait_for("containerd answers", lambda: _containerd_answers(init), 60, hint)
    for image in images:
        load_image(cluster, init, image)
    say("containerd up, its first images loaded")
    kubectl = kubectl_of(cluster)
    wait_for("API server is ready", lambda: succeeds(*kubectl, "get", "--raw", "/readyz"), 120, hint)
    say("API server ready")
    addon = (HERE / "addons" / "coredns.yaml").read_text().replace("@DNS@", cluster.dns_ip)
    run(*kubectl, "apply", "-f", "-", stdin=addon)
    wait_for("node registers", lambda: succeeds(*kubectl, "get", "node", cluster.node), 60, hint)
    run(*kubectl, "wait", "--for=condition=Ready", f"node/{cluster.node}", "--timeout=60s", hint=hint)
    say(f"node {cluster.node} Ready")
    run(*kubectl, "-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=90s", hint=hint)
    say("DNS Ready")


def down(states: Path, name: str, keep_images: bool = False) -> bool:
    """Take a cluster down with all it made: processes, mounts, links, rules, cgroups, sysctls, files.

    ``keep_images`` leaves containerd's files: the next `up` need not load and unpack images again. Returns False
    when no cluster was recorded. Works on a half-started or crashed cluster too.
    """
    state = states / name
    record = read_record(state)
    if record is None:
        _remove_files(state, keep_images)
        return False
    cluster = Cluster(record.name, record.network, state)
    members = processes_in_namespace_of(record.init.pid) if record.init and record.init.alive else []
    for process in (record.init, record.unshare):
        if process and process.alive:
            os.kill(process.pid, signal.SIGKILL)
    ended = [Process.of(pid) for pid in members]
    wait_for("processes end", lambda: not any(p.started and p.alive for p in ended), 30)
    say("processes ended")
    subprocess.run(["ip", "link", "del", cluster.link], check=False, capture_output=True)
    if not _others(states, name):
        restore(record.sysctls)
    cgroups = list(CGROUPS.glob(f"*/{cluster.cgroup}"))
    wait_for(f"cgroups {cluster.cgroup} empty", lambda: all(_remove(cgroup) for cgroup in cgroups), 30)
    say("link and cgroups removed")
    _remove_files(state, keep_images)
    say("files removed, images kept" if keep_images else "files removed")
    return True


def load_image(cluster: Cluster, init: Process, archive: Path) -> bool:
    """Import a docker-archive file into the node's containerd; it is unpacked when its first container starts.

    Returns False when the node has just this file's images already.
    """
    names = references(archive)
    stat = archive.stat()
    identity = f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}"
    known = loaded_files(cluster)
    if names and all(known.get(name) == identity for name in names):
        return False
    with tempfile.NamedTemporaryFile(dir=cluster.state, suffix=".tar") as slim:
        source = archive
        if own_layout(archive):
            source = Path(slim.name)
            write_missing(archive, _layers_there(init), source)
        run(
            *inside(init, *CTR, "--namespace", "k8s.io", "images", "import", "--no-unpack", "-"),
            stdin=source,
            hint=f"read {cluster.logs}/containerd.log",
        )
    (cluster.state / LOADED).write_text(json.dumps(known | dict.fromkeys(names, identity)))
    return True


def _layers_there(init: Process) -> set[str]:
    """List what containerd has stored, by digest."""
    listing = run(*inside(init, *CTR, "--namespace", "k8s.io", "content", "ls", "-q"))
    return {line.removeprefix("sha256:") for line in listing.split()}


def loaded_files(cluster: Cluster) -> dict[str, str]:
    """Return which file each image on the node came from: name to path, size and time of change."""
    try:
        found: dict[str, str] = json.loads((cluster.state / LOADED).read_text())
    except FileNotFoundError:
        return {}
    return found


def loaded_images(init: Process) -> list[str]:
    """List the references of the images on the node."""
    listing = run(*inside(init, *CTR, "--namespace", "k8s.io", "images", "ls", "-q"))
    return sorted(line for line in listing.splitlines() if not line.startswith("sha256:"))


def inside(init: Process, *command: str | Path) -> tuple[str, ...]:
    """Turn a command into one that runs in the node's namespaces."""
    return ("nsenter", "--target", str(init.pid), "--all", "--", *map(str, command))


def kubectl_of(cluster: Cluster) -> tuple[str, ...]:
    """Return the words that begin every kubectl command for this cluster."""
    return (str(cluster.bin / "kubectl"), f"--kubeconfig={cluster.kubeconfig}")


def add_metrics_server(cluster: Cluster) -> None:
    """Install metrics-server, whose image must be loaded, and wait until `kubectl top` has numbers."""
    kubectl = kubectl_of(cluster)
    run(*kubectl, "apply", "-f", HERE / "addons" / "metrics-server.yaml")
    run(*kubectl, "-n", "kube-system", "rollout", "status", "deploy/metrics-server", "--timeout=90s")
    wait_for("metrics of the node", lambda: succeeds(*kubectl, "top", "node"), 90, pause=1)
    say("metrics-server gives numbers")


def _remove_files(state: Path, keep_images: bool) -> None:
    kept = ("containerd", LOADED) if keep_images else ()
    for path in state.glob("*"):
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if state.exists() and not kept:
        state.rmdir()


def _others(states: Path, name: str) -> list[Record]:
    """List the other clusters that are up: they share the machine's sysctls, and the last one puts them back."""
    records = [read_record(state) for state in sorted(states.glob("*")) if state.name != name]
    return [record for record in records if record and record.init and record.init.alive]


def _link_programs(cluster: Cluster, programs: dict[str, Path]) -> None:
    links = {name: path for name, path in programs.items() if name != "kubernetes"}
    links |= {link: programs["kubernetes"].with_name(link) for link in KUBERNETES_LINKS}
    for name, path in links.items():
        link = cluster.bin / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)


def _create_cgroups(cluster: Cluster) -> None:
    for hierarchy in CGROUPS.iterdir():
        if hierarchy.is_dir():
            (hierarchy / cluster.cgroup).mkdir(exist_ok=True)
    for file in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset has none and could hold no process
        source = CGROUPS / "cpuset" / file
        (CGROUPS / "cpuset" / cluster.cgroup / file).write_text(source.read_text())


def _remove(cgroup: Path) -> bool:
    """Remove a cgroup with those below it; False while processes in it are still ending."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return True


def _enter_namespaces(cluster: Cluster, record: Record) -> Process:
    """Start process 1 in new namespaces; note it and its parent in the record."""
    namespaces = ("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
    with (cluster.logs / "node.log").open("ab") as log:
        unshare = subprocess.Popen(
            ["unshare", *namespaces, sys.executable, "-P", "-m", node.__name__, str(cluster.state)],
            env=node.environment(cluster, HERE.parent),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = replace(record, unshare=Process.of(unshare.pid))
    record.save(cluster.state)
    children = f"/proc/{unshare.pid}/task/{unshare.pid}/children"
    wait_for("process 1 starts", lambda: bool(Path(children).read_text()), 10, f"read {cluster.logs}/node.log")
    init = Process.of(int(Path(children).read_text().split()[0]))
    replace(record, init=init).save(cluster.state)
    return init


def _connect(cluster: Cluster, init: Process) -> None:
    """Lay the link between this machine and the node, and routes to pods and Services over it."""
    run("ip", "link", "add", cluster.link, "type", "veth", "peer", "name", node.NODE_LINK, "netns", str(init.pid))
    run("ip", "addr", "add", f"{cluster.host_ip}/24", "dev", cluster.link)
    run("ip", "link", "set", cluster.link, "up")
    for destination in (cluster.pod_cidr, cluster.service_cidr):
        run("ip", "route", "add", destination, "via", cluster.node_ip, "dev", cluster.link, "src", cluster.host_ip)


def _containerd_answers(init: Process) -> bool:
    if not init.alive:
        raise ClusterError("process 1 of the cluster ended", "read log/node.log, shown above")
    return succeeds(*inside(init, *CTR, "version"))


def _show_end_of_logs(cluster: Cluster) -> None:
    """Print the last lines of each program's log that look like trouble, to stderr."""
    for log in sorted(cluster.logs.glob("*.log")):
        if log.name == "audit.log":
            continue
        lines = log.read_text(errors="replace").splitlines()
        bad = _troubles(lines) or (lines[-3:] if log.name == "node.log" else [])
        if bad:
            print(f"--- {log}", *bad[-5:], sep="\n", file=sys.stderr)


def _troubles(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if re.match(r"[EF]\d{4} |panic|Error|.*level=(error|fatal)", line)]
