"""Clients and an OpenAPI document, generated from the graph.

`api` makes the model from which everything is written: names, docs, and JSON schemas. `browser` and `react` write the
modules of the TypeScript and JavaScript client, with `types`, `names` and `modules` as their tools; `client` gathers
its files. `openapi` writes the document. A client in another language is a writer of its own over `api`, a member of
`modules.Language`, and a case in `client.client_files`.
"""
