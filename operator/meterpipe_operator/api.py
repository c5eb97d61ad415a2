"""The Kubernetes API as the operator uses it: few verbs, dicts in and out, errors that name the object.

ApiError
├── NotFound        404: the object, its namespace or its kind is not there
├── Forbidden       401, 403: the operator's role does not allow it
├── Conflict        409: somebody changed it meanwhile
├── Refused         400, 413, 415, 422: the server does not take the object; trying the same again changes nothing
└── Unreachable     no answer, or 429 and 5xx: try again later
"""

import asyncio
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlencode

import urllib3

from meterpipe_operator.kinds import KINDS, Kind, Manifest, Ref, optional_groups, ref_of

MANAGER = "meterpipe"
AUTOSCALER = "meterpipe-autoscaler"
INCLUSTER = "KUBERNETES_SERVICE_HOST"  # set in every pod
TIMEOUT = 20.0  # seconds
PAGE = 500  # objects
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server did not do what was asked."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.status, self.reason = what, status, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.status, self.reason)


class NotFound(ApiError):  # noqa: N818 - it reads as what the server said
    """404."""


class Forbidden(ApiError):  # noqa: N818
    """401 or 403."""


class Conflict(ApiError):  # noqa: N818
    """409."""


class Refused(ApiError):  # noqa: N818
    """The object itself is wrong."""


class Unreachable(ApiError):  # noqa: N818
    """No answer, or none that lasts."""


_ERRORS: Mapping[int, type[ApiError]] = {
    404: NotFound, 401: Forbidden, 403: Forbidden, 409: Conflict, 400: Refused, 413: Refused, 415: Refused,
    422: Refused,
}  # fmt: skip


class Http(Protocol):
    """One request to the API server: status and body; OSError without an answer. Called from several threads."""

    def __call__(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, bytes]:
        """Send it and wait for the answer."""


class Api:
    """Reads and writes objects. Safe for many tasks of one event loop; at most `at_once` requests run side by side."""

    def __init__(self, http: Http, at_once: int = 8) -> None:
        self._http = http
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="api")
        self.writes = 0

    def close(self) -> None:
        """Let go of the threads; requests under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, ref: Ref) -> Manifest:
        """The object."""
        found: Manifest = await self._ask(f"get {ref}", "GET", ref.kind.path(ref.namespace, ref.name))
        return found

    async def list(self, kind: Kind, namespace: str | None) -> tuple[list[Manifest], int]:
        """All objects of a kind that concern us, in a namespace or everywhere, and the version they were read at."""
        found: list[Manifest] = []
        token, version = "", 0
        while True:
            words = {
                "limit": PAGE, "labelSelector": kind.selector, "fieldSelector": kind.fields, "continue": token
            }  # fmt: skip
            query = urlencode({name: value for name, value in words.items() if value})
            page = await self._ask(f"list {kind.plural}", "GET", f"{kind.path(namespace)}?{query}")
            # items of a list do not say what they are
            own = {"apiVersion": kind.api_version, "kind": kind.name}
            found += [own | item for item in page["items"]]
            version = version or int(page["metadata"].get("resourceVersion") or 0)
            token = page["metadata"].get("continue", "")
            if not token:
                return found, version

    async def kinds(self) -> frozenset[Kind]:
        """The kinds the operator knows that this cluster has."""
        found = {kind for kind in KINDS if not kind.optional}
        for api_version in optional_groups():
            mine = [kind for kind in KINDS if kind.api_version == api_version]
            try:
                answer = await self._ask(f"discover {api_version}", "GET", mine[0].root)
            except NotFound:
                continue
            served = {resource["name"] for resource in answer["resources"]}
            found |= {kind for kind in mine if kind.plural in served}
        return frozenset(found)

    async def apply(self, manifest: Manifest, manager: str = MANAGER, force: bool = True) -> Manifest:
        """Server-side apply: the fields of `manifest` become `manager`'s, those it no longer names are removed."""
        ref = ref_of(manifest)
        query = urlencode({"fieldManager": manager, "force": str(force).lower()})
        path = f"{ref.kind.path(ref.namespace, ref.name)}?{query}"
        done: Manifest = await self._ask(f"apply {ref}", "PATCH", path, manifest, APPLY)
        return done

    async def apply_status(self, manifest: Manifest, manager: str = MANAGER) -> Manifest:
        """Server-side apply of the status alone."""
        ref = ref_of(manifest)
        query = urlencode({"fieldManager": manager, "force": "true"})
        path = f"{ref.kind.path(ref.namespace, ref.name)}/status?{query}"
        done: Manifest = await self._ask(f"apply status of {ref}", "PATCH", path, manifest, APPLY)
        return done

    async def merge(self, ref: Ref, patch: Mapping[str, Any]) -> Manifest:
        """JSON merge patch; give metadata.resourceVersion to have a Conflict if it changed meanwhile."""
        done: Manifest = await self._ask(f"patch {ref}", "PATCH", ref.kind.path(ref.namespace, ref.name), patch, MERGE)
        return done

    async def delete(self, ref: Ref, uid: str | None = None) -> None:
        """Delete, dependents in the background; that there is no such object (or another by now) is fine."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._ask(f"delete {ref}", "DELETE", ref.kind.path(ref.namespace, ref.name), options)
        except (NotFound, Conflict):
            return

    async def _ask(
        self, what: str, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        if method != "GET":
            self.writes += 1
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(self._now, what, method, path, body, content_type))

    def _now(self, what: str, method: str, path: str, body: Any, content_type: str) -> Any:
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            status, answer = self._http(method, path, payload, content_type)
        except OSError as problem:
            raise Unreachable(what, 0, f"the API server does not answer ({problem})") from problem
        if status < 300:
            return json.loads(answer)
        raise _ERRORS.get(status, Unreachable)(what, status, _reason(status, answer))


def _reason(status: int, answer: bytes) -> str:
    """The server's own words, where it gave some."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"


class Access:
    """How to reach the API server: as the pod is told, or as a kubeconfig says. Tokens are renewed as they expire.

    kubernetes.config.ConfigException if neither is there.
    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration

        self.settings = Configuration()
        if kubeconfig is None and INCLUSTER in os.environ:
            config.load_incluster_config(self.settings)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(kubeconfig, client_configuration=self.settings)  # type: ignore[no-untyped-call]
        self.settings.connection_pool_maxsize = 16
        self._client = ApiClient(self.settings)

    @property
    def token(self) -> str | None:
        """The bearer token of this moment, None without one."""
        header = self.settings.get_api_key_with_prefix("BearerToken", alias="authorization")
        return str(header).rpartition(" ")[2] if header else None

    def __call__(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, bytes]:
        """One request."""
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "meterpipe-operator"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            response = self._client.rest_client.pool_manager.request(
                method, f"{self.settings.host}{path}", body=body, headers=headers, timeout=TIMEOUT
            )
        except urllib3.exceptions.HTTPError as problem:
            raise OSError(str(problem)) from problem
        return response.status, response.data
