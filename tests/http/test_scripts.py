"""What browsers load from below the mount: the runtime and its helper, as the files that are shipped."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mizan_asgi.http.scripts import STATIC
from tests.http.site import Site, http, refusal

SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))


@pytest.mark.asyncio
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_is_served_as_the_shipped_file(site: Site, name: str) -> None:
    async with http(site.app()) as web:
        answer = await web.get(f"/api/mizan/{name}")
        head = await web.head(f"/api/mizan/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (head.status_code, head.content, head.headers) == (200, b"", answer.headers)


@pytest.mark.asyncio
async def test_a_script_that_the_browser_has_is_not_sent_again(site: Site) -> None:
    async with http(site.app()) as web:
        etag = (await web.get("/api/mizan/client.js")).headers["etag"]
        again = await web.get("/api/mizan/client.js", headers={"If-None-Match": etag})
        other = await web.get("/api/mizan/client.js", headers={"If-None-Match": 'W/"another"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert again.headers["cache-control"] == "public, no-cache"
    assert other.status_code == 200


@pytest.mark.asyncio
async def test_scripts_take_get_and_head_alone(site: Site) -> None:
    async with http(site.app()) as web:
        assert refusal(await web.post("/api/mizan/client.js"), 405, "method_not_allowed")
        assert (await web.post("/api/mizan/client.js")).headers["allow"] == "GET, HEAD"
        for path in ("client.d.ts", "static/client.js", "..%2Fapp.py", "client.py"):
            refusal(await web.get(f"/api/mizan/{path}"), 404, "not_found")


def test_the_files_are_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, root]
    ran = subprocess.run(build, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    assert sorted(path.name for path in STATIC.iterdir()) == sorted(
        name.removeprefix("mizan_asgi/static/") for name in packed if name.startswith("mizan_asgi/static/")
    )
