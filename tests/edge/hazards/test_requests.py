"""What a request says, and the key of an answer does not: unkeyed input, disguised parameters and paths, identity."""

import pytest

from mizan_core.edge.misleading import MISLEADING
from tests.edge.hazards.wire import PRIVATE, Asked, Edge, answer, exchange, head


def test_headers_that_mislead_the_origin_do_not_reach_it(edge: Edge) -> None:
    """Unkeyed input: `X-Forwarded-Host` and its like would decide what everyone after is shown."""
    poison = [f"{name}: evil.example" for name in MISLEADING]
    edge.get(f"{edge.url}1", *poison)
    edge.get("/host/page", *poison)
    kept, passed = edge.origin.asked
    assert [name for name, value in kept.headers if value == "evil.example"] == []
    assert {name for name, value in passed.headers if value == "evil.example"} == {one.lower() for one in MISLEADING}


def test_the_port_that_a_client_names_does_not_reach_the_origin(edge: Edge) -> None:
    edge.get(f"{edge.url}1", host="EXAMPLE.com:1337")
    assert edge.origin.asked[0].all("host") == ["example.com"]
    assert edge.get(f"{edge.url}1").edge == "hit"


def test_answers_of_two_schemes_are_not_shared(edge: Edge) -> None:
    """What a client says of the scheme is not believed, or is part of the key."""
    edge.origin.script = lambda asked: answer(str(asked.all("x-forwarded-proto") == ["https"]))
    assert edge.get(f"{edge.url}1", "X-Forwarded-Proto: https").body in ("True", "False")
    assert edge.get(f"{edge.url}1").body == "False"
    assert edge.get(f"{edge.url}1", "X-Forwarded-Proto: gopher").body == "False"


@pytest.mark.parametrize(
    "host", ["example.com.", "example.com.evil", "evil@example.com", "xexample.com", "example.com:80:80", "example.org"]
)
def test_another_host_shares_nothing_with_ours(edge: Edge, host: str) -> None:
    edge.get(f"{edge.url}1")
    assert edge.get(f"{edge.url}1", host=host).edge == ""
    assert edge.get(f"{edge.url}1").body == "GET 1"


def test_two_names_of_the_host_are_not_confused(edge: Edge) -> None:
    """An absolute URL beside another `Host`: the one that chooses the key is the one that the origin sees."""
    for target, host in (("http://evil.example/things/1/", "example.com"), ("http://example.com/things/2/", "evil")):
        answered = edge.get(target, host=host)
        [sent] = edge.origin.asked[-1].all("host")
        assert (answered.edge != "") == (sent == "example.com")
    doubled = b"GET /things/3/ HTTP/1.1\r\nHost: example.com\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert exchange(edge.node.public, doubled).startswith(b"HTTP/1.1 400 ")
    assert exchange(edge.node.public, head("GET", "/things/3/", host=None)).startswith(b"HTTP/1.1 400 ")


def test_a_get_with_a_body_is_asked_for_without_it(edge: Edge) -> None:
    """Fat GET: a body that the origin reads as parameters, and that no key has."""
    form = "Content-Type: application/x-www-form-urlencoded"
    edge.ask("GET", f"{edge.url}1", form, "Content-Length: 6", body=b"item=2")
    edge.ask("GET", f"{edge.url}2", form, "Transfer-Encoding: chunked", body=b"6\r\nitem=2\r\n0\r\n\r\n")
    for asked in edge.origin.asked:
        assert (asked.body, asked.all("content-length"), asked.all("transfer-encoding")) == (b"", [], [])


@pytest.mark.parametrize(
    "query",
    [
        *("item=1&item=2", "item=1;item=2", "item=1&kind=b&kind=c", "item=1%26kind=b", "item=1&utm_source=x"),
        *("item=1&", "&item=1", "item=1&&kind=b", "kind=b&item=1", "item=1&Kind=b", "item=1&kind[]=b", "item=+1"),
        *("item=1&kind=b#", "item=%31", "item=1&kind=%7e", "item=1&kind=%c3%a9", "item=1&kind=\xe9", "item"),
    ],
)
def test_a_parameter_in_disguise_shares_no_key(edge: Edge, query: str) -> None:
    """Parameter cloaking and pollution: the origin may read such a query in another way than the edge does."""
    edge.origin.script = lambda asked: edge.origin.numbered(asked, control=PRIVATE if asked.target[-2:] != "=1" else "")
    clean = "/api/mizan/ctx/things/?item=1"
    edge.get(clean)
    edge.origin.script = edge.origin.numbered
    edge.get(f"/api/mizan/ctx/things/?{query}")
    before = len(edge.origin.asked)
    edge.get(clean)
    assert len(edge.origin.asked) == before + 1, "the clean URL was answered by what the other one left"


@pytest.mark.parametrize(
    "end", ["", "x.css", ";x.css", "%2Fx.css", "%00.css", "%0A.css", "%23.css", "%3Fx.css", ".css"]
)
def test_a_private_answer_is_kept_under_no_static_name(edge: Edge, end: str) -> None:
    """Web cache deception: an address that looks like a file, where the origin shows the caller's own page."""
    edge.origin.script = lambda asked: answer("".join(asked.all("cookie")), control=PRIVATE)
    for target in (f"/me/{end}", f"/api/mizan/ctx/mine/{end}", f"/api/mizan/ctx/mine{end}"):
        own = edge.get(target, "Cookie: session=7")
        if own.status == 200:  # nginx refuses a path with %00
            assert (own.body, edge.get(target).body) == ("session=7", "")


