"""A response as it is kept, there and back (protocol, section 9)."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizan_core.protocol.kept_pages import KeptPage, kept_form, read_page


@dataclass
class Made:
    """A response with the attributes that Starlette's have."""

    body: Any = b"body"
    raw_headers: Any = ()
    status_code: int = 200
    background: object = None


values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20).map(
    lambda text: text.encode("latin-1")
)


@given(st.binary(), st.lists(st.tuples(st.sampled_from([b"x-a", b"link", b"content-type"]), values)))
def test_what_is_kept_comes_back(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    kept = kept_form(Made(body, headers))
    assert kept is not None
    assert read_page(kept[0]) == KeptPage(headers, body)
    assert kept[1] is None


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


@pytest.mark.parametrize(
    "response",
    [
        Made(status_code=404),
        Made(body=None),
        Made(body=memoryview(b"x")),
        Made(raw_headers=None),
        Made(background=print),
        Made(raw_headers=headers(Set_Cookie="a=b")),
        Made(raw_headers=headers(vary="*")),
        Made(raw_headers=headers(cache_control="private")),
        Made(raw_headers=headers(cache_control="max-age=0")),
        Made(raw_headers=[*headers(cache_control="max-age=5"), *headers(cache_control="no-cache")]),
        object(),
    ],
)
def test_other_responses_are_not_kept(response: object) -> None:
    assert kept_form(response) is None


@pytest.mark.parametrize(
    ("control", "seconds"), [("max-age=5", 5), ("public, s-maxage=3, max-age=5", 3), ("public", None)]
)
def test_its_own_lifetime_is_read(control: str, seconds: int | None) -> None:
    kept = kept_form(Made(raw_headers=headers(cache_control=control)))
    assert kept is not None
    assert kept[1] == seconds
