"""The client of the webhook against real sockets: whom it trusts, how long it waits, which connections it keeps."""

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from meterpipe.adapters.webhook import WebhookClient, WebhookConfigError
from meterpipe.core.notify.cloudevents import Notice
from meterpipe.core.notify.policy import Verdict
from meterpipe.spec.connections import NotifierConnection
from meterpipe.spec.notifier import Webhook

NOTICE = Notice("ab/raised", b'{"specversion":"1.0"}')


@pytest.fixture
def secrets(tmp_path):
    (tmp_path / "key").write_text("correct horse battery staple")
    return NotifierConnection(key_file=tmp_path / "key")


def client(url, secrets, **more):
    return WebhookClient(Webhook(url=url, secret_name="hook", **more), secrets)


@contextmanager
def serving(status=204, tls=None):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            seen.append((self.client_address, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself: key and certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, crt = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=desk", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", crt],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, crt


def test_requests_share_connections(secrets):
    with serving() as (port, seen):
        sender = client(f"http://127.0.0.1:{port}/", secrets)
        assert {sender.post(NOTICE).verdict for _ in range(5)} == {Verdict.TAKEN}
        assert len({address for address, _ in seen}) == 1
        assert {body for _, body in seen} == {NOTICE.body}


def test_a_receiver_is_trusted_if_its_authority_is_given_and_never_else(secrets, certificate):
    key, crt = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    with serving(tls=context) as (port, seen):
        untrusted = client(f"https://127.0.0.1:{port}/", secrets).post(NOTICE)
        assert (untrusted.status, untrusted.verdict) == (None, Verdict.AGAIN)
        assert "certificate verify failed" in untrusted.detail
        assert seen == []
        known = secrets.model_copy(update={"ca_file": crt})
        assert client(f"https://127.0.0.1:{port}/", known).post(NOTICE).verdict is Verdict.TAKEN


def test_nobody_there_or_an_answer_that_never_ends_is_a_failure_that_may_pass(secrets):
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, says nothing
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        answer = client(url, secrets, timeout=1).post(NOTICE)
    assert (answer.status, answer.verdict) == (None, Verdict.AGAIN)
    answer = client(url, secrets).post(NOTICE)
    assert (answer.status, answer.verdict) == (None, Verdict.AGAIN)
    assert "refused" in answer.detail


@pytest.mark.parametrize(
    ("name", "text", "why"), [("key", "short", "a secret of 5 bytes"), ("token", "two words", "printable ASCII")]
)
def test_a_secret_that_cannot_be_used_is_named_by_its_file(secrets, tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    known = secrets.model_copy(update={"token_file": tmp_path / "token"} if name == "token" else {})
    with pytest.raises(WebhookConfigError, match=f"{tmp_path / name}.*{why}") as caught:
        client("http://desk/", known)
    assert text not in str(caught.value)
