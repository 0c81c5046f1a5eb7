"""The command `mizan triggers`: SQL that psql runs."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from mizan_asgi.cli import cli
from mizan_core import Context, build, client
from mizan_core.integrations.postgresql import Outbox, Purge, Table, Triggers
from mizan_core.testing.postgres_server import PostgresServer

Orders = Context("orders")


@client(context=Orders)
async def order_lines(customer_id: int) -> list[str]:
    return []


graph = build([order_lines])
declared = Triggers(graph, Table("orders", Purge(Orders, by="customer_id")))
outbox = Outbox(graph)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["triggers", *arguments])


def triggers_of(postgres: PostgresServer, url: str) -> list[str]:
    names = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    return postgres.say(names, database=url.rpartition("/")[2]).splitlines()


def test_psql_makes_and_drops_what_it_prints(postgres: PostgresServer, postgres_url: str) -> None:
    postgres.say("CREATE TABLE orders (id int, customer_id int)", database=postgres_url.rpartition("/")[2])
    psql = [postgres.binaries.psql, postgres_url, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    for _ in range(2):
        printed = run("tests.cli.test_triggers:declared").stdout
        subprocess.run(psql, input=printed, text=True, check=True, capture_output=True)
        made = triggers_of(postgres, postgres_url)
        assert made == [f"mizan_mizan_orders_{event}" for event in ("delete", "insert", "truncate", "update")]
    subprocess.run(
        psql, input=run("tests.cli.test_triggers:declared", "--drop").stdout, text=True, check=True, capture_output=True
    )
    assert triggers_of(postgres, postgres_url) == []


def test_an_outbox_prints_its_table(postgres: PostgresServer, postgres_url: str) -> None:
    psql = [postgres.binaries.psql, postgres_url, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    for options, made in (((), "mizan_outbox"), (("--drop",), "")):
        printed = run("tests.cli.test_triggers:outbox", *options).stdout
        subprocess.run(psql, input=printed, text=True, check=True, capture_output=True)
        assert postgres.say("SELECT to_regclass('mizan_outbox')", database=postgres_url.rpartition("/")[2]) == made


def test_another_object_is_refused() -> None:
    refused = run("tests.cli.test_triggers:graph")
    assert refused.exit_code == 2
    assert "tests.cli.test_triggers:graph is a Graph, and neither Triggers nor an Outbox" in refused.stderr


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mizan_core.integrations.postgresql", None)
    refused = run("tests.cli.test_triggers:declared")
    assert "pip install 'mizan-asgi[postgresql]'" in refused.stderr
