"""`python -m benchmarks [WORKLOAD ...]`: measure, print, and with `--write` save table and chart to `results/`."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch

import uvloop

from mizan_core.testing.redis_server import RedisServer, redis_server

from . import measure, memory, profiling, report, sockets, workloads
from .report import Result

OTHERS = ("sockets", "memory")


def main() -> None:
    names = (*workloads.MAKERS, *OTHERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD", help=f"{', '.join(names)}, or patterns such as hit*")
    parser.add_argument("--quick", action="store_true", help="little of everything, for a first look")
    parser.add_argument("--rounds", type=int, default=0, help="batches of each contender")
    parser.add_argument("--write", action="store_true", help="write results/, and the README's figures; of these alone")
    parser.add_argument("--profile", action="store_true", help="only say where this project's time goes")
    parser.add_argument("--draw", action="store_true", help="write table and chart again, from results/results.json")
    options = parser.parse_args()
    if options.draw:
        report.write(*report.read())
        return
    chosen = [one for one in names if not options.names or any(fnmatch(one, pattern) for pattern in options.names)]
    if "sockets" in chosen and not options.profile and shutil.which("wrk") is None:
        parser.error("sockets needs wrk; name the other workloads to measure these")
    with redis_server() as server:
        if options.profile:
            for name in options.names:
                print(profiling.profile(name, "mizan", server.url))
            return
        results = []
        for one in _measured(chosen, server, options.quick, options.rounds):
            print(one.text(), flush=True)
            results.append(one)
        if options.write:
            explained = [_explained(one, server.url) for one in results]
            report.write(*(report.merged(explained, names) if options.names else (explained, report.surroundings())))


def _measured(names: Sequence[str], server: RedisServer, quick: bool, rounds: int) -> Iterator[Result]:
    for name in names:
        if name == "sockets":
            yield from sockets.measure(server, rounds=1 if quick else 3, seconds=1.0 if quick else 2.0)
        elif name == "memory":
            yield from memory.figures(
                server.url,
                entries=10_000 if quick else 20_000,
                tags=100_000 if quick else 1_000_000,
                requests=100_000 if quick else 1_000_000,
            )
        else:
            yield from uvloop.run(_in_process(name, server.url, rounds or (9 if quick else 41)))


async def _in_process(name: str, url: str, rounds: int) -> list[Result]:
    return [Result.of(one, await measure.run(one, rounds)) for one in await workloads.MAKERS[name](url)]


def _explained(result: Result, url: str) -> Result:
    """The result, with a profile of its contender if a ratio does not hold."""
    missed = [one for one in result.ratios if not one.holds and one.contender]
    if not missed:
        return result
    return replace(result, remains=profiling.profile(result.name, missed[0].contender, url))


if __name__ == "__main__":
    main()
