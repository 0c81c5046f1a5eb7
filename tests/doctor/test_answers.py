"""What headers tell of caches, and how answers are shown: pure."""

import pytest

from mizan_asgi.doctor.answers import Answer, differing, known_by


def answer(*headers: tuple[str, str], status: int = 200, body: bytes = b"") -> Answer:
    return Answer(status, headers, body)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("age", "12", "Age: 12"),
        ("age", "3, 0", "Age: 3"),
        ("cache-status", "mizan; hit, mizan-edge; hit", "Cache-Status: mizan-edge; hit"),
        ("cache-status", '"a.example"; ttl=3; hit', "Cache-Status: a.example; hit"),
        ("cache-status", "edge; hit=?1", "Cache-Status: edge; hit"),
        ("x-cache", "HIT", "X-Cache: HIT"),
        ("x-cache", "MISS, HIT", "X-Cache: MISS, HIT"),
        ("x-cache", "Hit from cloudfront", "X-Cache: Hit from cloudfront"),
        ("x-cache", "TCP_MEM_HIT from a1.deploy.akamaitechnologies.com", "X-Cache: TCP_MEM_HIT from a1.deploy"),
        ("cf-cache-status", "HIT", "CF-Cache-Status: HIT"),
        ("x-cache-status", "STALE", "X-Cache-Status: STALE"),
        ("x-varnish", "32770 3", "X-Varnish: 32770 3"),
    ],
)
def test_a_hit_is_read_from_its_header(name: str, value: str, shown: str) -> None:
    (mark,) = answer((name, value)).marks
    assert mark.startswith(shown)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", "0"),
        ("age", "soon"),
        ("cache-status", "mizan; hit"),
        ("cache-status", "mizan; hit, mizan-edge; fwd=uri-miss"),
        ("cache-status", "edge; fwd=stale; fwd-status=304"),
        ("cache-status", "edge; hit=?0"),
        ("x-cache", "MISS, MISS"),
        ("x-cache", "Miss from cloudfront"),
        ("x-cache", "RefreshHit from cloudfront"),
        ("x-cache", "HIT-FOR-PASS"),
        ("cf-cache-status", "DYNAMIC"),
        ("x-cache-status", "REVALIDATED"),
        ("x-varnish", "32770"),
    ],
)
def test_a_miss_is_no_hit(name: str, value: str) -> None:
    assert answer((name, value)).marks == []


@pytest.mark.parametrize(
    ("control", "is_public"),
    [
        ("public, max-age=0", True),
        ("Public", True),
        ("public, no-store", False),
        ("private", False),
        ("", False),
        ("public, max-age=0, private", False),
    ],
)
def test_public_is_what_caches_may_keep(control: str, is_public: bool) -> None:
    assert answer(("cache-control", control)).is_public is is_public


def test_two_headers_of_a_name_are_one_list() -> None:
    twice = answer(("cache-control", "public"), ("cache-control", "private"))
    assert twice.header("cache-control") == "public, private"
    assert not twice.is_public


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b'{"code":"not_found"}', "application/problem+json"), (b"[]", "application/problem+json"), (b"{", "text/html")],
)
def test_another_document_is_no_problem_of_ours(body: bytes, kind: str) -> None:
    assert answer(("content-type", kind), body=body).problem is None
    assert answer(("content-type", "application/problem+json"), body=b"{").problem is None


def test_an_answer_is_shown_without_its_body() -> None:
    shown = known_by(answer(("etag", f'W/"{"a" * 70}"'), body=b"a secret"))
    assert shown == f'200, 8 bytes, ETag W/"{"a" * 57}...'
    assert answer().shown("vary", "etag") == "no Vary and no ETag"


def test_a_header_differs_where_each_side_agrees_with_itself() -> None:
    ours = [answer(("x-user", "7"), ("x-at", "1"), ("date", "a")), answer(("x-user", "7"), ("x-at", "2"))]
    theirs = [answer(("x-user", "8"), ("x-at", "3"), ("date", "b")), answer(("x-user", "8"), ("x-at", "3"))]
    assert list(differing(ours, theirs)) == ["x-user"]
