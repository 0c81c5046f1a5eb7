"""Percent-encoding is read as Python reads it, and canonical queries are written in one way."""

from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from mizan_core.protocol.urls import canonical_query, decode_percent, decode_text, encode_text


@given(st.lists(st.sampled_from([b"%", b"%%", b"%4", b"1", b"%41", b"\\", b"\\x41", b"\xff", b"a", b"\n"])))
@example([b"%"] * 7)
def test_percent_decoding_agrees_with_urllib(pieces: list[bytes]) -> None:
    assert decode_percent(b"".join(pieces)) == unquote_to_bytes(b"".join(pieces))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_comes_back_from_its_encoding(text: str) -> None:
    assert decode_text(encode_text(text).encode()) == text


def test_a_canonical_query_is_sorted_and_leaves_defaults_out() -> None:
    texts = {"team": "7", "page": "1", "active": "true"}
    assert canonical_query(texts, {}, {"page": "1"}) == "active=true&team=7"


def test_a_canonical_query_repeats_the_name_of_a_list() -> None:
    assert canonical_query({"of": "[9,10]"}, {"of": [9, 10]}, {}) == "of=9&of=10"
    assert canonical_query({"of": "[]"}, {"of": []}, {}) == ""
    assert canonical_query({"name": "[9]"}, {"name": "[9]"}, {}) == "name=%5B9%5D"
