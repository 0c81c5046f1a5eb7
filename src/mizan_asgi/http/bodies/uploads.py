"""Forms with files (protocol, section 16): read as they arrive, small files in memory, large ones on disk.

`python_multipart` finds the parts. Here they are counted, limited, and kept: texts and JSON in memory, within the limit
of all bodies; files within the limit of their function.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive

from mizan_core.errors import PayloadTooLarge
from mizan_core.graph.inputs import MAXIMUM_FIELDS, Given, Mixed
from mizan_core.graph.model import Function
from mizan_core.protocol.bodies import as_arguments, parse_json
from mizan_core.protocol.files import ANY_BYTES, JSON_ARGUMENTS, File
from mizan_core.protocol.urls import Pairs

from ..sent_headers import SentHeaders
from .forms import (
    BLANK,
    PART_HEADER_LENGTH,
    boundary_of,
    from_utf8,
    is_json,
    media_type,
    not_multipart,
    read_disposition,
    too_many_fields,
    without_blanks,
)
from .limits import BodyLimit, arriving

# The bytes of files that one request may keep in memory; beyond them, a file goes on on disk.
_BYTES_IN_MEMORY = 1024 * 1024
# The bytes that are written to disk in one go, in a thread.
_BYTES_WRITTEN_AT_ONCE = 256 * 1024

_CONTENT_TYPE = re.compile(rb"(?:^|\r\n)content-type:[ \t]*([^\r\n]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was read: its fields, texts and files; its JSON values; and its files, which have to be closed."""

    texts: Pairs
    values: Mapping[str, object]
    files: tuple[File, ...]

    @property
    def arguments(self) -> Given:
        return Mixed(self.texts, self.values) if self.values else self.texts

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close the files if this fails."""
        try:
            yield
        except BaseException:
            for one in self.files:
                one.close()
            raise


def upload_limit(service_limit: BodyLimit, function: Function) -> BodyLimit | None:
    """The limit of a form with this function's files; None for a function that takes none."""
    if not function.files:
        return None
    own = function.declaration.max_upload_bytes
    return service_limit if own is None else BodyLimit(own)


def is_multipart(headers: SentHeaders) -> bool:
    """Whether the body is a form that may have files. Raises `UnsupportedMediaType`."""
    return media_type(headers) == "multipart/form-data"


async def read_form(
    headers: SentHeaders, receive: Receive, function: Function, limit: BodyLimit, limit_of_rest: BodyLimit
) -> Form:
    """Read a form to its end. Whatever ends it before that, its files are closed.

    `limit`: of the whole body. `limit_of_rest`: of all in it that is no file. Raises `PayloadTooLarge` as soon as more
    than that has arrived, other `CallError`s, and `ClientDisconnect`.
    """
    reader = _Reader(function, boundary_of(headers.all(b"content-type")[0]), limit_of_rest)
    try:
        async for chunk in arriving(receive, limit):
            reader.feed(chunk)
            await reader.write()
        await reader.write(to_the_end=True)
        return reader.form()
    except BaseException:
        reader.close()
        raise


@dataclass(slots=True)
class _Upload:
    """A file that arrives: what has been written, and the chunks that still have to be."""

    name: str
    content_type: str
    spooled: "SpooledTemporaryFile[bytes]"
    size: int = 0
    on_disk: bool = False
    pending: list[bytes] = field(default_factory=list)
    bytes_pending: int = 0

    def as_file(self) -> File:
        self.spooled.seek(0)
        return File(cast(BinaryIO, self.spooled), name=self.name, content_type=self.content_type, size=self.size)


