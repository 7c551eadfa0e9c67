"""Production talks TLS, where sockets are another class: the same promises have to hold there."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from booking.calcom import transport
from booking.calcom.deadline import Deadline


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections: set[int] = set()

    def do_GET(self):
        self.connections.add(self.client_address[1])
        body = b'{"status":"success","data":{}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.path == "/slowly":
                time.sleep(0.1)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def address(certificate):
    Handler.connections = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setattr(transport._session, "verify", str(certificate))


def ask(address: str, path: str = "/", *, seconds: float = 2.0):
    return transport.exchange(method="GET", url=address + path, headers={}, deadline=Deadline.after(seconds))


def test_connections_are_kept_alive_over_tls_too(address, trusted):
    for _ in range(3):
        assert ask(address).json()["status"] == "success"
    assert len(Handler.connections) == 1


def test_an_answer_that_trickles_in_over_tls_does_not_outlast_the_deadline(address, trusted):
    started = time.monotonic()
    with pytest.raises(transport.CutOff):
        ask(address, "/slowly", seconds=0.5)
    assert time.monotonic() - started < 2  # of the three seconds that all of it takes


def test_a_certificate_nobody_vouches_for_is_sent_nothing(address):
    with pytest.raises(transport.NotSent):
        ask(address)
    assert not Handler.connections
