"""For code of the host that is no function of a graph: writes of its own, and code without an event loop."""
