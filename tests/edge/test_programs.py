"""Generated programs: the same bytes for the same graph, taken by the real programs, and refused where they must be."""

import json
import tempfile
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse

from mizan_core import Context, DeclarationError, build, build_manifest
from mizan_core.edge import nginx_text, varnish_text
from tests.declaring import reader
from tests.edge.graphs import RandomWorld
from tests.edge.nodes import compiles, nginx_program, passes
from tests.edge.origins import Origin

ORIGIN = "http://127.0.0.1:8000"
MANIFEST = Origin().manifest


@pytest.mark.parametrize("seed", range(10))
def test_equal_manifests_give_the_same_bytes(seed: int) -> None:
    manifest = build_manifest(RandomWorld(seed).graph)
    again = build_manifest(RandomWorld(seed).graph)
    as_read = json.loads(json.dumps(manifest, sort_keys=True))
    for text in (varnish_text, nginx_text):
        assert text(manifest, origin=ORIGIN) == text(again, origin=ORIGIN) == text(as_read, origin=ORIGIN)


def test_unusual_graphs_have_programs() -> None:
    """No contexts at all; paths that may end with slashes; a page that leaves a default to its function."""
    context = Context("c", scopes=[("page",), ("a", "page")])
    page = {"route": "/c/{a:path}"}
    for graph in (
        build([]),
        build(
            [
                reader("r", context, a=str, page=(int, 1)),
                reader("p", context, HTMLResponse, options=page, a=str, page=(int, 1)),
            ]
        ),
    ):
        manifest = build_manifest(graph)
        with tempfile.TemporaryDirectory(prefix="mizan-edge-") as name:
            here = Path(name)
            assert compiles(varnish_text(manifest, origin=ORIGIN), here) == (0, "")
            assert passes(nginx_program(manifest, ORIGIN, here), here)[0] == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(6))
def test_programs_of_random_graphs_are_taken(seed: int) -> None:
    """`python -m tests.edge.test_programs` does this for 200 graphs."""
    assert refused(seed) == []


def refused(seed: int) -> list[str]:
    manifest = build_manifest(RandomWorld(seed).graph)
    with tempfile.TemporaryDirectory(prefix="mizan-edge-") as name:
        here = Path(name)
        verdicts = [
            compiles(varnish_text(manifest, origin=ORIGIN, host="example.com" if seed % 2 else None), here),
            passes(nginx_program(manifest, ORIGIN, here), here),
        ]
    return [why for status, why in verdicts if status != 0]


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "",
            "127.0.0.1:8000",
            "ftp://a",
            "http://",
            "http://a b",
            'http://a";',
            "http://a/path",
            "http://a?x",
            "http://a#x",
        ),
        *("http://u:p@a", "http://a:port", "http://a:99999", "http://a;b", "http://[::1", "http://a\nb"),
    ],
)
def test_an_origin_that_is_not_plain_is_refused(origin: str) -> None:
    for text in (varnish_text, nginx_text):
        with pytest.raises(DeclarationError, match=r"is not of the form http://host:port"):
            text(MANIFEST, origin=origin)


def test_origins_have_the_port_of_their_scheme() -> None:
    assert '.host = "::1";\n    .port = "8000";' in varnish_text(MANIFEST, origin="http://[::1]:8000")
    assert '.host = "app";\n    .port = "80";' in varnish_text(MANIFEST, origin="http://app/")
    assert "server app:443;" in nginx_text(MANIFEST, origin="https://app")
    assert "proxy_ssl_server_name on;" in nginx_text(MANIFEST, origin="https://app")
    with pytest.raises(DeclarationError, match="Varnish speaks no TLS to the origin 'https://app'"):
        varnish_text(MANIFEST, origin="https://app")


@pytest.mark.parametrize("host", ["", "a b", 'a"', "a:80", "http://a", "a/b", "a;", "é"])
def test_a_host_that_is_no_plain_name_is_refused(host: str) -> None:
    for text in (varnish_text, nginx_text):
        with pytest.raises(DeclarationError, match="is not a plain name such as example"):
            text(MANIFEST, origin=ORIGIN, host=host)


@pytest.mark.parametrize("value", ["", "80;", "a'b", 'a"', "{", "$x", "80 ", "80\nlisten 81", "#"])
def test_settings_that_mean_something_to_nginx_are_refused(value: str) -> None:
    for option in ("listen", "purge_listen", "cache_path"):
        with pytest.raises(DeclarationError, match=f"{option}=.* has characters that nginx gives a meaning to"):
            nginx_text(MANIFEST, origin=ORIGIN, **{option: value})


def test_a_program_says_which_command_wrote_it() -> None:
    for text in (varnish_text, nginx_text):
        written = text(MANIFEST, origin=ORIGIN, written_by="mizan edge x")
        assert written.startswith("# Written by `mizan edge x`. Changes will be lost.\n")
        assert written.partition("\n")[2] == text(MANIFEST, origin=ORIGIN)


def test_a_route_with_quotes_is_refused() -> None:
    manifest = build_manifest(Origin().graph, page_routes={"things": ["/it's/"]})
    for text in (varnish_text, nginx_text):
        with pytest.raises(DeclarationError, match="No edge can be written for the path"):
            text(manifest, origin=ORIGIN)


if __name__ == "__main__":
    found = {seed: why for seed in range(200) if (why := refused(seed))}
    print(found or "200 graphs: every program was taken.")
    raise SystemExit(bool(found))
