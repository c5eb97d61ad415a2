"""The handlers: kopf watches the cluster and hands over what it sees; nothing else is asked of it.

They are `on.event` handlers only. Timers, daemons and deletion handlers would put kopf's finalizer on every pipeline,
handlers of changes would store their progress in it; of these nothing is ever written.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from meterpipe_operator import webhook
from meterpipe_operator.api import Access
from meterpipe_operator.kinds import Kind, Manifest

IDENTITY = Identity("meterpipe")
Notice = Callable[[Manifest, bool], None]


async def watch(
    kinds: Collection[Kind],
    namespaces: Collection[str],
    access: Access,
    notice: Notice,
    stop: asyncio.Event,
    endpoint: webhook.Endpoint | None = None,
) -> None:
    """Watch these kinds in these namespaces (none: in all) until `stop`; serve the webhook if there is an endpoint."""
    logging.getLogger("kopf.objects").addFilter(terse)
    registry, settings = kopf.OperatorRegistry(), configured(kinds)
    kopf.on.login(registry=registry)(partial(_login, access))
    for kind in kinds:
        _register(registry, kind, notice)
    if endpoint is not None:
        webhook.register(registry, settings, endpoint)
    await kopf.operator(
        registry=registry,
        settings=settings,
        namespaces=namespaces,
        clusterwide=not namespaces,
        standalone=True,
        identity=IDENTITY,  # told to nobody; else made of the user's name, and pods have none
        stop_flag=stop,
    )


def _login(access: Access, **_: Any) -> kopf.ConnectionInfo:
    """kopf goes where our own requests go. Asked again when the server no longer takes the token."""
    settings = access.settings
    return kopf.ConnectionInfo(
        server=settings.host,
        ca_path=settings.ssl_ca_cert,
        insecure=not settings.verify_ssl,
        token=access.token,
        certificate_path=settings.cert_file,
        private_key_path=settings.key_file,
    )


def configured(kinds: Collection[Kind]) -> kopf.OperatorSettings:
    """Settings with which kopf reads what concerns us, and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # needs rights on CRDs and namespaces; kinds that come are found by `discover`
    for kind in kinds:
        where = (kind.group, kind.version, kind.plural)
        if kind.selector:
            settings.watching.label_selectors[where] = kind.selector
        if kind.fields:
            settings.watching.field_selectors[where] = kind.fields
    return settings


def _register(registry: kopf.OperatorRegistry, kind: Kind, notice: Notice) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    def seen(event: Any, **_: Any) -> None:
        """What a stream says of one object."""
        notice({"apiVersion": kind.api_version, "kind": kind.name, **event["object"]}, event["type"] == "DELETED")


def terse(record: logging.LogRecord) -> bool:
    """Without kopf's baggage; and not that a webhook "failed": it refused, which is no failure and told elsewhere."""
    for name in ("settings", "k8s_skip", "k8s_ref"):
        vars(record).pop(name, None)
    return not record.getMessage().startswith("Webhook ")
