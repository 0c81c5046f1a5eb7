"""`File`: made of bytes and paths, read, saved, and validated as itself alone."""

import copy
import io
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from mizan_core import File
from mizan_core.protocol.files import is_file_schema


def test_a_file_of_bytes_has_their_size_and_a_type_by_its_name() -> None:
    file = File.of(b"12345", name="a.png")
    assert (file.name, file.content_type, file.size) == ("a.png", "image/png", 5)
    assert File.of(b"", name="a.png", content_type="x/y").content_type == "x/y"
    assert (File.of(b"").name, File.of(b"").content_type) == ("", "application/octet-stream")
    assert repr(file) == "<File 'a.png', image/png, 5 bytes>"


@pytest.mark.asyncio
async def test_a_file_at_a_path_is_closed_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    with File.of(path) as file:
        assert (file.name, file.content_type, file.size) == ("a.txt", "text/plain", 5)
        assert await file.read(2) == b"12"
        assert await file.read() == b"345"
    assert file.file.closed


@pytest.mark.asyncio
async def test_a_file_is_read_in_chunks_and_saved_whole(tmp_path: Path) -> None:
    file = File.of(b"12345")
    assert [chunk async for chunk in file.chunks(2)] == [b"12", b"34", b"5"]
    await file.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"12345"
    with pytest.raises(FileExistsError):
        await file.save(str(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("given", "name"),
    [("/etc/passwd", "passwd"), ("..\\..\\a.png", "a.png"), ("..", ""), (".", ""), ("a/", ""), ("a\r\nb\x00", "ab")],
)
def test_a_name_is_the_last_part_of_a_path(given: str, name: str) -> None:
    assert File(io.BytesIO(), name=given).name == name


def test_the_size_is_found_wherever_the_file_object_stands() -> None:
    opened = io.BytesIO(b"12345")
    opened.seek(3)
    assert File(opened).size == 5
    assert opened.tell() == 3
    assert File(opened, size=7).size == 7


def test_a_copy_is_the_file_itself() -> None:
    file = File.of(b"1")
    assert copy.deepcopy([file])[0] is file


def test_no_json_is_a_file() -> None:
    adapter = TypeAdapter(File)
    file = File.of(b"1")
    assert adapter.validate_python(file) is file
    for value in ("text", b"bytes", None, {"name": "a"}):
        with pytest.raises(ValidationError, match="instance of File"):
            adapter.validate_python(value)
    assert is_file_schema(adapter.json_schema())
    assert not is_file_schema(TypeAdapter(bytes).json_schema())
    assert not is_file_schema(True)
