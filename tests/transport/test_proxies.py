"""Proxies, given and from the environment, and certificates: over both libraries, without a password in any error."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2
import pytest
import trustme

import polycall
from polycall import TransportError, UsageError
from support.chat import entry
from support.faces import FACES, Face
from support.sockets import Server, answering, whole

TOOLS = [polycall.Tool("F")]
OURS = [name for name in FACES if not name.startswith("own")]
PASSWORD = "hunter2-secret"


@pytest.fixture(autouse=True)
def _answers(server):
    server.answer = answering(entry("F", "{}", id="a"))


@pytest.fixture
def name(request):
    return request.param


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", OURS, indirect=True)


@dataclass
class Proxy:
    """An HTTP proxy on loopback.

    Attributes:
        refuse: The status that it answers to everything, None to do as it is told.
        lines: The first line of each request.
        heads: Its headers.
    """

    refuse: int | None = None
    lines: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def __enter__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket):
        with client, suppress(OSError):
            raw = b""
            while b"\r\n\r\n" not in raw:
                if not (more := client.recv(65536)):
                    return
                raw += more
            head, _, body = raw.partition(b"\r\n\r\n")
            line, _, headers = head.decode().partition("\r\n")
            self.lines.append(line)
            self.heads.append(headers.lower())
            if self.refuse is not None:
                client.sendall(f"HTTP/1.1 {self.refuse} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                return
            method, target, _ = line.split(" ")
            address = target if method == "CONNECT" else target.split("/")[2]
            host, _, port = address.partition(":")
            with socket.create_connection((host, int(port))) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    path = "/" + target.split("/", 3)[3]
                    server.sendall(f"{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
                back = threading.Thread(target=_copied, args=(server, client), daemon=True)
                back.start()
                _copied(client, server)
                back.join()


def _copied(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def secure(authority) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Server(answering(entry("F", "{}", id="a")), context) as secure:
        yield secure


# ------------------------------------------------------------------------------------------------------------------ proxies


def test_proxy_that_is_given_sees_the_request(connect, server, proxy, stream):
    assert len(connect(proxy=proxy.url).ask(tools=TOOLS, stream=stream)) == 1
    assert proxy.lines == [f"POST {server.url}/chat/completions HTTP/1.1"]
    assert server.requests[0].headers["authorization"] == "Bearer sk-canary"


def test_proxy_only_sees_a_tunnel_to_a_tls_server(connect, secure, proxy, ca_file, stream):
    face = connect(secure.url, proxy=proxy.url, ca_file=ca_file)
    assert len(face.ask(tools=TOOLS, stream=stream)) == 1
    assert proxy.lines == [f"CONNECT localhost:{secure.port} HTTP/1.1"]
    assert "sk-canary" not in proxy.heads[0]


def test_proxy_is_shown_its_password(connect, proxy):
    face = connect(proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
    assert len(face.ask(tools=TOOLS)) == 1
    shown = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert f"proxy-authorization: basic {shown.lower()}" in proxy.heads[0]
    assert PASSWORD not in repr(face.client._connection)


@pytest.mark.parametrize("refuse", [407, 502])
def test_proxy_that_refuses_shows_no_password(connect, secure, ca_file, refuse):
    with Proxy(refuse) as proxy:
        face = connect(secure.url, proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}", ca_file=ca_file, retries=0)
        with pytest.raises(TransportError) as raised:
            face.ask(tools=TOOLS)
    check_silent(raised.value)


def test_proxy_that_is_not_there_shows_no_password(connect):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        face = connect(proxy=f"http://me:{PASSWORD}@127.0.0.1:{taken.getsockname()[1]}", retries=0)
        with pytest.raises(TransportError, match="connection failed") as raised:
            face.ask(tools=TOOLS)
    check_silent(raised.value)


def check_silent(error: BaseException | None) -> None:
    encoded = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    while error is not None:
        for text in (str(error), repr(error), repr(error.args)):
            assert PASSWORD not in text
            assert encoded not in text
        error = error.__cause__ if error.__suppress_context__ else error.__context__


@pytest.mark.parametrize(
    "proxy_url", [f"no://me:{PASSWORD}@x", f"http://me:{PASSWORD}@[", f"me:{PASSWORD}@127.0.0.1", "", "http://"]
)
def test_proxy_that_cannot_be_used(connect, server, proxy_url):
    with pytest.raises(polycall.PolycallError) as raised:
        connect(proxy=proxy_url, retries=0).ask(tools=TOOLS)
    assert isinstance(raised.value, UsageError), raised.value
    assert "proxy" in str(raised.value)
    check_silent(raised.value)
    assert not server.requests


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment(connect, server, proxy, variable, monkeypatch):
    for other in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, proxy.url)
    assert len(connect().ask(tools=TOOLS)) == 1
    assert len(proxy.lines) == 1


def test_proxy_of_the_environment_for_tls(connect, secure, proxy, ca_file, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert len(connect(secure.url, ca_file=ca_file).ask(tools=TOOLS)) == 1
    assert proxy.lines == [f"CONNECT localhost:{secure.port} HTTP/1.1"]


def test_host_that_needs_no_proxy(connect, server, proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert len(connect().ask(tools=TOOLS)) == 1
    assert not proxy.lines


# -------------------------------------------------------------------------------------------------------------- certificates


def test_certificate_that_ca_file_trusts(connect, secure, ca_file, stream):
    assert len(connect(secure.url, ca_file=ca_file).ask(tools=TOOLS, stream=stream)) == 1
    assert len(connect(secure.url, ca_file=str(ca_file)).ask(tools=TOOLS, stream=stream)) == 1


def test_certificate_that_is_not_trusted(connect, secure, stream):
    with pytest.raises(TransportError, match="ca_file=") as raised:
        connect(secure.url).ask(tools=TOOLS, stream=stream)
    assert "certificate" in str(raised.value).lower()
    assert not raised.value.transient
    assert secure.accepted <= 1
    assert not secure.requests


def test_certificate_of_another_host(connect, secure, ca_file):
    with pytest.raises(TransportError) as raised:
        connect(secure.url.replace("localhost", "127.0.0.1"), ca_file=ca_file).ask(tools=TOOLS)
    assert "certificate" in str(raised.value).lower()
    assert not raised.value.transient
    assert not secure.requests


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_ca_file_that_cannot_be_used(connect, server, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="ca_file"):
        connect(ca_file=path).ask(tools=TOOLS)
    assert not server.requests


def test_port_that_speaks_no_tls(connect, stream):
    refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
    with Server(greeting=refusal) as plain, pytest.raises(TransportError, match="connection failed"):
        connect(plain.url.replace("http:", "https:")).ask(tools=TOOLS, stream=stream, retries=0)


def test_port_that_speaks_only_tls(connect, secure, stream):
    with pytest.raises(TransportError):
        connect(secure.url.replace("https:", "http:")).ask(tools=TOOLS, stream=stream, retries=0)


def test_redirect_out_of_tls_is_not_followed(connect, server, secure, ca_file):
    secure.answer = whole(b"", 307, location=server.url)
    limits = polycall.Limits(hosts=frozenset({"localhost"}))
    with pytest.raises(polycall.PolycallError):
        connect(secure.url, ca_file=ca_file, limits=limits).ask(tools=TOOLS)
    assert not server.requests


def test_own_client_has_its_own_trust(secure, ca_file, server):
    trust = ssl.create_default_context(cafile=str(ca_file))
    with httpx2.Client(verify=trust) as own:
        client = polycall.from_provider("openai/m", base_url=secure.url, api_key="k", http_client=own)
        assert len(client.create("?", tools=TOOLS)) == 1
    face = Face("own httpx2", secure.url)
    with pytest.raises(TransportError, match="certificate"):
        face.ask(tools=TOOLS)
    face.close()
