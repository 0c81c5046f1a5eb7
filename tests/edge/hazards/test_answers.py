"""What an answer says: which ones may be kept, for how long, and what leaves the edge of them."""

import gzip
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edge.hazards.wire import PRIVATE, PUBLIC, Asked, Edge, answer, exchange, head
from tests.edge.nodes import found, parsed


def is_kept(edge: Edge, *lines: str, control: str = PUBLIC, status: str = "200 OK") -> bool:
    edge.origin.script = lambda asked: edge.origin.numbered(asked, *lines, control=control, status=status)
    return edge.get(f"{edge.url}1").body == edge.get(f"{edge.url}1").body


def test_answers_for_everyone_are_kept(edge: Edge) -> None:
    """The other tests of this module see a difference to this."""
    assert is_kept(edge)
    edge.purge("*")
    assert is_kept(edge, "Vary: Accept-Encoding", "Age: 0", control="Public, Max-Age=0, S-MaxAge=60")


@pytest.mark.parametrize(
    "status", ["404 Not Found", "410 Gone", "301 Moved Permanently", "302 Found", "203 Other", "500 Error", "503 Busy"]
)
def test_errors_and_redirects_are_not_kept(edge: Edge, status: str) -> None:
    """Negative caching: a caller could have an error, or a way elsewhere, shown to everyone."""
    assert not is_kept(edge, "Location: /", status=status)


@pytest.mark.parametrize(
    "control", ["", "public", "max-age=600", "public, max-age=600", "s-maxage=600", "public, s-maxage=0"]
)
def test_nothing_is_kept_by_a_guess_at_its_lifetime(edge: Edge, control: str) -> None:
    """Heuristic freshness (RFC 9111, 4.2.2): what does not say `public` and `s-maxage` is not kept."""
    assert not is_kept(edge, "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", control=control)


@pytest.mark.parametrize(
    "line",
    [
        "Set-Cookie: session=7",
        "Cache-Control: private",
        "cache-control: no-store",
        'Cache-Control: no-cache="Set-Cookie"',
    ],
)
def test_a_line_that_forbids_it_is_heard(edge: Edge, line: str) -> None:
    """Also a second line of a header."""
    assert not is_kept(edge, line)


@pytest.mark.parametrize(
    "lines",
    [
        ["Vary: Cookie"],
        ["Vary: *"],
        ["Vary: Accept-Encoding, Cookie"],
        ["Vary: Accept-Encoding", "Vary: Accept-Language"],
    ],
)
def test_an_answer_that_varies_is_not_kept(edge: Edge, lines: list[str]) -> None:
    assert not is_kept(edge, *lines)


@pytest.mark.parametrize(
    "cut",
    [
        answer("0123456789").replace(b"Content-Length: 10", b"Content-Length: 20"),
        answer("5\r\n01234\r\n").replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
        answer("0123456789").replace(b"Content-Length: 10\r\n", b""),
    ],
    ids=["length", "chunks", "neither"],
)
def test_a_cut_answer_is_not_kept(edge: Edge, cut: bytes) -> None:
    """Where neither a length nor chunks tell that an answer is whole, it is taken for a part."""
    edge.origin.script = lambda _asked: cut
    edge.origin.last = True
    for _ in range(2):
        exchange(edge.node.public, head("GET", f"{edge.url}1"))
    assert len(edge.origin.asked) >= 2


def test_an_answer_from_another_cache_is_not_kept(edge: Edge) -> None:
    """One with an `Age` may be from before a purge, and from a cache that hears of none."""
    assert not is_kept(edge, "Age: 1")
    assert not is_kept(edge, "Age: 31536000")