@pytest.mark.parametrize(
    "path", ["/people/../", "/people/..", "/people/./", "/files/../me/", "/files/a/../../me/", "/files/."]
)
def test_a_path_with_dot_segments_is_not_kept(edge: Edge, path: str) -> None:
    """A proxy on the way may take them away, and the answer is one of another page."""
    edge.get(path)
    assert edge.get(path).edge == ""


@pytest.mark.parametrize(
    "path",
    [
        *("/things//8/", "//things/8/", "/x/../things/8/", "/THINGS/8/", "/things/%38/", "/things/8/%20"),
        *("/people/%61/", "/people/a%2fb/", "/people/%2e%2e/", "/people/\\..\\/", "/people/\xe9/"),
        *("/things/8/?", "/things/8/?x=1", "/things/8/;a=b", "/things/8/x.css", "/things/+8/"),
    ],
)
def test_another_spelling_of_a_path_is_passed_on(edge: Edge, path: str) -> None:
    edge.get(path)
    assert edge.get(path).edge == ""


def test_an_encoded_slash_is_another_key_than_a_slash(edge: Edge) -> None:
    bodies = {edge.get(f"/files/{name}").body for name in ("a/b", "a%2Fb", "a%252Fb")}
    assert len(bodies) == 3


def test_encoded_line_breaks_reach_neither_head(edge: Edge) -> None:
    """Header injection by `%0D%0A`, in the request that the origin gets and in the answer."""
    for target in ("/people/a%0D%0AX-Mizan-Invalidate%3A%20%2A/", f"{edge.url}1&kind=%0D%0ASet-Cookie%3A%20a%3Db"):
        answered = edge.get(target)
        assert edge.origin.asked[-1].target == target
        assert edge.origin.asked[-1].all("x-mizan-invalidate") == []
        assert "set-cookie" not in answered.headers
        assert edge.get(target).edge == "hit"


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Bearer 7"],
        ["Cookie: a=1", "Cookie: session=7"],
        ["X-Mizan-Token: 7", "x-mizan-token: 7"],
        ["COOKIE:session=7"],
    ],
)
def test_nothing_of_who_asks_goes_with_what_is_kept(edge: Edge, lines: list[str]) -> None:
    """`Authorization` at a shared cache (RFC 9111, 3.5): the answer for everyone is asked for by nobody."""
    edge.get(f"{edge.url}1", *lines)
    assert [name for name, value in edge.origin.asked[0].headers if "7" in value and name != "x-varnish"] == []
    assert edge.get(f"{edge.url}1").edge == "hit"


@pytest.mark.parametrize("path", ["/word/secret/", "/word/secret", "/word/export/5/", "/word/export/5?a=b"])
def test_a_route_for_everyone_takes_no_identity_from_others(edge: Edge, path: str) -> None:
    """A wide route of a page matches the path of a private one as well, which then would not know its caller."""
    edge.origin.script = lambda asked: answer("".join(asked.all("cookie")), control=PRIVATE)
    assert edge.get(path, "Cookie: session=7").body == "session=7"
    assert edge.get("/word/other", "Cookie: session=7").body == ""


@pytest.mark.parametrize("line", ["Cookie : session=7", "X-Filler: 1\r Cookie: session=7", "X-Filler: \x007"])
def test_a_header_that_two_programs_read_differently_is_refused(edge: Edge, line: str) -> None:
    answered = exchange(edge.node.public, head("GET", "/me/", line))
    sent = [value for asked in edge.origin.asked for _, value in asked.headers]
    assert answered.startswith(b"HTTP/1.1 400 ") or not any("7" in value for value in sent)


@pytest.mark.parametrize(
    "line",
    [
        "Cache-Control: no-cache, no-store, max-age=0",
        "Pragma: no-cache",
        "Cache-Control: max-age=0",
        "Range: bytes=0-1",
    ],
)
def test_a_client_cannot_have_the_origin_asked(edge: Edge, line: str) -> None:
    """Otherwise a reload, or an attacker, goes past the cache each time."""
    edge.get(f"{edge.url}1")
    for _ in range(3):
        edge.get(f"{edge.url}1", line)
    assert len(edge.origin.asked) == 1


def test_an_error_that_a_request_provokes_is_not_kept(edge: Edge) -> None:
    """Cache-poisoned denial of service: oversized headers, meta characters, another method."""

    def script(asked: Asked) -> bytes:
        provoked = any("oversized" in value or "\x7f" in value for _, value in asked.headers)
        overridden = asked.all("x-http-method-override")
        status = "400 Bad Request" if provoked else "405 Method Not Allowed" if overridden else "200 OK"
        return edge.origin.numbered(asked, status=status)

    edge.origin.script = script
    for number, line in enumerate(("X-Large: oversized" + "x" * 5000, "X-Meta: \x7f", "X-HTTP-Method-Override: POST")):
        provoked = edge.get(f"{edge.url}{number}", line)
        assert provoked.status in (200, 400)
        assert edge.get(f"{edge.url}{number}").status == 200