class _Reader:
    """Reads the parts of a form. `feed` does no I/O beyond memory; `write` does, in threads."""

    def __init__(self, function: Function, boundary: bytes, limit_of_rest: BodyLimit) -> None:
        self._function = function
        self._limit = limit_of_rest
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header,
                "on_header_value": self._value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )
        self._uploads: list[_Upload] = []
        self._pending: list[_Upload] = []  # those with something to be written to disk
        self._pairs: list[tuple[str, object]] = []
        self._values: dict[str, object] = {}
        self._counts: dict[str, int] = {}
        self._parts = 0
        self._in_memory = 0  # bytes of files
        self._rest = 0  # bytes of all that is no file
        self._ended = False
        # Of the part that arrives:
        self._headers = bytearray()
        self._line = bytearray()
        self._in_value = False
        self._name = ""
        self._text = bytearray()
        self._upload: _Upload | None = None
        self._is_json = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `CallError`."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise not_multipart() from None

    async def write(self, *, to_the_end: bool = False) -> None:
        """Write to disk what has arrived of large files. Without `to_the_end`, not yet a little of one that goes on."""
        for upload in [*self._pending]:
            if to_the_end or upload is not self._upload or upload.bytes_pending >= _BYTES_WRITTEN_AT_ONCE:
                self._pending.remove(upload)
                chunks, upload.pending, upload.bytes_pending = upload.pending, [], 0
                await run_in_threadpool(_write, upload.spooled, chunks)

    def form(self) -> Form:
        """What the form has. Raises `CallError`."""
        if not self._ended:
            raise not_multipart()
        for name in dict(self._pairs).keys() & self._values.keys():
            raise self._function.validator.refuse(name, "Given in more than one place", "repeated")
        files = {id(one): one.as_file() for one in self._uploads}
        pairs = Pairs((name, files.get(id(value), value)) for name, value in self._pairs)
        return Form(without_blanks(pairs, self._function), self._values, tuple(files.values()))

    def close(self) -> None:
        """Close the files, which have no name on disk and are gone with that."""
        for one in self._uploads:
            one.spooled.close()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAXIMUM_FIELDS:
            raise too_many_fields()
        self._headers.clear()
        self._text = bytearray()
        self._upload, self._is_json = None, False

    def _header(self, data: bytes, start: int, end: int) -> None:
        self._line += data[start:end]
        self._count(end - start)
        if len(self._headers) + len(self._line) > PART_HEADER_LENGTH:
            raise not_multipart()

    def _value(self, data: bytes, start: int, end: int) -> None:
        if not self._in_value:
            self._in_value = True
            self._line += b": "
        self._header(data, start, end)

    def _end_header(self) -> None:
        self._headers += self._line + b"\r\n"
        self._line.clear()
        self._in_value = False

    def _end_headers(self) -> None:
        headers = bytes(self._headers)
        found = read_disposition(headers)
        self._name = from_utf8(found[b"name"])
        named = _CONTENT_TYPE.search(headers)
        content_type = from_utf8(named[1]).strip() if named else ""
        if self._name in self._function.files and (b"filename" in found or b"filename*" in found):
            self._upload = self._begin_file(from_utf8(found.get(b"filename", b"")), content_type)
        elif self._name == JSON_ARGUMENTS or is_json(content_type.partition(";")[0].strip().lower()):
            self._is_json = True
        elif b"filename" in found or b"filename*" in found:
            raise self._function.validator.refuse(self._name, "This argument takes no file", "file_unexpected")

    def _begin_file(self, name: str, content_type: str) -> _Upload:
        most = self._function.files[self._name]
        self._counts[self._name] = count = self._counts.get(self._name, 0) + 1
        if count > most:
            told = "Given twice; it takes one file" if most == 1 else f"There are more than {most} files"
            raise self._function.validator.refuse(self._name, told, "too_many_files")
        # In memory until it is told to go on on disk, where it has no name: it is gone when it is closed.
        upload = _Upload(name, content_type or ANY_BYTES, SpooledTemporaryFile())  # noqa: SIM115
        self._uploads.append(upload)
        return upload

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is None:
            self._count(end - start)
            self._text += data[start:end]
            return
        upload, size = self._upload, end - start
        upload.size += size
        if upload.on_disk or self._in_memory + size > _BYTES_IN_MEMORY:
            if not upload.on_disk:
                upload.on_disk = True
                self._in_memory -= upload.size - size
            if not upload.pending:
                self._pending.append(upload)
            upload.pending.append(data[start:end])
            upload.bytes_pending += size
        else:
            self._in_memory += size
            upload.spooled.write(data[start:end])

    def _end(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            self._pairs.append((self._name, upload if upload.size or upload.name else BLANK))
        elif not self._is_json:
            self._pairs.append((self._name, from_utf8(bytes(self._text))))
        else:
            value = parse_json(bytes(self._text))
            given = as_arguments(value) if self._name == JSON_ARGUMENTS else {self._name: value}
            for name in given:
                if name in self._values:
                    raise self._function.validator.refuse(name, "Given in more than one place", "repeated")
            self._values.update(given)

    def _finish(self) -> None:
        self._ended = True

    def _count(self, size: int) -> None:
        """Count what is no file."""
        self._rest += size
        if self._rest > self._limit.bytes:
            raise PayloadTooLarge(self._limit.bytes)


def _write(spooled: "SpooledTemporaryFile[bytes]", chunks: list[bytes]) -> None:
    spooled.rollover()
    spooled.writelines(chunks)
