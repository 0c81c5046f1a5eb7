"""Mizan over HTTP: one plain ASGI application to mount in any Starlette or FastAPI server."""

from .app import Mizan

__all__ = ["Mizan"]
