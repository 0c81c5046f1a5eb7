"""The Dockerfile, without Docker: what it copies is there, is all that its programs need, and can be installed."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.http.servers import ROOT

DOCKERFILE = (ROOT / "examples" / "helpdesk" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder that the COPY lines make."""
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = tmp_path / (Path(source).name if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place)
            else:
                shutil.copy(ROOT / source, place)
    return tmp_path


@pytest.mark.timeout(120)
def test_what_is_copied_can_be_installed_and_holds_the_programs(image: Path) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "w",
        ".",
    ]
    subprocess.run(pip, cwd=image, check=True)
    (wheel,) = (image / "w").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert {"mizan_asgi/app.py", "mizan_core/py.typed"} <= {*names}
    command = re.search(r'^CMD \["uvicorn", "(.+?):app"', DOCKERFILE, re.MULTILINE)
    assert command is not None
    modules = [command[1], "examples.helpdesk.worker", "examples.helpdesk.cron"]
    program = "import sys, importlib; [importlib.import_module(one) for one in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", program, *modules], cwd=image, check=True)


def test_what_is_installed_has_the_extras_that_are_named() -> None:
    named = re.search(r'"\.\[(.+?)\]"', DOCKERFILE)
    assert named is not None
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{one} = \[", pyproject, re.MULTILINE) for one in named[1].split(","))
