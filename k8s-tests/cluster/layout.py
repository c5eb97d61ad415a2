"""Names, paths and addresses of one cluster. Functions of their arguments only."""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

NAME = re.compile(r"[a-z][a-z0-9-]{0,10}")  # 11 characters: the link's name is 4 longer and may have 15
HIDDEN = (Path("/run"), Path("/var"))  # the cluster's own programs see private folders there
NETWORKS = tuple(f"10.{second}" for second in range(199, 250))  # private /16s, the first free one is taken


@dataclass(frozen=True)
class Cluster:
    """One cluster: ``network`` is the first two bytes of its private /16, ``state`` the folder of all its files."""

    name: str
    network: str
    state: Path

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ClusterError(
                f"--name {self.name!r} is no cluster name", "a small letter, then up to 10 of a-z, 0-9 and -"
            )
        if any(self.state.is_relative_to(folder) for folder in HIDDEN):
            raise ClusterError(
                f"the cache folder {self.state} lies in /run or /var, which the cluster replaces by its own",
                "METERPIPE_CACHE=FOLDER with a folder elsewhere, like /tmp/meterpipe",
            )

    @property
    def host_ip(self) -> str:
        """Address of this machine as pods see it."""
        return f"{self.network}.0.1"

    @property
    def node_ip(self) -> str:
        """Address of the node, where the API server listens."""
        return f"{self.network}.0.2"

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods: 1022."""
        return f"{self.network}.64.0/22"

    @property
    def service_cidr(self) -> str:
        """Addresses of Services."""
        return f"{self.network}.128.0/18"

    @property
    def api_ip(self) -> str:
        """Service address of the API server, always the first of the range."""
        return f"{self.network}.128.1"

    @property
    def dns_ip(self) -> str:
        """Service address of CoreDNS."""
        return f"{self.network}.128.10"

    @property
    def node(self) -> str:
        """Name of the node."""
        return f"{self.name}-node"

    @property
    def link(self) -> str:
        """Host end of the link between this machine and the node."""
        return f"mpk-{self.name}"

    @property
    def cgroup(self) -> str:
        """Cgroup below which all pods live, in every hierarchy."""
        return f"meterpipe-{self.name}"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One log for each program, and the API server's audit log."""
        return self.state / "log"

    @property
    def bin(self) -> Path:
        """Links to the cluster's programs, kubectl and helm among them."""
        return self.state / "bin"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator, for this machine."""
        return self.user_kubeconfig("admin")

    def user_kubeconfig(self, user: str) -> Path:
        """Kubeconfig of one user or program of the cluster."""
        return self.state / f"{user}.kubeconfig"


def free_network(routes: str) -> str:
    """Pick the first private network that no route of this machine (`ip route` text) uses."""
    for network in NETWORKS:
        if not re.search(rf"(?m)\b{re.escape(network)}\.", routes):
            return network
    raise ClusterError("all networks from 10.199 to 10.249 are in use", "`cluster down --name NAME`")
