"""The kinds of Kubernetes objects the operator knows: where they live in the API. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

Manifest = Mapping[str, Any]
MANAGED = "app.kubernetes.io/managed-by=meterpipe"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of namespaced object.

    `selector`: labels that objects have which concern us, "" for all; `fields`: the same of their fields. `owned`: we
    write it. `optional`: it comes with another product and may be absent. `external`: it may live in another namespace
    than the pipeline.
    """

    api_version: str
    name: str
    plural: str
    selector: str = ""
    fields: str = ""
    owned: bool = False
    optional: bool = False
    external: bool = False

    @property
    def group(self) -> str:
        """The API group, "" for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    @property
    def root(self) -> str:
        """Path of the group and version, where the API server lists the kinds it has."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Path of one object, of all objects of a namespace, or of all there are."""
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        end = f"/{quote(name, safe='')}" if name else ""
        return f"{self.root}{place}/{self.plural}{end}"


def _owned(api_version: str, name: str, plural: str, optional: bool = False, external: bool = False) -> Kind:
    return Kind(api_version, name, plural, selector=MANAGED, owned=True, optional=optional, external=external)


METER_PIPELINE = Kind("meterpipe.io/v1alpha1", "MeterPipeline", "meterpipelines")
DEPLOYMENT = _owned("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION = _owned("apps/v1", "ControllerRevision", "controllerrevisions")
POD = Kind("v1", "Pod", "pods", selector=MANAGED)
# Not only ours: those that pipelines name, and those of Kafka and Cassandra, are read.
SECRET = Kind(
    "v1", "Secret", "secrets", fields="type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token", owned=True,
    external=True,
)  # fmt: skip
CONFIG_MAP = _owned("v1", "ConfigMap", "configmaps")
SERVICE = _owned("v1", "Service", "services")
SERVICE_ACCOUNT = _owned("v1", "ServiceAccount", "serviceaccounts")
JOB = _owned("batch/v1", "Job", "jobs")
DISRUPTION_BUDGET = _owned("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = _owned("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
AUTOSCALER = _owned("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
POD_MONITOR = _owned("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", optional=True)
SCALED_OBJECT = _owned("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", optional=True)
TRIGGER_AUTHENTICATION = _owned("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications", optional=True)
KAFKA = Kind("kafka.strimzi.io/v1", "Kafka", "kafkas", optional=True, external=True)
KAFKA_TOPIC = _owned("kafka.strimzi.io/v1", "KafkaTopic", "kafkatopics", optional=True, external=True)
KAFKA_USER = _owned("kafka.strimzi.io/v1", "KafkaUser", "kafkausers", optional=True, external=True)
K8SSANDRA = Kind("k8ssandra.io/v1alpha1", "K8ssandraCluster", "k8ssandraclusters", optional=True, external=True)

KINDS: tuple[Kind, ...] = (
    METER_PIPELINE,
    DEPLOYMENT,
    CONTROLLER_REVISION,
    POD,
    SECRET,
    CONFIG_MAP,
    SERVICE,
    SERVICE_ACCOUNT,
    JOB,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    AUTOSCALER,
    POD_MONITOR,
    SCALED_OBJECT,
    TRIGGER_AUTHENTICATION,
    KAFKA,
    KAFKA_TOPIC,
    KAFKA_USER,
    K8SSANDRA,
)
_BY_NAME: Mapping[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in KINDS}


class Ref(NamedTuple):
    """One object: its kind, namespace and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace}/{self.name}"


def kind_of(manifest: Manifest) -> Kind:
    """The kind of a manifest, whatever its version; KeyError if the operator does not know it."""
    return find(str(manifest["apiVersion"]), str(manifest["kind"]))


def find(api_version: str, name: str) -> Kind:
    """The kind of that API group and name; KeyError if the operator does not know it."""
    return _BY_NAME[(api_version.rpartition("/")[0], name)]


def ref_of(manifest: Manifest) -> Ref:
    """Which object a manifest describes. KeyError if its kind is unknown or it names no namespace."""
    metadata = manifest["metadata"]
    return Ref(kind_of(manifest), metadata["namespace"], metadata["name"])


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    """The labels of an object."""
    return manifest["metadata"].get("labels") or {}


def optional_groups(kinds: Iterable[Kind] = KINDS) -> tuple[str, ...]:
    """Groups and versions that may be absent from a cluster, each once."""
    return tuple(dict.fromkeys(kind.api_version for kind in kinds if kind.optional))
