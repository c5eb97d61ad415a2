"""What `helm test` runs in the operator's image: asks the operator as Kubernetes does. Ends with 1 and the reason.

Arguments: host of the Service, then the certificate file of the webhook's authority if there is a webhook.
"""

import json
import ssl
import sys
import urllib.request

WRONG = {
    "apiVersion": "meterpipe.io/v1alpha1",
    "kind": "MeterPipeline",
    "metadata": {"name": "probe", "namespace": "probe"},
    "spec": {"readings": {"timezone": "Nowhere/Never"}},
}
ABOUT = {
    "uid": "probe",
    "kind": {"group": "meterpipe.io", "version": "v1alpha1", "kind": "MeterPipeline"},
    "resource": {"group": "meterpipe.io", "version": "v1alpha1", "resource": "meterpipelines"},
    "name": "probe",
    "namespace": "probe",
    "operation": "CREATE",
    "userInfo": {"username": "probe"},
    "dryRun": True,
    "options": {},
    "object": WRONG,
}
REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": ABOUT}


def fetch(url: str, body: bytes | None = None, authority: str | None = None) -> bytes:
    """The answer's body; an exception unless it is a good one."""
    trust = ssl.create_default_context(cafile=authority) if authority else None
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
        text: bytes = answer.read()
    return text


def main(host: str, *authority: str) -> None:
    """Ask."""
    print("ready:", fetch(f"http://{host}:8080/ready").decode().strip())
    assert b"# TYPE" in fetch(f"http://{host}:8080/metrics"), "/metrics holds no metrics"
    if authority:
        review = json.loads(fetch(f"https://{host}/validate", json.dumps(REVIEW).encode(), authority[0]))
        answer = review["response"]
        assert answer["allowed"] is False, "the webhook let a wrong specification pass"
        print("webhook:", answer["status"]["message"])


main(*sys.argv[1:])