def test_the_age_of_what_is_kept_is_told(edge: Edge) -> None:
    edge.origin.script = lambda asked: answer("", "Date: Mon, 01 Jan 2024 00:00:00 GMT")
    edge.get(f"{edge.url}1")
    assert int(edge.get(f"{edge.url}1").headers["age"]) >= 0


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 2035 00:00:00 GMT", "yesterday"])
def test_a_clock_that_is_wrong_changes_no_lifetime(edge: Edge, date: str) -> None:
    assert is_kept(edge, f"Date: {date}", "Expires: Mon, 01 Jan 2001 00:00:00 GMT")
    edge.origin.script = lambda asked: edge.origin.numbered(asked, f"Date: {date}", control="public, s-maxage=1")
    first = edge.get(f"{edge.url}2").body
    until = time.monotonic() + 5
    while edge.get(f"{edge.url}2").body == first:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_nothing_stale_is_served_for_an_origin_that_fails(edge: Edge) -> None:
    """`stale-while-revalidate`, `stale-if-error` and grace."""
    controls = ("public, s-maxage=1, stale-while-revalidate=60, stale-if-error=60", "public, s-maxage=1")
    for number, control in enumerate(controls):
        edge.origin.script = lambda asked, control=control: edge.origin.numbered(asked, control=control)  # type: ignore[misc]
        assert edge.get(f"{edge.url}{number}").status == 200
    edge.origin.script = lambda _asked: None
    until = time.monotonic() + 5
    while any(edge.get(f"{edge.url}{number}").status == 200 for number in range(len(controls))):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_part_is_not_kept_as_the_whole(edge: Edge) -> None:
    edge.origin.script = lambda asked: answer("0123456789", 'ETag: W/"a"')
    assert edge.get(f"{edge.url}1", "Range: bytes=0-3").body in ("0123", "0123456789")
    assert edge.origin.asked[0].all("range") == []
    assert (edge.get(f"{edge.url}1").body, edge.get(f"{edge.url}1").edge) == ("0123456789", "hit")
    assert not is_kept(edge, "Content-Range: bytes 0-3/10", status="206 Partial Content") or len(edge.origin.asked) == 1
    amplified = edge.get(f"{edge.url}1", "Range: bytes=" + ",".join(["0-"] * 1000))
    assert len(amplified.body) <= 10


def test_a_condition_of_one_client_is_not_one_of_the_next(edge: Edge) -> None:
    """A miss with `If-None-Match` keeps the whole answer, and no 304 for everyone."""
    edge.origin.script = lambda asked: answer("whole", 'ETag: W/"a"')
    for item, line in enumerate(('If-None-Match: W/"a"', "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT")):
        first = edge.get(f"{edge.url}{item}", line)
        assert (first.status, first.body) in ((304, ""), (200, "whole"))
        again = edge.get(f"{edge.url}{item}")
        assert (again.status, again.body, again.edge) == (200, "whole", "hit")
    assert [edge.origin.asked[item].all(one) for item in (0, 1) for one in ("if-none-match", "if-modified-since")] == [
        []
    ] * 4


@pytest.mark.parametrize(
    ("condition", "status"),
    [('W/"a"', 304), ('"a"', 304), ('W/"b"', 200), ('"A"', 200), ('"ab"', 200)],
)
def test_entity_tags_are_compared_weakly(edge: Edge, condition: str, status: int) -> None:
    edge.origin.script = lambda asked: answer("whole", 'ETag: W/"a"')
    edge.get(f"{edge.url}1")
    assert edge.get(f"{edge.url}1", f"If-None-Match: {condition}").status == status
    assert len(edge.origin.asked) == 1


def test_a_head_keeps_no_answer_without_a_body(edge: Edge) -> None:
    assert edge.ask("HEAD", f"{edge.url}1").body == ""
    assert edge.get(f"{edge.url}1").body == "GET 1"
    assert edge.ask("HEAD", f"{edge.url}1").headers["content-length"] == "5"


def test_every_client_gets_an_encoding_that_it_reads(edge: Edge) -> None:
    """A compressed answer to one client is not shown to the next that cannot read it."""
    body = "text " * 100

    def script(asked: Asked) -> bytes:
        if not any("gzip" in value for value in asked.all("accept-encoding")):
            return answer(body, "Vary: Accept-Encoding")
        packed = gzip.compress(body.encode())
        lines = ("Vary: Accept-Encoding", "Content-Encoding: gzip", f"Content-Length: {len(packed)}")
        return answer("", *lines).replace(b"Content-Length: 0\r\n", b"") + packed

    edge.origin.script = script
    for line in ("Accept-Encoding: gzip", "Accept-Encoding: br", "Accept-Encoding: gzip", "Accept-Encoding: identity"):
        sent = exchange(edge.node.public, head("GET", f"{edge.url}1", line))
        lines, _, rest = sent.partition(b"\r\n\r\n")
        is_packed = b"content-encoding: gzip" in lines.lower()
        assert is_packed <= line.endswith("gzip")
        assert (gzip.decompress(rest).decode() if is_packed else parsed(sent).body) == body


