"""The fixture `mizan_verify` in a test session of its own, as a user's."""

import subprocess
import sys
from pathlib import Path

import pytest

import mizan_core.testing
from mizan_core import Context, Engine, build, client
from mizan_core.testing.plugin import verifying

SESSION = """
import pytest
from mizan_core import Context, Engine, build, client

pytest_plugins = ["mizan_core.testing"]
ROWS = {7: "old"}

@client(context=Context("orders"))
async def order(customer_id: int) -> str:
    return ROWS[customer_id]

@client(context=Context("report"))
async def total() -> int:
    return len(ROWS)

@client(affects="report")
async def forgets(customer_id: int) -> None:
    ROWS[customer_id] += "er"

@client(affects="orders")
async def tells(customer_id: int) -> None:
    ROWS[customer_id] += "er"

ENGINE = Engine(build([order, total, forgets, tells]))

@pytest.mark.asyncio
@pytest.mark.parametrize("function", ["forgets", "tells"])
async def test_writes(mizan_verify, function):
    mizan_verify.attach(ENGINE)
    await ENGINE.fetch("orders", {"customer_id": 7})
    await ENGINE.call(function, {"customer_id": 7})

def test_nothing_is_left_attached():
    assert "answer" not in vars(ENGINE)
"""


def test_the_fixture_fails_a_test_that_proved_staleness(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(SESSION)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "-o", "addopts="]
    ran = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert "1 error" in ran.stdout, ran.stdout
    assert "3 passed" in ran.stdout
    assert "orders(customer_id=7) was stale after forgets: it differs at $.order." in ran.stdout


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mizan_core.testing.nothing
    assert mizan_core.testing.mizan_verify is not None


def test_the_fixture_is_named_without_importing_pytest() -> None:
    assert "mizan_verify" in dir(mizan_core.testing)
    program = (
        "import sys, mizan_core.testing as t; assert 'pytest' not in sys.modules; "
        "t.mizan_verify; assert 'pytest' in sys.modules\n"
        "try: t.nothing\n"
        "except AttributeError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=50)
    assert ran.stdout == "module 'mizan_core.testing' has no attribute 'nothing'\n"


@pytest.mark.asyncio
async def test_after_the_test_nothing_is_observed_and_proofs_fail_it() -> None:
    rows = {7: "old"}

    @client(context=Context("orders"))
    async def order(customer_id: int) -> str:
        return rows[customer_id]

    engine = Engine(build([order]))
    for text in ("old", "new"):
        fixture = verifying()
        verify = next(fixture)
        verify.attach(engine)
        await engine.fetch("orders", {"customer_id": 7})
        rows[7] = text
        await verify.check()
        if text == "old":
            assert next(fixture, "ended") == "ended"
        else:
            with pytest.raises(pytest.fail.Exception, match="was stale after a write outside of any mutation"):
                next(fixture)
        assert "answer" not in vars(engine)
