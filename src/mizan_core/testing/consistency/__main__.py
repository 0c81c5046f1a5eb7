"""The command line: one run, its report, and an exit status."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from ..safeguards import SAFEGUARDS
from .check import Options, Report, check
from .faults import KINDS
from .report import report_of


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a read saw stale data, or if a bundle was not cached again."""
    return _told(asyncio.run(check(_options(arguments))))


def _told(report: Report) -> int:
    sys.stdout.write(report_of(report) + "\n")
    return 0 if report.passed else 1


def _options(arguments: Sequence[str] | None) -> Options:
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="python -m mizan_core.testing.consistency",
        description="Tries to be served old data: workers are killed, Redis is stopped, emptied, filled and cut off.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--redis", metavar="URL", help="a server that is there, of which only this run's keys are touched")
    add("--seconds", type=float, default=usual.seconds, help="how long to make trouble")
    add("--workers", type=int, default=usual.workers, help="processes that serve")
    add("--clients", type=int, default=usual.clients, help="requests at once")
    add("--on-cache-failure", choices=("refuse", "allow"), default=usual.on_cache_failure)
    add("--hold", type=float, default=usual.hold, help="seconds for which a dead process's scopes stay held")
    add("--without", choices=tuple(SAFEGUARDS), action="append", default=[], help="take a safeguard away; repeatable")
    add("--fault", choices=KINDS, action="append", help="only faults of this kind; repeatable")
    add("--seed", type=int, default=usual.seed)
    given = vars(parser.parse_args(arguments))
    faults, without = given.pop("fault") or KINDS, given.pop("without")
    return Options(**given, faults=tuple(faults), without=tuple(without))


if __name__ == "__main__":
    sys.exit(main())  # pragma: no cover  # the tests call `main`