def test_includes_in_a_body_are_not_followed(edge: Edge) -> None:
    """ESI and SSI injection: text of a user's that the edge would take for an order."""
    text = '<esi:include src="/me/"/><!--#include virtual="/me/" --><esi:vars>$(HTTP_COOKIE)</esi:vars>'
    edge.origin.script = lambda asked: answer(text, 'Surrogate-Control: content="ESI/1.0"')
    for target in (f"{edge.url}1", "/host/page"):
        assert edge.get(target, "Cookie: session=7").body == text
    assert [asked.target for asked in edge.origin.asked] == [f"{edge.url}1", "/host/page"]


def test_no_header_of_an_answer_leads_elsewhere(edge: Edge) -> None:
    """`X-Accel-Redirect`: nginx would answer with another page, and not hear what the write made stale."""
    edge.get(f"{edge.url}1")
    edge.origin.script = lambda asked: answer("own", "X-Accel-Redirect: /me/", "X-Mizan-Invalidate: things;item=1")
    assert edge.ask("POST", "/host/write", "Content-Length: 0").body == "own"
    assert [asked.target for asked in edge.origin.asked] == [f"{edge.url}1", "/host/write"]
    edge.origin.script = edge.origin.numbered
    assert edge.get(f"{edge.url}1").edge == "fwd=uri-miss"


@pytest.mark.parametrize(
    "lines",
    [
        [f"Cache-Control: {PUBLIC}"],
        ["Cache-Control: S-MaxAge=600, public, max-age=0"],
        ["Cache-Control: public, s-maxage=600, max-age=0, s-maxage=600"],
        ["Cache-Control: public, max-age=0", "Cache-Control: s-maxage=600"],
    ],
)
def test_caches_behind_an_edge_are_told_to_ask(edge: Edge, lines: list[str]) -> None:
    """Two caches in a row: the one behind hears of no purge, so it is given no lifetime, by a hit or a pass."""
    edge.origin.script = lambda asked: edge.origin.numbered(asked, *lines, "Cache-Status: mizan; hit", control="")
    for target in (f"{edge.url}1", f"{edge.url}1", f"{edge.url}01"):
        control = edge.get(target).headers["cache-control"]
        assert "s-maxage" not in control.lower()
        assert ("public" in control, "max-age=0" in control) == (True, True)


def test_what_the_host_says_to_caches_is_its_own(edge: Edge) -> None:
    edge.origin.script = lambda asked: edge.origin.numbered(asked, control="public, s-maxage=60")
    assert edge.get("/host/page").headers["cache-control"] == "public, s-maxage=60"


def test_requests_that_waited_are_not_given_a_private_answer(edge: Edge) -> None:
    """Collapsed requests: who waited for an answer that turns out to be private is not shown it."""
    slept = sleeping(edge)
    first, both = threading.Event(), threading.Event()

    def script(asked: Asked) -> bytes:
        own = edge.origin.numbered(asked, control=PRIVATE)
        first.set()
        assert both.wait(10)
        return own

    edge.origin.script = script
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(edge.get, f"{edge.url}1")
        assert first.wait(10)
        other = pool.submit(edge.get, f"{edge.url}1")
        while sleeping(edge) == slept and len(edge.origin.asked) < 2:
            time.sleep(0.01)
        both.set()
        assert {one.result().body, other.result().body} == {"GET 1", "GET 2"}


def sleeping(edge: Edge) -> int:
    """How many requests Varnish has made wait for another one's answer; nginx lets none wait."""
    if edge.name == "nginx":
        return 0
    command = [found("varnishstat"), "-n", str(edge.node.folder / "n"), "-1", "-f", "MAIN.busy_sleep"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1])
