"""Percent-encoding is read as Python reads it, in native steps."""

from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from mizan_core.protocol.urls import unquoted


@given(st.lists(st.sampled_from([b"%", b"%%", b"%4", b"1", b"%41", b"\\", b"\\x41", b"\xff", b"a", b"\n"])))
@example([b"%"] * 7)
def test_percent_signs_are_read_as_python_reads_them(pieces: list[bytes]) -> None:
    assert unquoted(b"".join(pieces)) == unquote_to_bytes(b"".join(pieces))
