"""Configuration files and command lines of the cluster's programs. Functions of the cluster only: no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.layout import Cluster

CONTAINERD = Path("/run/containerd/containerd.sock")
CNI_PLUGINS = Path("/usr/lib/cni")
ETCD = "http://127.0.0.1:2379"
ETCD_PEER = "http://127.0.0.1:2380"
MAX_PODS = 400


@dataclass(frozen=True)
class Program:
    """A program the node keeps running; ``after_api`` ones start once the API server answers."""

    name: str
    command: tuple[str, ...]
    after_api: bool = False


def files(cluster: Cluster) -> dict[Path, str]:
    """Return every configuration file below the cluster's state folder, path to content."""
    state = cluster.state
    return {
        state / "containerd.toml": containerd(cluster),
        state / "cni" / "10-pods.conflist": _json(cni(cluster)),
        state / "kubelet.yaml": _json(kubelet(cluster)),
        state / "proxy.yaml": _json(kube_proxy(cluster)),
        state / "audit.yaml": _json(AUDIT_POLICY),
        state / "resolv.conf": "# pods with dnsPolicy Default know no name server: there is none to reach\n",
    }


def containerd(cluster: Cluster) -> str:
    """Return containerd's configuration; scores of the OOM killer stay as they are, not every root may lower them."""
    return f"""\
version = 2
root = "{cluster.state}/containerd"
state = "{CONTAINERD.parent}"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{cluster.state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:test"
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{cluster.state}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def cni(cluster: Cluster) -> dict[str, Any]:
    """Return the pod network: one bridge, no masquerading, as there is no way out of it."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "forceAddress": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": cluster.pod_cidr}]]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}


def kubelet(cluster: Cluster) -> dict[str, Any]:
    """Return kubelet's configuration, written for machines with cgroup v1 and without swap accounting."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "2s"},
            "x509": {"clientCAFile": f"{cluster.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{cluster.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{cluster.pki}/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "clusterDNS": [cluster.dns_ip],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{cluster.state}/resolv.conf",
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,  # images come by load-image only and must not go
        "maxPods": MAX_PODS,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "20s",
        "serializeImagePulls": False,
    }


def kube_proxy(cluster: Cluster) -> dict[str, Any]:
    """Return kube-proxy's configuration; conntrack limits are the whole machine's and stay untouched."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(cluster.user_kubeconfig("proxy"))},
        "mode": "nftables",
        "clusterCIDR": cluster.pod_cidr,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }


AUDIT_POLICY: Mapping[str, Any] = {
    # every write, by whom and to what: a test can prove that an idle program writes nothing
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


def programs(cluster: Cluster) -> list[Program]:
    """List the node's programs in the order they start."""
    state = cluster.state
    return [
        Program("containerd", ("containerd", "--config", f"{state}/containerd.toml")),
        Program("etcd", ("etcd", *_flags(_etcd(cluster)))),
        Program("kube-apiserver", ("kube-apiserver", *_flags(_apiserver(cluster)))),
        Program(
            "kube-controller-manager",
            ("kube-controller-manager", *_flags(_controller_manager(cluster))),
            after_api=True,
        ),
        Program("kube-scheduler", ("kube-scheduler", *_flags(_client(cluster, "scheduler"))), after_api=True),
        Program("kubelet", ("kubelet", *_flags(_kubelet(cluster))), after_api=True),
        Program(
            "kube-proxy",
            ("kube-proxy", *_flags({"config": f"{state}/proxy.yaml", "hostname-override": cluster.node})),
            after_api=True,
        ),
    ]


def _etcd(cluster: Cluster) -> dict[str, str]:
    return {
        "name": "etcd",
        "data-dir": f"{cluster.state}/etcd",
        "listen-client-urls": ETCD,
        "advertise-client-urls": ETCD,
        "listen-peer-urls": ETCD_PEER,
        "initial-advertise-peer-urls": ETCD_PEER,
        "initial-cluster": f"etcd={ETCD_PEER}",
        "unsafe-no-fsync": "true",  # the data lives as long as the cluster
        "log-level": "warn",
    }


def _apiserver(cluster: Cluster) -> dict[str, str]:
    pki = cluster.pki
    return {
        "advertise-address": cluster.node_ip,
        "bind-address": "0.0.0.0",
        "secure-port": "6443",
        "etcd-servers": ETCD,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": cluster.service_cidr,
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        "kubelet-client-certificate": f"{pki}/apiserver-kubelet-client.crt",
        "kubelet-client-key": f"{pki}/apiserver-kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{pki}/sa.pub",
        "service-account-signing-key-file": f"{pki}/sa.key",
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": f"{pki}/front-proxy-client.crt",
        "proxy-client-key-file": f"{pki}/front-proxy-client.key",
        "audit-policy-file": f"{cluster.state}/audit.yaml",
        "audit-log-path": f"{cluster.logs}/audit.log",
    }


def _controller_manager(cluster: Cluster) -> dict[str, str]:
    pki = cluster.pki
    return {
        **_client(cluster, "controller-manager"),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": f"{pki}/sa.key",
        "root-ca-file": f"{pki}/ca.crt",
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "cluster-signing-cert-file": f"{pki}/ca.crt",
        "cluster-signing-key-file": f"{pki}/ca.key",
        "horizontal-pod-autoscaler-sync-period": "5s",  # a test should not wait for the usual 15 s
        "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
    }


def _client(cluster: Cluster, user: str) -> dict[str, str]:
    kubeconfig = str(cluster.user_kubeconfig(user))
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "leader-elect": "false",  # one of each: no lease to wait for after a restart
    }


def _kubelet(cluster: Cluster) -> dict[str, str]:
    return {
        "config": f"{cluster.state}/kubelet.yaml",
        "kubeconfig": str(cluster.user_kubeconfig("kubelet")),
        "root-dir": "/var/lib/kubelet",
        "hostname-override": cluster.node,
        "node-ip": cluster.node_ip,
    }


def _flags(values: Mapping[str, str]) -> list[str]:
    return [f"--{key}={value}" for key, value in values.items()]


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"  # JSON is YAML too
