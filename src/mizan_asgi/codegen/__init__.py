"""Clients for others to use, written from the graph: TypeScript, JavaScript, React hooks, an OpenAPI document."""
