"""The Secret of a pipeline that holds what its pods need of secrets in other products' namespaces."""

from typing import Any

from meterpipe_operator.facts import Secret
from meterpipe_operator.labels import Owner, labels


def secret_copy(owner: Owner, role: str, secret: Secret) -> dict[str, Any]:
    """The copy. ValueError if the secret is the user's own: that is mounted, never written."""
    if secret.copied is None:
        raise ValueError(f"secret {secret.name} is not a copy")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret.name,
            "namespace": owner.namespace,
            "labels": labels(owner.name, role),
            "ownerReferences": [owner.reference],
        },
        "type": "Opaque",
        "data": dict(secret.copied),
    }
