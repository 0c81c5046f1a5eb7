"""Short runs of the whole checker: no read is stale under any fault."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mizan_core.testing.consistency.__main__ import main
from mizan_core.testing.consistency.check import Options, Report, check
from mizan_core.testing.consistency.history import Breach, History, Read, Violation
from mizan_core.testing.consistency.report import report_of
from mizan_core.testing.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.timeout(180)  # a machine with a lot to do takes its time

# Long enough for every kind of trouble, and for a safeguard's absence to show where the machine is slow.
SHORT = Options(seconds=12.0, hold=1.5)


def checked(options: Options) -> Report:
    report = asyncio.run(check(options))
    print(report_of(report))
    return report


def test_no_read_is_stale_under_crashes_and_faults() -> None:
    report = checked(SHORT)
    assert report.passed
    assert report.violations == []
    assert {read.context for read in report.history.reads} == {"card", "board", "desk", "lobby"}
    assert report.faults["kill before the purge"] > 0


def test_a_run_disables_the_given_safeguards() -> None:
    options = Options(seconds=0.0, workers=1, clients=0, faults=(), without=("no such safeguard",))
    with pytest.raises(RuntimeError, match="Worker 0 did not start"):
        asyncio.run(check(options))


def test_under_allow_only_late_purges_are_accounted_for() -> None:
    report = checked(replace(SHORT, on_cache_failure="allow"))
    assert report.passed
    assert "as documented" in report_of(report)


def test_a_given_server_is_left_as_it_was(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    redis.say("SET", "somebody else's", "1")
    assert main(["--redis", redis.url, "--seconds", "3", "--hold", "1", "--workers", "2", "--clients", "4"]) == 0
    assert "2 workers" in capsys.readouterr().out
    assert redis.say("KEYS", "mizan-consistency-*") == "*0\r\n"
    assert redis.say("GET", "somebody else's") == "$1\r\n1\r\n"


def test_a_server_behind_another_kind_of_url_has_no_proxies(tmp_path: Path) -> None:
    with redis_server("--unixsocket", str(tmp_path / "redis")):
        report = checked(Options(f"unix://{tmp_path}/redis", seconds=2.0, workers=1, hold=0.5, faults=("evict", "cut")))
    assert report.passed
    assert report.faults["evict"] <= 1
    assert report.faults["cut"] + report.faults["kill"] == 0


def test_workers_die_where_nothing_else_fails(redis: RedisServer) -> None:
    report = checked(Options(redis.url, seconds=0.5, workers=1, clients=2, hold=0.5, faults=("kill",)))
    assert report.passed
    assert set(report.faults) <= {"kill", "kill before the purge"}


def test_the_report_lists_stale_reads_and_dead_workers() -> None:
    read = Read("card", (1, 0), 4.5, 4.6, "hit", {"1.2": 1})
    stale = Violation(Breach.STALE, read, "1.2", 1, 2, "rename-1", 4.0, documented=False)
    options = replace(SHORT, on_cache_failure="allow", without=("stamps",))
    history = History(1.5, reads=[read])
    report = Report(options, history, Counter(kill=2), [stale, replace(stale, documented=True)], [stale], 3)
    assert not report.passed
    assert report_of(report).splitlines() == [
        "12 s, 4 workers, 12 clients, on_cache_failure=allow, hold 1.5 s, seed 0, without stamps",
        "reads: 1 (100.0% hits, hit 1)",
        "mutations: 0 (none)",
        "faults: 2 (kill 2)",
        "late or lost purges, as documented: 1 reads (stale 1)",
        "remaining once all was back: 1",
        "violations: 1 (stale 1)",
        f"  {stale}",
        "not cached again once all was back: 3 bundles",
    ]
