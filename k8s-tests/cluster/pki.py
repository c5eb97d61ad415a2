"""The cluster's certificate authorities, certificates and kubeconfigs, by openssl. EC keys: half a second in all."""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import Cluster
from cluster.shell import run

DAYS = "3650"


@dataclass(frozen=True)
class Certificate:
    """A certificate to make: file name, subject, names it is valid for, and the authority that signs it."""

    name: str
    subject: str
    valid_for: str = ""
    authority: str = "ca"


def certificates(cluster: Cluster) -> list[Certificate]:
    """List the certificates of a cluster's programs and of its administrator."""
    service = "kubernetes.default.svc"
    names = ["localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local"]
    addresses = ["127.0.0.1", cluster.node_ip, cluster.api_ip]
    api_names = ",".join([f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
    node_names = f"DNS:{cluster.node},IP:{cluster.node_ip},IP:127.0.0.1"
    return [
        Certificate("apiserver", "/CN=kube-apiserver", api_names),
        Certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Certificate("front-proxy-client", "/CN=front-proxy-client", authority="front-proxy-ca"),
        Certificate("kubelet", f"/O=system:nodes/CN=system:node:{cluster.node}", node_names),
        Certificate("controller-manager", "/CN=system:kube-controller-manager"),
        Certificate("scheduler", "/CN=system:kube-scheduler"),
        Certificate("proxy", "/CN=system:kube-proxy"),
        Certificate("admin", "/O=system:masters/CN=kubernetes-admin"),
    ]


def kubeconfig(server: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """Write a kubeconfig that holds everything itself. JSON, which is YAML too."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    user = {"client-certificate-data": text(certificate), "client-key-data": text(key)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [
                {"name": "default", "cluster": {"server": server, "certificate-authority-data": text(authority)}}
            ],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
            "users": [{"name": "default", "user": user}],
        },
        indent=1,
    )


def create(cluster: Cluster) -> None:
    """Make all keys, certificates and kubeconfigs below the cluster's state folder."""
    folder = cluster.pki
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ca", "front-proxy-ca"):
        _authority(folder, name)
    for certificate in certificates(cluster):
        _sign(folder, certificate)
    run("openssl", "genrsa", "-out", folder / "sa.key", "2048")
    run("openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")
    for user in ("admin", "kubelet", "controller-manager", "scheduler", "proxy"):
        host = cluster.node_ip if user == "admin" else "127.0.0.1"
        path = cluster.user_kubeconfig(user)
        path.touch(mode=0o600)
        path.write_text(
            kubeconfig(
                f"https://{host}:6443",
                (folder / "ca.crt").read_bytes(),
                (folder / f"{user}.crt").read_bytes(),
                (folder / f"{user}.key").read_bytes(),
            )
        )


def _new_key(path: Path) -> None:
    path.touch(mode=0o600)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _authority(folder: Path, name: str) -> None:
    key, out = folder / f"{name}.key", folder / f"{name}.crt"
    _new_key(key)
    usage = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
    run(
        *("openssl", "req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}"),
        *("-days", DAYS, "-addext", usage, "-out", out),
    )


def _sign(folder: Path, certificate: Certificate) -> None:
    key, out = folder / f"{certificate.name}.key", folder / f"{certificate.name}.crt"
    request, extensions = out.with_suffix(".csr"), out.with_suffix(".ext")
    _new_key(key)
    lines = ["extendedKeyUsage=clientAuth,serverAuth", "keyUsage=critical,digitalSignature"]
    if certificate.valid_for:
        lines.append(f"subjectAltName={certificate.valid_for}")
    extensions.write_text("\n".join(lines) + "\n")
    run("openssl", "req", "-new", "-key", key, "-subj", certificate.subject, "-out", request)
    authority = folder / certificate.authority
    run(
        *("openssl", "x509", "-req", "-in", request, "-days", DAYS, "-extfile", extensions, "-out", out),
        *("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-set_serial", str(secrets.randbits(63))),
    )
    request.unlink()
    extensions.unlink()
