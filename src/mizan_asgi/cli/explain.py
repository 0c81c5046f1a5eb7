"""What `mizan explain` prints, line by line: of a call that is not made, and of a bundle."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

from mizan_core.engine.answers import Inspected, TagOfScope, TagState
from mizan_core.engine.engine import Engine
from mizan_core.errors import CacheUnavailable, DeclarationError, Unauthorized
from mizan_core.graph.inputs import Mixed
from mizan_core.graph.manifest import build_manifest, urls_to_purge
from mizan_core.graph.model import ContextPlan, Graph
from mizan_core.graph.narrowing import told_to
from mizan_core.proof.explain import ExplainedAffect, ExplainedBundle, ExplainedCall, When, explain_bundle, explain_call
from mizan_core.protocol.cache_policy import Never
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.invalidation import Invalidation, spelled
from mizan_core.protocol.urls import Pairs

from ..http.bodies.forms import parse_pairs
from .describe import describe_affect, describe_passed_over, describe_policy
from .targets import Found, base_url_of, engine_of, graph_of

# So many bundles of a call are looked up; the tags tell of all others.
MAXIMUM_BUNDLES = 8

IN_MEMORY = (
    "not known: the cache is in the memory of each server process, which no other process can look into. There, "
    "Cache-Status tells it of every answer, and so does the logger mizan at DEBUG"
)

_UNKNOWN = {
    When.RESULT: "known once it has returned, from its result; the whole context if it fails unexpectedly",
    When.BODY: "known once it has returned: what its body names with invalidate(), or else the whole context",
}

_STATES = {
    TagState.SET: "set: bundles may be kept",
    TagState.ABSENT: "absent: no bundle is kept",
    TagState.HELD: "held by a mutation that is running: no bundle is served",
    TagState.OTHER_VERSION: "set by a version of the program that knows other scopes: no bundle is served",
    TagState.UNREADABLE: "unreadable: no bundle is served",
}


async def call_explained(
    found: Found, function: str, arguments: Sequence[tuple[str, str]], identity: Identity
) -> AsyncIterator[str]:
    """What a call would purge and why, and what is kept of that now."""
    graph = graph_of(found)
    explained = explain_call(graph, function, _as_sent(arguments), identity=identity)
    for line in describe_call(graph, explained):
        yield line
    for url in urls_to_purge(build_manifest(graph, base_url=base_url_of(found)), explained.stale):
        yield f"at an edge: {url}"
    if not explained.stale:
        return
    yield ""
    engine = engine_of(found)
    if not engine.cache_is_shared:
        yield f"kept now: {IN_MEMORY}"
        return
    async with engine:
        try:
            kept = [line async for line in _kept_now(engine, explained.stale, identity)]
        except CacheUnavailable as error:
            kept = [f"kept now: not known, for the cache cannot be asked. {error}"]
    for line in kept:
        yield line


async def bundle_explained(found: Found, bundle: str, identity: Identity) -> AsyncIterator[str]:
    """Whether a bundle is kept: `context?query`, or its URL."""
    path, _, query = bundle.partition("?")
    context = path.rstrip("/").rpartition("/")[2]
    engine = engine_of(found)
    async with engine:
        explained = await explain_bundle(engine, context, parse_pairs(query.encode()), identity=identity)
    for line in describe_bundle(explained, base_url_of(found)):
        yield line
    for line in describe_entry(explained) if engine.cache_is_shared else [f"  now    {IN_MEMORY}"]:
        yield line


async def _kept_now(engine: Engine, stale: Sequence[Invalidation], identity: Identity) -> AsyncIterator[str]:
    """What is kept of what a call would purge, as far as a cache without an index of its keys can tell."""
    for line in describe_tags(await engine.tags_of(stale)):
        yield line
    contexts = engine.graph.contexts
    own = told_to(engine.graph, stale, identity)  # a bundle of somebody else is known to that identity alone
    named = [one for one in own if _names_a_bundle(contexts[one.context], one)]
    for one in dict.fromkeys(Invalidation(one.context, one.params) for one in named[:MAXIMUM_BUNDLES]):
        try:
            bundle = await explain_bundle(engine, one.context, one.params, identity=identity)
        except Unauthorized:  # the caller has no bundle of this context
            continue
        if bundle.entry is not None:
            yield f"bundle {bundle_name(bundle)}: {describe_state(bundle.entry)}"


def _as_sent(arguments: Sequence[tuple[str, str]]) -> Mixed:
    """The arguments of a call: texts as a form sends them, and JSON values for names that end in a colon."""
    try:
        values = {name[:-1]: json.loads(value) for name, value in arguments if name.endswith(":")}
    except ValueError as error:
        raise DeclarationError(f"The value of an argument name:=JSON is no JSON: {error}.") from None
    return Mixed(Pairs(pair for pair in arguments if not pair[0].endswith(":")), values)


def describe_call(graph: Graph, explained: ExplainedCall) -> Iterator[str]:
    """What a call would make stale and why, and its header. Lines without their ends."""
    function = explained.function
    yield f"{function.name}({', '.join(f'{name}={value!r}' for name, value in explained.sent.items())})"
    for one in explained.affects:
        yield from _describe_explained(graph, explained, one)
    yield from (f"  {context}: spared, as declared" for context in function.declaration.spares)
    if explained.names_stale:
        yield "  its body calls invalidate(): what it names is not known before it runs"
    elif not explained.affects:
        yield "  declares to affect nothing"
    yield ""
    more = "" if explained.is_determined else "   (as far as it is known before the function runs)"
    yield f"X-Mizan-Invalidate: {explained.header or 'no such header'}{more}"
    if explained.at_worst != explained.stale:
        yield f"after an unexpected error: {encode_header(explained.at_worst)}"


def describe_tags(tags: Sequence[TagOfScope]) -> Iterator[str]:
    """The tag of every scope that a call would purge, and its state."""
    for tag in {tag.name: tag for tag in reversed(tags)}.values():
        yield f"tag of {spelled(tag.invalidation)}: {_STATES[tag.state]}"
        yield f"  {tag.name}"


def describe_bundle(explained: ExplainedBundle, base_url: str) -> Iterator[str]:
    """A bundle: its URL, how it is kept, its key, and its tags."""
    yield bundle_name(explained)
    if explained.query is not None:
        query = f"?{explained.query}" if explained.query else ""
        yield f"  URL    {base_url}/ctx/{explained.plan.name}/{query}"
    yield f"  policy {describe_policy(explained.plan)}"


def describe_entry(explained: ExplainedBundle) -> Iterator[str]:
    """Whether a bundle is kept in a shared cache, since when, and the states of its tags."""
    entry = explained.entry
    if entry is None:
        yield f"  now    kept nowhere: {_why_nowhere(explained)}"
        return
    yield f"  key    {entry.key}"
    for tag in entry.tags:
        changed = ", has changed since the entry was stored" if tag.has_changed else ""
        yield f"  tag    {_scope_of(tag.shape)}: {tag.state.value}{changed}"
        yield f"         {tag.name}"
    yield f"  now    {describe_state(entry)}"
    if entry.size is None:
        yield "         (none was stored; or it expired, was evicted, or was reclaimed after a purge of all;"
        yield "         a process that has a copy of it may serve that for up to a minute, while no tag changes)"
    yield "  purged by which call is recorded nowhere; the logger mizan at DEBUG tells it in the process that purges"


def describe_state(entry: Inspected) -> str:
    """Whether an entry is kept, or the reason why not."""
    if entry.size is None:
        return "not kept: no entry is there"
    if entry.since is None or entry.expires is None:
        return "not kept: the entry that is there was stored by another version of the program, or is damaged"
    times = f"{entry.size} bytes, stored about {_at(entry.since)}, expires {_at(entry.expires)}"
    if entry.is_kept:
        return f"kept: {times}"
    changed = [_scope_of(tag.shape) for tag in entry.tags if tag.has_changed]
    if not changed:
        return f"not kept: its entry has expired ({times})"
    return f"not kept: its entry is stale, for {' and '.join(changed)} was purged since, or is held ({times})"


def bundle_name(explained: ExplainedBundle) -> str:
    pairs = "&".join(f"{name}={text}" for name, text in sorted(explained.texts.items()))
    return f"{explained.plan.name}?{pairs}" if pairs else explained.plan.name


def _describe_explained(graph: Graph, explained: ExplainedCall, one: ExplainedAffect) -> Iterator[str]:
    affect, plan = one.affect, graph.contexts[one.affect.context]
    reader = f"/{affect.function}" if affect.function else ""
    yield f"  {affect.context}{reader}: {describe_affect(plan, affect)}"
    yield from (f"    {spelled(stale)}" for stale in one.stale)
    if one.when is not When.BEFORE:
        yield f"    {_UNKNOWN[one.when]}"
    yield from (f"    {name} does not narrow in this call: {why}" for name, why in one.widened)
    yield from (f"    {describe_passed_over(plan, explained.function, *passed)}" for passed in affect.passed_over)


def _why_nowhere(explained: ExplainedBundle) -> str:
    if isinstance(explained.plan.policy.lifetime, Never):
        return "its context has cache=False"
    return "a value of its parameters does not come back from a URL"


def _scope_of(shape: tuple[str, ...]) -> str:
    return "+".join(shape) if shape else "the whole context"


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _names_a_bundle(plan: ContextPlan, stale: Invalidation) -> bool:
    """Whether its parameters name one bundle, all others at their defaults."""
    return bool(plan.readers) and all(
        name in stale.params for name, one in plan.client_parameters.items() if one.required
    )
