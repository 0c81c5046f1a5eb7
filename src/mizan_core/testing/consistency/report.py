"""The report of a run, as text."""

from collections import Counter
from collections.abc import Iterator

from .check import Report
from .history import Violation

# So many violations are listed: enough to find the cause.
_SHOWN = 10


def report_of(report: Report) -> str:
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    options, history = report.options, report.history
    without = f", without {', '.join(options.without)}" if options.without else ""
    yield (
        f"{options.seconds:g} s, {options.workers} workers, {options.clients} clients, "
        f"on_cache_failure={options.on_cache_failure}, hold {options.hold:g} s, seed {options.seed}{without}"
    )
    statuses = Counter(read.status for read in history.reads)
    rate = statuses["hit"] / max(1, len(history.reads))
    yield f"reads: {len(history.reads):,} ({rate:.1%} hits, {_counted(statuses)})"
    outcomes = Counter(mutation.outcome.value for mutation in history.mutations)
    yield f"mutations: {len(history.mutations):,} ({_counted(outcomes)})"
    yield f"faults: {report.faults.total():,} ({_counted(report.faults)})"
    documented = [one for one in report.violations if one.documented]
    if options.allow:
        yield f"late or lost purges, as documented: {len(documented):,} reads ({_by_breach(documented)})"
        yield f"remaining once all was back: {len(report.remaining):,}"
    yield f"violations: {len(report.unexpected):,} ({_by_breach(report.unexpected)})"
    yield from (f"  {one}" for one in report.unexpected[:_SHOWN])
    if report.uncached:
        yield f"not cached again once all was back: {report.uncached:,} bundles"


def _by_breach(violations: list[Violation]) -> str:
    return _counted(Counter(one.breach.value for one in violations))


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items())) or "none"
