"""Process 1 of a cluster's own namespaces: prepares the node, then keeps its programs running.

Started by lifecycle.py only, as `python -P -m cluster.node STATE`. It ends with nothing but a kill, and then the kernel
ends every process in the namespaces and takes their mounts, links and rules away.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cluster.configs import Program, programs
from cluster.layout import Cluster
from cluster.record import read_cluster

NODE_LINK = "node0"  # node's end of the link to the machine
RESTART_AFTER = 1.0  # seconds; a test that kills a program sees it gone for at least this long
PRIVATE_VAR = ("lib/kubelet", "lib/cni", "log/pods", "log/containers", "tmp", "cache")


def environment(cluster: Cluster, packages: Path) -> dict[str, str]:
    """Return the whole environment of process 1 and of the programs it starts; ``packages`` holds this package."""
    return {
        "PATH": f"{cluster.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def main() -> None:
    """Prepare the namespaces of the cluster recorded in the folder argv[1], then supervise for ever."""
    cluster = read_cluster(Path(sys.argv[1]))
    socket.sethostname(cluster.node)
    mount_private_folders(cluster)
    set_up_network(cluster)
    Supervisor(cluster).run()


def mount_private_folders(cluster: Cluster) -> None:
    """Give the node its own /run and /var: sockets, network namespaces and logs of pods stay inside."""
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    var = cluster.state / "var"
    for folder in PRIVATE_VAR:
        (var / folder).mkdir(parents=True, exist_ok=True)
    (var / "run").symlink_to("/run")
    Path("/run/lock").mkdir()
    (var / "lock").symlink_to("/run/lock")
    _call("mount", "--bind", str(var), "/var")
    _call("mount", "--make-rshared", "/")


def set_up_network(cluster: Cluster) -> None:
    """Wait for the link that the other side makes, then set addresses. There is no default route: no way out."""
    while NODE_LINK not in {name for _, name in socket.if_nameindex()}:
        time.sleep(0.02)
    _call("ip", "link", "set", "lo", "up")
    _call("ip", "addr", "add", f"{cluster.node_ip}/24", "dev", NODE_LINK)
    _call("ip", "link", "set", NODE_LINK, "up")
    _call("ip", "route", "add", cluster.service_cidr, "dev", NODE_LINK)  # needed before kube-proxy's rules apply
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")


class Supervisor:
    """Starts the node's programs, starts each again when it ends, and collects orphans, as process 1 must."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.running: dict[int, Program] = {}
        self.starts: dict[str, int] = {}
        now = time.monotonic()
        listed = programs(cluster)
        self.due = [(now, program) for program in listed if not program.after_api]
        self.waiting = [program for program in listed if program.after_api]

    def run(self) -> None:
        """Loop for ever."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            now = time.monotonic()
            if self.waiting and api_answers():
                self.due += [(now, program) for program in self.waiting]
                self.waiting = []
            for at, program in list(self.due):
                if at <= now:
                    self.due.remove((at, program))
                    self.start(program)
            signal.sigtimedwait({signal.SIGCHLD}, 0.1 if self.waiting or self.due else 10.0)
            self.collect()

    def start(self, program: Program) -> None:
        """Start a program with its output added to its log."""
        log = str(self.cluster.logs / f"{program.name}.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawnp(
            program.command[0],
            program.command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigmask=[],
            setsid=True,
        )
        self.running[pid] = program
        self.starts[program.name] = self.starts.get(program.name, 0) + 1
        print(f"{time.strftime('%X')} started {program.name} as {pid}", flush=True)
        self.record()

    def collect(self) -> None:
        """Take the exit status of every ended child; what was a program of ours is due again."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if program := self.running.pop(pid, None):
                print(f"{time.strftime('%X')} {program.name} ended, wait status {status}", flush=True)
                self.due.append((time.monotonic() + RESTART_AFTER, program))
                self.record()

    def record(self) -> None:
        """Write what runs to programs.json, for `status` and for tests: pid inside the namespaces, starts so far."""
        pids = {program.name: pid for pid, program in self.running.items()}
        state = {name: {"pid": pids.get(name), "starts": starts} for name, starts in self.starts.items()}
        draft = self.cluster.state / ".programs.json"
        draft.write_text(json.dumps(state))
        draft.rename(self.cluster.state / "programs.json")


def api_answers() -> bool:
    """Tell whether the API server says it is ready; anyone may ask."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE  # it is our own loopback, and nothing secret is sent
    try:
        with urllib.request.urlopen("https://127.0.0.1:6443/readyz", timeout=2, context=trusting):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
