"""The cache: bundles that are stored, joined or computed, and never served once something under them has changed.

This is the theory of operation (protocol, section 7); every module below is one part of it.

**Entries and tags.** A bundle is stored as one *entry*. It depends on a few *tags*, one for each scope that it is part
of: the whole context, and each narrower scope that some mutation can name. A tag is a key of its own whose value is a
random *nonce*. An entry carries *stamps*: the nonces that its tags had before its readers ran. An entry is a hit only
if every tag is present and equals its stamp. So a purge deletes one tag, however many entries depend on it, and any key
may be evicted at any moment: an absent tag or entry is a miss, never a stale hit.

**Stamping** (`stamping`). A miss first gives every absent tag a fresh nonce, added only if the tag is still absent, and
only then runs the readers. The entry is stored under those nonces. If a purge came in between, a tag has another nonce
or none, and the entry is dead as it is written, however slow the readers were.

**Holds** (`holds`, `in_process.holds`, `shared.holds`). Between a mutation's commit and its purge, a reader could read
old rows and store them, or the process could die. So a mutation *holds* its scopes before it runs: a held tag serves
nothing and stamps nothing, and expires by itself if its process dies, leaving everything under it dead. Several
mutations may hold one tag; only the last holder to end deletes it.

**Refusals** (`held_tags`). A mutation that was refused has changed nothing. Its tags get back the nonce that they had,
and the entries under them are as good as before, unless another holder may have written. The states of one tag:

    the tag is        | hold              | purge, or release by | release by a refused  | a hold expires: its
                      |                   | a holder that may    | holder                | process may have died
                      |                   | have written         |                       | after it wrote
    ------------------+-------------------+----------------------+-----------------------+-----------------------
    absent            | held, restorable  | absent               | absent                |
    a nonce           | held, restorable  | absent               | the nonce             |
    held, restorable  | held, restorable  | held, spoiled;       | held, restorable;     | held, spoiled;
                      |                   | absent after the     | what it had, after    | absent after the
                      |                   | last holder          | the last holder       | last holder
    held, spoiled     | held, spoiled     | held, spoiled;       | held, spoiled;        | held, spoiled;
                      |                   | absent after the     | absent after the      | absent after the
                      |                   | last holder          | last holder           | last holder

**Copies** (`shared.near`). A process keeps copies of the entries of a shared backend that it has stored or read. A
look-up then reads the tags alone, and serves the copy under the same condition: wherever a body lies, it is the nonces
that make it true.

**Joining** (`single_flight`). Concurrent misses of one slot compute once. A request may join a computation only if the
computation carries the very stamps that the request has just read: one that began before a purge is never joined after
it. **Turns** (`turns`): where nothing may be stored, a request may join only a computation that begins after it asked.

**Two stores** (`store`, `in_process`, `shared`). In this process's memory no step suspends, so no step can lose a race,
and a mutation that never suspends need not even write its hold. In a shared backend every step may wait and may fail:
behind a circuit breaker (`shared.breaker`) bundles are computed without the cache, and a purge that failed is owed and
retried (`shared.owed_purges`), with everything that depends on it bypassed until it has succeeded.

`bundle_cache` is the one path of a request through all this. `tests/cache/test_interleavings.py` runs the real code
through every order of readers, mutations, evictions and crashes; `mizan_core.testing.safeguards` takes one safeguard
away at a time, and an order with a stale read is found each time.
"""
