"""`File`: a file that a call carries (protocol, section 16), over any binary file object."""

import asyncio
import io
import mimetypes
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

# The type of bytes of which nothing is known (RFC 2046, 4.5.1).
ANY_BYTES = "application/octet-stream"

# The part of a form with files that has arguments as a JSON object. No parameter can have this name.
JSON_ARGUMENTS = ":args"

_CHUNK_BYTES = 64 * 1024

# Bytes in texts, as Pydantic describes them, have no media type.
_JSON_SCHEMA = {"type": "string", "format": "binary", "contentMediaType": ANY_BYTES}


class File:
    """A file that a client sends: `picture: File`, `File | None` or `list[File]`, in mutations.

    `name` and `content_type` are the client's claim, and nothing has checked them; of a path, `name` has the last part.
    `size`: in bytes. `file`: the binary file object, for code in threads. It is closed when the mutation has ended.
    `File.of(...)` makes one, for tests, scripts and the Python client.
    """

    __slots__ = ("__weakref__", "content_type", "file", "name", "size")

    def __init__(
        self, file: BinaryIO, *, name: str = "", content_type: str = ANY_BYTES, size: int | None = None
    ) -> None:
        self.file = file
        self.name = _last_part(name)
        self.content_type = content_type
        self.size = _size_of(file) if size is None else size

    @classmethod
    def of(
        cls, source: bytes | str | os.PathLike[str], *, name: str | None = None, content_type: str | None = None
    ) -> Self:
        """A file of these bytes, or the file at this path. `content_type`: guessed by the name if it is left out.

        One at a path is open from now on: use it in a `with` statement, or call `close`.
        """
        file: BinaryIO
        if isinstance(source, bytes):
            file, known = io.BytesIO(source), ""
        else:
            file, known = Path(source).open("rb"), Path(source).name  # noqa: SIM115  # closed by `close`
        named = known if name is None else name
        return cls(file, name=named, content_type=content_type or mimetypes.guess_type(named)[0] or ANY_BYTES)

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or all that follow; read in a thread."""
        return await asyncio.to_thread(self.file.read, size)

    async def chunks(self, size: int = _CHUNK_BYTES) -> AsyncIterator[bytes]:
        """The bytes from where it is read to its end, so many at a time."""
        while chunk := await self.read(size):
            yield chunk

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of its bytes to a new file, in a thread. Raises FileExistsError for a path that is taken."""
        await asyncio.to_thread(self._save, path)

    def close(self) -> None:
        """Close the file object."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> Self:
        return self  # it stands for an open file, which cannot be copied

    def __repr__(self) -> str:
        return f"<File {self.name!r}, {self.content_type}, {self.size} bytes>"

    def _save(self, path: str | os.PathLike[str]) -> None:
        with Path(path).open("xb") as target:
            self.file.seek(0)
            shutil.copyfileobj(self.file, target, _CHUNK_BYTES)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(cls, cls_repr="File")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(_JSON_SCHEMA)


def is_file_schema(schema: Any) -> bool:
    """Whether a JSON schema describes a `File`."""
    return isinstance(schema, dict) and _JSON_SCHEMA.items() <= schema.items()


def _last_part(name: str) -> str:
    """The last part of a path of any system, without control characters (RFC 7578, 4.2)."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "" if last in (".", "..") else "".join(one for one in last if one.isprintable())


def _size_of(file: BinaryIO) -> int:
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size
