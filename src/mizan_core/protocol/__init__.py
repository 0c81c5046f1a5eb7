"""docs/protocol.md as pure code: values, keys, headers, bodies, tokens. No graph, no cache, no engine."""
