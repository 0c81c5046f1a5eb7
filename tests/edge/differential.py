"""Random applications behind a real edge: after each write, everything that it keeps is compared with the truth.

`python -m tests.edge.differential varnish` plays 1,000 rounds; the tests play a few. A round is a write, through the
edge or past it, and a read of everything.
"""

import argparse
import asyncio
import itertools
import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import Engine, Invalidation, build_manifest, encode_header
from mizan_core.edge import EdgeMap, locate, read_manifest
from mizan_core.protocol.headers import decode_header
from mizan_core.protocol.invalidation import touches
from tests.edge.graphs import RandomWorld
from tests.edge.nodes import Node, nginx_of, varnish_of
from tests.http.servers import listening

ROUNDS_OF_A_GRAPH = 25


class Edge(Protocol):
    def __call__(self, manifest: Mapping[str, Any], origin: str) -> AbstractContextManager[Node]: ...


EDGES: dict[str, Edge] = {"varnish": varnish_of, "nginx": nginx_of}


@dataclass(slots=True)
class Count:
    """What happened. `unneeded`: answers that the edge forgot although no write concerned them."""

    rounds: int = 0
    hits: int = 0
    stale: int = 0
    kept: int = 0  # answers that the edge had, and that the write did not concern
    unneeded: int = 0

    def __str__(self) -> str:
        share = self.unneeded / self.kept if self.kept else 0
        return (
            f"{self.rounds} rounds, {self.hits} hits, {self.stale} stale; "
            f"{self.unneeded} of {self.kept} purged without need ({share:.2%})"
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A URL and what it shows."""

    url: str
    context: str
    texts: Mapping[str, str | None]


def urls_of(world: RandomWorld, edge: EdgeMap, count: int) -> list[Shown]:
    """URLs of bundles and pages, of which an edge may keep most."""
    found: dict[str, Shown] = {}
    for context in itertools.islice(itertools.cycle(world.pools), count):
        values = world.values(context)
        texts = world.texts(context, values)
        bundle = Shown(world.url(context, values), context, texts)
        found[bundle.url] = bundle
        if context in world.pages:
            page = Shown(world.page(context, values), context, {name: texts[name] for name in world.pages[context]})
            found[page.url] = page
    kept = [one for one in found.values() if len(one.url) < 900 and "//" not in one.url]
    return sorted(kept, key=lambda one: locate(edge, one.url) is None)[:count]


class Trial:
    """One application behind one edge."""

    def __init__(self, seed: int) -> None:
        self.world = RandomWorld(seed)
        self.manifest = build_manifest(self.world.graph)
        self.edge = read_manifest(self.manifest)
        self.app = Mizan(self.world.graph, edge=HeaderOnly())
        self.random = random.Random(seed)

    async def play(self, kind: Edge, rounds: int, count: Count) -> None:
        async with listening(self.app) as (host, port):
            with kind(self.manifest, f"http://{host}:{port}") as node:
                urls = urls_of(self.world, self.edge, 24)
                await self._read(node, urls, count)
                for _ in range(rounds):
                    kept = {one.url for one in urls if (await node.get(one.url)).edge == "hit"}
                    write = await self._write(node)
                    widened = self._widened(write)
                    count.rounds += 1
                    missed = await self._read(node, urls, count)
                    spared = [
                        one.url for one in urls if one.url in kept and not touches(widened, one.context, one.texts)
                    ]
                    count.kept += len(spared)
                    count.unneeded += sum(url in missed for url in spared)

    async def _write(self, node: Node) -> Invalidation:
        """Through the edge, or past it with a word to the edge."""
        world = self.world
        context = self.random.choice(list(world.pools))
        write = world.invalidation(context)
        if self.random.random() < 0.5:
            world.pending = write
            answer = await node.post(f"/api/mizan/call/body_{context}/")
            assert (answer.status, "x-mizan-invalidate" in answer.headers) == (200, True), answer
            return write
        engine: Engine = self.app.engine
        world.writes.append(write)
        answer = await node.purge(encode_header(await engine.invalidate(write)))
        assert answer.status == 200
        return write

    async def _read(self, node: Node, urls: list[Shown], count: Count) -> set[str]:
        """Reads everything, and gives the URLs that were missed."""
        missed = set()
        for one in urls:
            answer = await node.get(one.url)
            if answer.status != 200:
                continue
            count.hits += answer.edge == "hit"
            if answer.edge != "hit":
                missed.add(one.url)
            if version(answer.body) != self.world.version(one.context, one.texts):
                count.stale += 1
        return missed

    def _widened(self, write: Invalidation) -> Invalidation:
        """The write by the largest known shape inside its scope: what the origin purges, too."""
        texts = decode_header(encode_header([write]))[0].texts
        shape = next(one for one in self.edge.shapes[write.context] if texts.keys() >= set(one.names))
        return Invalidation(write.context, {name: texts[name] for name in shape.names})


def version(body: str) -> int:
    """The number in a page, or in a bundle of one reader."""
    return int(body.rpartition(":")[2].rstrip("}"))


def seeds() -> Iterator[int]:
    """Of applications of which an edge may keep something."""
    return (seed for seed in itertools.count() if read_manifest(build_manifest(RandomWorld(seed).graph)).surfaces)


async def play(name: str, rounds: int, *, first: int = 0, rounds_of_a_graph: int = ROUNDS_OF_A_GRAPH) -> Count:
    count = Count()
    for seed in itertools.islice(seeds(), first, None):
        await Trial(seed).play(EDGES[name], min(rounds_of_a_graph, rounds - count.rounds), count)
        if count.rounds >= rounds:
            return count
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("edge", choices=EDGES)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="How many applications to pass over.")
    given = parser.parse_args()
    count = asyncio.run(play(given.edge, given.rounds, first=given.first))
    print(count)
    raise SystemExit(count.stale > 0)


if __name__ == "__main__":
    main()
