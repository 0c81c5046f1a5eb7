"""`python -m benchmarks [WORKLOAD ...]`: measure, print, and with `--write` leave table and chart in `results/`."""

import argparse
from typing import Any

import uvloop

from tests.servers import redis_server

from . import measure, report, workloads


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD", help=", ".join(workloads.MAKERS))
    parser.add_argument("--quick", action="store_true", help="few batches, for a first look")
    parser.add_argument("--rounds", type=int, default=0, help="batches of each contender")
    parser.add_argument("--write", action="store_true", help="write results/")
    options = parser.parse_args()
    names = options.names or list(workloads.MAKERS)
    rounds = options.rounds or (9 if options.quick else 41)
    results: list[report.Result] = []
    with redis_server() as server:
        for name in names:
            results += uvloop.run(_measured(name, server.url, rounds))
    for one in results:
        print(one.text())
    if options.write:
        report.write(results)


async def _measured(name: str, url: str, rounds: int) -> list[Any]:
    results = []
    for workload in await workloads.MAKERS[name](url):
        times = await measure.run(workload, rounds)
        results.append(report.Result.of(workload, times))
    return results


if __name__ == "__main__":
    main()
