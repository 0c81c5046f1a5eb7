"""Forms with files, whatever their bytes and the chunks in which they arrive; and what they cost at their worst."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizan_asgi.http.bodies.limits import BodyLimit
from mizan_asgi.http.bodies.uploads import Form, read_form
from mizan_asgi.http.sent_headers import SentHeaders
from mizan_core import BadRequest, CallError, File, InvalidInput, build, client
from mizan_core.protocol.urls import Pairs
from tests.counting import calls

BOUNDARY = "b-o"
DELIMITER = b"\r\n--b-o"


@client
async def upload(pictures: list[File], tags: tuple[str, ...] = ()) -> None: ...


FUNCTION = build([upload]).functions["upload"]
LIMIT = BodyLimit(10_000_000)
HEADERS = SentHeaders({"headers": [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]})

# Bytes that a parser could take for a delimiter, or for the beginning of one.
TREACHEROUS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--b", b"--b-o"[:-1], b"\r\n--b", b"x", b"\x00", b"b-o"])
).map(b"".join)


def read(chunks: Sequence[bytes], limit: BodyLimit = LIMIT, rest: BodyLimit = LIMIT) -> Form:
    waiting = [*chunks]

    async def receive() -> Any:
        chunk = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    return asyncio.run(read_form(HEADERS, receive, FUNCTION, limit, rest))


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [*sorted({one % (len(body) + 1) for one in places}), len(body)]
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def part(head: str, value: bytes) -> bytes:
    return b"--b-o\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n"


@settings(max_examples=200, deadline=None)
@given(
    files=st.lists(st.one_of(TREACHEROUS, st.binary(max_size=300)).filter(lambda one: DELIMITER not in b"\r\n" + one)),
    tags=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n-"), max_size=20)),
    places=st.lists(st.integers(min_value=0)),
)
def test_files_are_the_bytes_that_were_sent(files: list[bytes], tags: list[str], places: list[int]) -> None:
    body = b"".join(part('name="pictures"; filename="a"', one) for one in files)
    body += b"".join(part('name="tags"', one.encode()) for one in tags) + b"--b-o--\r\n"
    form = read(cut(body, places))
    assert [one.file.read() for one in form.files] == files
    assert [one.size for one in form.files] == [len(one) for one in files]
    given_tags = [value for name, value in form.texts if name == "tags"]
    assert given_tags == [one for one in tags if one]
    for one in form.files:
        one.close()


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(
            TREACHEROUS,
            st.binary(max_size=50),
            st.just(part('name="pictures"; filename="a"', b"x")),
            st.just(part('name=":args"', b"{}")),
            st.just(b"--b-o--\r\n"),
        )
    ),
    places=st.lists(st.integers(min_value=0)),
)
def test_garbage_is_a_form_or_refused(pieces: list[bytes], places: list[int]) -> None:
    form = None
    with contextlib.suppress(BadRequest, InvalidInput):
        form = read(cut(b"".join(pieces), places))
    if form is not None:
        assert isinstance(form.texts, Pairs)
        for one in form.files:
            one.close()


HEAD = b'--b-o\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n'

# What begins a body, and what is repeated in it: the worst that is known for parsers of forms.
WORST = {
    "returns": (HEAD + b"\r\n", b"\r"),
    "beginnings of delimiters": (HEAD + b"\r\n", b"\r\n--b-"),
    "beginnings of line breaks": (HEAD + b"\r\n", b"\r\n--"),
    "a preamble": (b"", b"\r\n"),
    "a header's spaces": (b"--b-o\r\na:", b" "),
    "a header's name": (b"--b-o\r\n", b"a"),
    "headers": (b"--b-o\r\n", b"a: b\r\n"),
    "parameters": (HEAD.removesuffix(b"\r\n"), b"; a"),
    "quotes": (HEAD.removesuffix(b"\r\n"), b'; a="\\"'),
    "an epilogue": (HEAD + b"\r\n\r\n--b-o--\r\n", b"\r\n--b-o\r\n"),
}


@pytest.mark.parametrize(("head", "repeated"), WORST.values(), ids=WORST)
def test_a_longer_body_takes_no_more_steps_for_each_chunk(head: bytes, repeated: bytes) -> None:
    def reading(size: int) -> Any:
        body = head + repeated * (size // len(repeated))
        return lambda: ended(body)

    assert calls(reading(1_000_000)) <= calls(reading(10_000)) + 100


def ended(body: bytes) -> None:
    """Read a body that arrives at once."""
    try:
        form = read([body])
    except CallError:
        return
    for one in form.files:
        one.close()


@pytest.mark.parametrize("count", [1001, 100_000])
def test_no_part_is_read_after_the_thousandth(count: int) -> None:
    with pytest.raises(BadRequest, match="more than 1000 fields"):
        read([part('name="tags"', b"") * count + b"--b-o--\r\n"])


def test_a_thousand_parts_take_steps_in_proportion() -> None:
    def reading(count: int) -> Any:
        return lambda: ended(part('name="tags"', b"x") * count + b"--b-o--\r\n")

    assert calls(reading(900)) < 10.5 * calls(reading(90))
