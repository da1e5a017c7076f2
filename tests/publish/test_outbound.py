"""Requests go to public addresses only, end in time, and tell nothing."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmon.publish import addresses
from jobmon.publish.outbound import MOST_BYTES, Answer, Outbound
from jobmon.publish.sink import NotDeliveredError
from tests.publish.receiver import Receiver, receiver
from tests.serving import until

PRIVATE = """
    127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    100.100.100.200 0.0.0.0 0.1.2.3 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    ::1 :: fd00::1 fc00::1 fe80::1 fe80::1%lo fec0::1 ff02::1 2001:db8::1 100::1
    ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8
    2002:7f00:1:: 2002:a00:1:: 2002:808:808:: 2001:0:4136:e378:8000:63bf:3fff:fdd2
""".split()
PUBLIC = "8.8.8.8 1.1.1.1 2606:4700:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8".split()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def refusal(outbound: Outbound, url: str) -> str:
    with pytest.raises(NotDeliveredError) as caught:
        outbound.post(url, {}, b"{}")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "hidden" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not addresses.is_public(address)
    outbound = Outbound(resolve=lambda host, port: [address])
    assert refusal(outbound, "http://hooks.example/") == "its name leads to no public address"


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "017700000001", "[::1]", "0"),
        *("[::ffff:127.0.0.1]", "169.254.169.254", "[::]", "127.0.0.1."),
    ],
)
def test_however_this_machine_is_written_it_is_refused(hook: Receiver, host: str) -> None:
    said = refusal(Outbound(), f"http://{host}:{hook.port}/hidden")
    assert said in ("its name leads to no public address", "its name is not known")
    assert hook.requests == []


def test_a_second_answer_of_the_resolver_is_never_asked_for(hook: Receiver) -> None:
    """DNS rebinding: public when it is judged, this machine when it is connected to."""
    asked: list[str] = []
    connected: list[str] = []

    def turning(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) > 1 else ["8.8.8.8"]

    def nobody(address: tuple[str, int], *args: object, **more: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", nobody)
        said = refusal(Outbound(resolve=turning), f"http://a.example:{hook.port}/")
    assert said == "no connection (Connection refused)"
    assert asked == ["a.example"]
    assert connected == ["8.8.8.8"]
    # The next event asks anew, and is judged anew.
    assert "no public" in refusal(Outbound(resolve=turning), f"http://a.example:{hook.port}/")
    assert hook.requests == []


def test_among_several_addresses_private_ones_are_left_out(hook: Receiver) -> None:
    tried: list[str] = []

    def refused(address: tuple[str, int], *args: object, **more: object) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    several = ["10.0.0.1", "8.8.8.8", "fd00::1", "1.1.1.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refused)
        said = refusal(Outbound(resolve=lambda host, port: several), "http://a.example/")
    assert said == "no connection (Connection refused)"
    assert tried == ["8.8.8.8", "1.1.1.1"]


def test_allowed_it_may_be_private(hook: Receiver) -> None:
    assert Outbound(allow_private=True).post(hook.url, {"X-A": "b"}, b"{}") == Answer(204, 0.0)
    (request,) = hook.requests
    assert (request.path, request.body) == ("/hook?key=hidden-in-url", b"{}")
    assert request.headers["X-A"] == "b"
    assert request.headers["Host"] == f"127.0.0.1:{hook.port}"


def test_an_ipv6_host_keeps_its_brackets() -> None:
    with receiver() as hook:
        resolve = lambda host, port: ["127.0.0.1"]  # noqa: E731
        outbound = Outbound(allow_private=True, resolve=resolve)
        outbound.post(f"http://[fd00::7]:{hook.port}/", {}, b"{}")
        assert hook.requests[0].headers["Host"] == f"[fd00::7]:{hook.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hook: Receiver, status: int) -> None:
    with receiver() as inside:
        hook.status, hook.headers = status, {"Location": inside.url}
        assert Outbound(allow_private=True).post(hook.url, {}, b"{}").status == status
        assert inside.requests == []
        assert len(hook.requests) == 1


def test_no_proxy_of_the_environment_is_used(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        Outbound(allow_private=True).post(hook.url, {}, b"{}")
        assert proxy.requests == []
        assert len(hook.requests) == 1


class TestTime:
    """Everything together ends in time."""

    def timed(self, outbound: Outbound, url: str) -> tuple[str, float]:
        began = time.monotonic()
        said = refusal(outbound, url)
        return said, time.monotonic() - began

    def test_a_receiver_that_says_nothing(self, hook: Receiver) -> None:
        hook.wait_seconds = 30
        said, seconds = self.timed(Outbound(allow_private=True, seconds=1), hook.url)
        assert said == "no answer within 1 s"
        assert seconds < 2

    def test_a_receiver_that_drips(self, hook: Receiver) -> None:
        hook.drip_seconds = 0.2
        said, seconds = self.timed(Outbound(allow_private=True, seconds=1), hook.url)
        assert said == "no answer within 1 s"
        assert seconds < 2

    def test_one_that_says_wait_for_ever(self, hook: Receiver) -> None:
        hook.raw = b"HTTP/1.1 102 Processing\r\n\r\n" * 500
        hook.drip_seconds = 0.001
        said, seconds = self.timed(Outbound(allow_private=True, seconds=1), hook.url)
        assert said == "no answer within 1 s"
        assert seconds < 2

    def test_a_body_that_drips_does_not_matter(self, hook: Receiver) -> None:
        """Its status has come: it was taken, and is not to be sent again."""
        hook.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
        hook.drip_seconds = 0.015
        began = time.monotonic()
        outbound = Outbound(allow_private=True, seconds=1.2)
        assert outbound.post(hook.url, {}, b"{}") == Answer(200, 0.0)
        assert time.monotonic() - began < 2

    def test_a_resolver_that_hangs(self) -> None:
        let_go = threading.Event()

        def hanging(host: str, port: int) -> list[str]:
            let_go.wait(60)
            return ["8.8.8.8"]

        outbound = Outbound(resolve=hanging, seconds=0.5)
        said, seconds = self.timed(outbound, "http://a.example/")
        let_go.set()
        assert said == "no answer within 0.5 s"
        assert seconds < 1.5

    def test_a_port_that_nobody_accepts_at(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            where = full.getsockname()
            others = [socket.socket() for _ in range(4)]
            for one in others:
                one.setblocking(False)
                one.connect_ex(where)
            url = f"http://127.0.0.1:{where[1]}/"
            said, seconds = self.timed(Outbound(allow_private=True, seconds=1), url)
            for one in others:
                one.close()
        assert said == "no answer within 1 s"
        assert seconds < 2


class TestBytes:
    """No more is read than is looked at."""

    def test_a_huge_body(self, hook: Receiver) -> None:
        hook.status, hook.body = 200, b"x" * 50_000_000
        read: list[int] = []
        real = socket.socket.recv

        with pytest.MonkeyPatch.context() as patch:

            class Counting(socket.socket):
                def recv(self, *args: int) -> bytes:
                    found = real(self, *args)
                    read.append(len(found))
                    return found

            patch.setattr(socket, "socket", Counting)
            assert Outbound(allow_private=True).post(hook.url, {}, b"{}").status == 200
        assert 0 < sum(read) <= MOST_BYTES

    def test_a_huge_head(self, hook: Receiver) -> None:
        hook.raw = b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000
        said = refusal(Outbound(allow_private=True), hook.url)
        assert said in ("the connection was broken off", "what was answered is no HTTP")

    @pytest.mark.parametrize(
        "raw",
        [b"\0\0\0", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\r\n", b"HTTP/9 200\r\n\r\n"],
    )
    def test_what_is_no_http(self, hook: Receiver, raw: bytes) -> None:
        hook.raw = raw
        assert refusal(Outbound(allow_private=True), hook.url) == "what was answered is no HTTP"

    def test_a_protocol_that_it_wants_to_change(self, hook: Receiver) -> None:
        hook.raw = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        assert refusal(Outbound(allow_private=True), hook.url) == "what was answered is no HTTP"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        *(("120", 120), ("0", 0), ("999999999999", 3600), ("-5", 0), ("soon", 0), ("", 0)),
        *(("1e9", 0), ("٣", 0), ("Mon, 30 Nov 99999 00:00:00 GMT", 0)),
        *(("Mon, 30 Nov 2099 00:00:00 GMT", 3600), ("Mon, 30 Nov 2020 00:00:00 GMT", 0)),
    ],
)
def test_how_long_to_wait_is_bounded(hook: Receiver, said: str, seconds: float) -> None:
    value = said.encode() or b" "
    hook.raw = b"HTTP/1.1 429 Wait\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    found = Outbound(allow_private=True).post(hook.url, {}, b"{}")
    assert found == Answer(429, seconds)


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = refusal(Outbound(allow_private=True), f"http://127.0.0.1:{port}/hidden")
    assert said == "no connection (Connection refused)"


def test_a_name_that_is_none() -> None:
    for host in ("nowhere.invalid", "a..b", "x" * 70 + ".example"):
        assert refusal(Outbound(), f"http://{host}/hidden") == "its name is not known"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
class TestTls:
    """Whoever answers proves that the name is theirs."""

    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """For hooks.example alone, signed by itself."""
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"),
                *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"),
            ],
            check=True,
            capture_output=True,
        )
        return tmp_path

    @pytest.fixture
    def secure(self, certificate: Path) -> Iterator[Receiver]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        with receiver(context) as found:
            yield found

    def outbound(self, trusted: Path | None = None) -> Outbound:
        tls = ssl.create_default_context(cafile=trusted / "cert.pem" if trusted else None)
        return Outbound(allow_private=True, resolve=lambda host, port: ["127.0.0.1"], tls=tls)

    def test_the_name_is_what_the_certificate_says(
        self, certificate: Path, secure: Receiver
    ) -> None:
        outbound = self.outbound(certificate)
        assert outbound.post(f"https://hooks.example:{secure.port}/", {}, b"{}").status == 204
        said = refusal(outbound, f"https://hidden.example:{secure.port}/")
        assert said == "no TLS (CERTIFICATE_VERIFY_FAILED)"
        assert len(secure.requests) == 1

    def test_nobody_trusts_a_stranger(self, secure: Receiver) -> None:
        said = refusal(self.outbound(), f"https://hooks.example:{secure.port}/hidden")
        assert said == "no TLS (CERTIFICATE_VERIFY_FAILED)"
        assert secure.requests == []

    def test_what_speaks_no_tls(self, hook: Receiver) -> None:
        said = refusal(self.outbound(), f"https://hooks.example:{hook.port}/hidden")
        assert said.startswith(("no TLS (", "no connection ("))

    def test_a_handshake_that_never_ends(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            outbound = Outbound(
                allow_private=True, resolve=lambda host, port: ["127.0.0.1"], seconds=0.5
            )
            began = time.monotonic()
            said = refusal(outbound, f"https://a.example:{silent.getsockname()[1]}/")
        assert said == "no answer within 0.5 s"
        assert time.monotonic() - began < 1.5


def test_no_thread_stays_behind(hook: Receiver) -> None:
    outbound = Outbound(allow_private=True)
    for _ in range(20):
        outbound.post(hook.url, {}, b"{}")
    until(lambda: not [t for t in threading.enumerate() if t.name == "jobmon-resolve"])
