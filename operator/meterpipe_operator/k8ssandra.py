"""Cassandra by K8ssandra: what a K8ssandraCluster publishes, and by which names. Pure.

Names are cleaned up as cass-operator does it; they come of the Cassandra cluster's name and the datacenter's, which may
both differ from those of the objects.
"""

import re
from collections.abc import Mapping
from typing import Any

from meterpipe.spec.models import K8ssandra, MeterPipeline

from meterpipe_operator import kinds
from meterpipe_operator.facts import CassandraFacts, Login, Missing
from meterpipe_operator.given import user_login
from meterpipe_operator.kinds import Kind, Manifest, Ref
from meterpipe_operator.labels import name
from meterpipe_operator.secrets import Look, copied, data_of, login_of

PORT = 9042
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_LIMIT = 63


def cleaned(text: str) -> str:
    """A name as cass-operator puts it into names of objects."""
    if len(text) <= LABEL_LIMIT and LABEL.fullmatch(text):
        return text
    return "".join(match[0] for match in LABEL.finditer(text.lower().replace("_", "-")))


def k8ssandra_facts(
    pipeline: MeterPipeline, asked: K8ssandra, look: Look, there: frozenset[Kind]
) -> CassandraFacts | Missing:
    """How pods reach the datacenter asked for."""
    if kinds.K8SSANDRA not in there:
        return Missing("K8ssandraNotInstalled", "spec.cassandra.k8ssandra: this cluster has no K8ssandraClusters")
    namespace = asked.namespace or pipeline.metadata.namespace
    cluster = look(Ref(kinds.K8SSANDRA, namespace, asked.cluster))
    if cluster is None:
        where = f"{namespace}/{asked.cluster}"
        reason = f"spec.cassandra.k8ssandra: there is no K8ssandraCluster {where}, or the operator cannot see it"
        return Missing("CassandraNotFound", reason)
    spec = cluster.get("spec", {}).get("cassandra") or {}
    datacenter = next((dc for dc in spec.get("datacenters") or () if _object_name(dc) == asked.datacenter), None)
    if datacenter is None:
        known = ", ".join(map(_object_name, spec.get("datacenters") or ())) or "none"
        reason = f"spec.cassandra.k8ssandra.datacenter: {asked.datacenter} is not one of {asked.cluster}'s ({known})"
        return Missing("DatacenterNotFound", reason)
    status = _datacenter_status(cluster, asked.datacenter)
    if found := _not_ready(status, f"{asked.cluster}/{asked.datacenter}"):
        return found
    service = f"{cleaned(_cluster_name(cluster))}-{cleaned(status.get('datacenterName') or asked.datacenter)}-service"
    home = (datacenter.get("metadata") or {}).get("namespace") or namespace
    logins = _logins(pipeline, asked, cluster, look)
    if isinstance(logins, Missing):
        return logins
    in_cassandra = datacenter.get("datacenterName") or asked.datacenter
    return CassandraFacts((f"{service}.{home}.svc",), PORT, in_cassandra, *logins)


def superuser_secret(cluster: Manifest) -> str:
    """Name of the Secret with the superuser, in the cluster's namespace."""
    given = (cluster["spec"].get("cassandra") or {}).get("superuserSecretRef") or {}
    return str(given.get("name") or f"{cleaned(_cluster_name(cluster))}-superuser")


def _logins(
    pipeline: MeterPipeline, asked: K8ssandra, cluster: Manifest, look: Look
) -> tuple[Login | None, Login | None] | Missing:
    """Who the workers are and who the schema's maker is: the superuser where the user names nobody else."""
    if cluster["spec"].get("auth") is False:
        return None, None
    namespace, own = cluster["metadata"]["namespace"], pipeline.metadata
    superuser = superuser_secret(cluster)
    workers = _copy(look, namespace, asked.secret_name or superuser, name(own.name, "cassandra"))
    if isinstance(workers, Missing):
        return workers
    maker: Login | Missing | None = None
    if schema_secret := pipeline.spec.cassandra.schema_secret_name:
        maker = user_login(look, own.namespace, schema_secret, "spec.cassandra.schemaSecretName")
    elif asked.secret_name:
        maker = _copy(look, namespace, superuser, name(own.name, "cassandra-schema"))
    return maker if isinstance(maker, Missing) else (workers, maker)


def _copy(look: Look, namespace: str, source: str, target: str) -> Login | Missing:
    data = data_of(look, namespace, source)
    if data is None:
        return Missing(
            "CassandraSecretNotFound", f"there is no Secret {namespace}/{source}, or the operator cannot see it"
        )
    if not (data.get("username") and data.get("password")):
        return Missing("CassandraSecretIncomplete", f"Secret {namespace}/{source} lacks username or password")
    secret = copied(target, {"password": data["password"]})
    return login_of(data, secret) or Missing(
        "CassandraSecretIncomplete", f"username in Secret {namespace}/{source} is no text"
    )


def _not_ready(status: Mapping[str, Any], what: str) -> Missing | None:
    """Initialized stays true for life; Ready comes and goes with single nodes and is no reason to stop."""
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    if conditions.get("Stopped") == "True":
        return Missing("CassandraStopped", f"datacenter {what} is stopped")
    if conditions.get("Initialized") != "True":
        return Missing("CassandraNotReady", f"datacenter {what} is not initialized yet")
    return None


def _datacenter_status(cluster: Manifest, datacenter: str) -> Mapping[str, Any]:
    of_all = (cluster.get("status") or {}).get("datacenters") or {}
    return (of_all.get(datacenter) or {}).get("cassandra") or {}


def _cluster_name(cluster: Manifest) -> str:
    return str((cluster["spec"].get("cassandra") or {}).get("clusterName") or cluster["metadata"]["name"])


def _object_name(datacenter: Mapping[str, Any]) -> str:
    return str((datacenter.get("metadata") or {}).get("name", ""))
