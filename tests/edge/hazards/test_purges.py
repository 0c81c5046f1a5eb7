"""Purges that an outsider would suppress, forge or force, and what a hostile request costs."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.edge.hazards.wire import Asked, Edge, answer, exchange, head
from tests.edge.nodes import found

HEADER = "X-Mizan-Invalidate: *"


def kept(edge: Edge, target: str = "/api/mizan/ctx/things/?item=1") -> bool:
    return edge.get(target).edge == "hit"


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PURGE", "purge", "BAN", "REFRESH", "TRACE", "PURGEKEYS"]
)
def test_a_client_cannot_purge(edge: Edge, method: str) -> None:
    """By the header of a purge in its own request, or by a method that other edges take."""
    edge.get(f"{edge.url}1")
    for target in ("/host/page", f"{edge.url}1", "/api/mizan/call/rename/", "*"):
        sent = head(method, target, HEADER, "X-Mizan-Invalidate: things", "Content-Length: 0", "X-Purge: 1")
        exchange(edge.node.public, sent)
    assert kept(edge)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "WebSocket, h2c", "TLS/1.0"])
def test_an_upgrade_is_no_tunnel_past_the_edge(edge: Edge, upgrade: str) -> None:
    """Request smuggling by an upgrade that the origin does not make: a write on that connection would go unheard."""
    edge.get(f"{edge.url}1")
    edge.origin.script = lambda asked: edge.origin.numbered(
        asked, *(["X-Mizan-Invalidate: things"] if asked.method == "POST" else [])
    )
    lines = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "HTTP2-Settings: AAMAAABk"]
    first = head("GET", "/host/ws", f"Upgrade: {upgrade}", *lines)
    first = first.replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings")
    exchange(edge.node.public, first + head("POST", "/things/1/", "Content-Length: 0"))
    if ("POST", "/things/1/") in edge.origin.targets():
        assert not kept(edge)
    assert all(value == "websocket" for asked in edge.origin.asked for value in asked.all("upgrade"))


def test_a_websocket_of_the_hosts_passes(edge: Edge) -> None:
    edge.origin.script = lambda _asked: (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes"
    )
    edge.origin.last = True
    lines = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    asking = head("GET", "/host/ws", *lines, "Cookie: session=7").replace(b"Connection: close", b"Connection: Upgrade")
    answered = exchange(edge.node.public, asking)
    assert answered.startswith(b"HTTP/1.1 101 ")
    assert answered.endswith(b"\r\n\r\nframes")
    [asked] = edge.origin.asked
    assert (asked.all("upgrade"), asked.all("cookie")) == (["websocket"], ["session=7"])
    assert "upgrade" in asked.all("connection")[0]


SMUGGLED = b"POST /things/9/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n"
LENGTH = f"Content-Length: {5 + len(SMUGGLED)}"


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH, "Transfer-Encoding: chunked"],
        [LENGTH, "Transfer-Encoding : chunked"],
        [LENGTH, "Transfer-Encoding: xchunked"],
        [LENGTH, "Transfer-Encoding:\x0bchunked"],
        [LENGTH, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        [LENGTH, "X-Filler: 1\r\n Transfer-Encoding: chunked"],
        [LENGTH, "Transfer_Encoding: chunked"],
        ["Content-Length: 5", LENGTH],
        [f"Content-Length: 5, {5 + len(SMUGGLED)}"],
        [f"Content-Length: +{5 + len(SMUGGLED)}"],
        ["Content-Length: 5 "],
        ["Content-Length: 18446744073709551621"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_is_hidden_in_another(edge: Edge, method: str, lines: list[str]) -> None:
    """Request smuggling: what the origin sees beside the request, the edge has seen as a request of its own."""
    sent = head(method, "/host/page", *lines) + b"0\r\n\r\n" + SMUGGLED
    received = exchange(edge.node.public, sent.replace(b"Connection: close\r\n", b"") + head("GET", "/host/end"))
    assert len(edge.origin.asked) <= received.count(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "named",
    ["Content-Length", "Host", "X-Mizan-Token, Cookie", "X-Mizan-Invalidate", "X-Forwarded-For", "Transfer-Encoding"],
)
def test_naming_a_header_in_connection_loses_no_purge(edge: Edge, named: str) -> None:
    """Hop-by-hop headers: a client names one that the edge, or the origin, cannot do without."""
    edge.get(f"{edge.url}1")
    edge.origin.script = lambda asked: edge.origin.numbered(
        asked, *(["X-Mizan-Invalidate: things"] if asked.method == "POST" else [])
    )
    exchange(edge.node.public, head("POST", "/things/1/", f"Connection: {named}", "Content-Length: 5") + b"12345")
    written = [asked for asked in edge.origin.asked if asked.method == "POST"]
    assert kept(edge) == (not written)
    assert all((asked.body, asked.all("host")) == (b"12345", ["example.com"]) for asked in written)


LONG = ["a" * 4000, "%C3%A9" * 600, "a%20" * 990, "%2C" * 1300, "-" * 4000 + "%3B"]


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:6])
def test_a_scope_with_a_long_text_is_purged(edge: Edge, text: str) -> None:
    """A text that a caller chose must not bring a purge to a limit of the edge, by the header or by `PURGE`."""
    for tell in (edge.purge, lambda entries: told_in_band(edge, entries)):
        for target in (f"{edge.url}1", "/api/mizan/ctx/people/?name=Ann", f"{edge.url}2"):
            edge.get(target)
        tell(f"people;name={text}, things;item=1, people;name=Ann")
        assert [kept(edge, f"{edge.url}{item}") for item in (1, 2)] == [False, True]
        assert not kept(edge, "/api/mizan/ctx/people/?name=Ann")


def told_in_band(edge: Edge, entries: str) -> None:
    edge.origin.script = lambda asked: edge.origin.numbered(
        asked, *([f"X-Mizan-Invalidate: {entries}"] if asked.method == "POST" else [])
    )
    assert edge.ask("POST", "/host/write", "Content-Length: 0").status == 200


def test_a_purge_that_fails_half_way_forgets_everything(edge: Edge) -> None:
    """Where a regular expression comes to a limit of varnishd; those of nginx have none unless it is set."""
    for tell, status in (
        (lambda: edge.purge("people;name=a%20b").status, 200),
        (lambda: edge.ask("POST", "/host/write", "Content-Length: 0").status, 503),
    ):
        edge.origin.script = edge.origin.numbered
        edge.get(f"{edge.url}1")
        assert kept(edge)
        edge.origin.script = lambda asked: edge.origin.numbered(asked, "X-Mizan-Invalidate: people;name=a%20b")
        if edge.name == "varnish":
            with match_limit(edge, 1):
                assert tell() == status
            assert not kept(edge)
        else:
            assert tell() == 200
            assert kept(edge)


@contextmanager
def match_limit(edge: Edge, limit: int) -> Iterator[None]:
    set_limit = [found("varnishadm"), "-n", str(edge.node.folder / "n"), "param.set", "pcre2_match_limit"]
    subprocess.run([*set_limit, str(limit)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*set_limit, "10000"], check=True, capture_output=True)


def test_a_kilobyte_costs_no_second(edge: Edge) -> None:
    """Regular expressions that go back and forth over a hostile URL, header or entry."""
    texts = [
        "a" * 990,
        "%C3%A9" * 160,
        "a%20" * 245 + "!",
        "/" * 990,
        ".." * 490,
        "a;" * 490,
        "&item=1" * 140,
        "%" * 990,
    ]
    targets = [
        f"{before}{text}" for before in ("/people/", "/files/", f"{edge.url}1&kind=", "/host/") for text in texts
    ]
    entries = [", " * 2000, "x" + " \t" * 2000 + "y", "people;" + ";" * 4000, ("people;name=a" + " " * 120 + ",") * 30]
    entries += [f"people;name={text * 4}" for text in texts]
    for target in targets:
        took(exchange, edge.node.public, head("GET", target))
    for entry in entries:
        took(exchange, edge.node.purging, head("PURGE", "/", f"X-Mizan-Invalidate: {entry}"))


def took(ask: Callable[[Path, bytes], bytes], to: Path, sent: bytes) -> None:
    began = time.monotonic()
    assert ask(to, sent).startswith(b"HTTP/1.1 ")
    assert time.monotonic() - began < 1.0, sent[:80]


def test_a_body_that_breaks_off_costs_no_more_than_its_call(edge: Edge) -> None:
    """An outcome that is unknown by force: the caller goes away before the origin has the whole call."""
    edge.get(f"{edge.url}1")
    edge.get("/api/mizan/ctx/people/?name=a")
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(edge.node.public))
        connection.sendall(head("POST", "/api/mizan/call/rename/", "Content-Length: 100") + b"{")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(65536):
            pass
    assert kept(edge)
    if edge.name == "nginx":  # it asks the origin only when it has the whole body
        assert kept(edge, "/api/mizan/ctx/people/?name=a")
    assert ("POST", "/api/mizan/call/rename/") not in edge.origin.targets()


def test_an_answer_under_way_is_joined_by_nothing_after_a_purge(edge: Edge) -> None:
    """Collapsed requests while a purge happens: who asks after it must not be given the answer from before it."""
    computed, purged = threading.Event(), threading.Event()

    def script(asked: Asked) -> bytes:
        before = edge.origin.numbered(asked)
        if before.endswith(b"GET 1"):
            computed.set()
            assert purged.wait(10)
        return before

    edge.origin.script = script
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(edge.get, f"{edge.url}1")
        assert computed.wait(10)
        edge.purge("things;item=1")
        assert edge.get(f"{edge.url}1").body == "GET 2"
        purged.set()
        assert first.result().body == "GET 1"
    assert edge.get(f"{edge.url}1").body == "GET 2"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_at_the_url_of_a_page_makes_it_stale(edge: Edge, method: str) -> None:
    """RFC 9111, 4.4: also a write of the host's, of which Mizan knows nothing; a refused one does not."""
    pages = ["/things/1/", "/people/a%20b/", "/files/a/b", "/things/2/"]
    for page in pages:
        edge.get(page)
    edge.origin.script = lambda asked: edge.origin.numbered(asked, status="409 Conflict")
    edge.ask(method, "/things/1/", "Content-Length: 0")
    assert [kept(edge, page) for page in pages] == [True] * 4
    edge.origin.script = edge.origin.numbered
    for number, page in enumerate(("/things/1", "/people/a%20b/?x=1", "/files/a/b")):
        edge.ask(method, page, "Content-Length: 0")
        assert [kept(edge, one) for one in pages[number:]] == [False, *[True] * (3 - number)]


def test_an_entry_of_another_context_purges_its_own_alone(edge: Edge) -> None:
    """A text that a caller chose is not read as a second entry: commas and semicolons in it are encoded."""
    for target in (f"{edge.url}1", "/api/mizan/ctx/people/?name=b"):
        edge.get(target)
    edge.origin.script = lambda asked: answer("", "X-Mizan-Invalidate: people;name=a%2C%20things%3Bitem%3D1%2C%20%2A")
    edge.ask("POST", "/host/write", "Content-Length: 0")
    edge.origin.script = edge.origin.numbered
    assert kept(edge)
    assert kept(edge, "/api/mizan/ctx/people/?name=b")
