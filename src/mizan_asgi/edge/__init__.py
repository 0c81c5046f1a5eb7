"""The caches in front of the application, as `Mizan(graph, edge=...)` takes them: told after every purge."""

from .cloudflare import Cloudflare
from .cloudfront import CloudFront
from .fastly import Fastly
from .front import HeaderOnly
from .nodes import Nodes
from .outside import outermost
from .refetching import Refetch

__all__ = ["CloudFront", "Cloudflare", "Fastly", "HeaderOnly", "Nodes", "Refetch", "outermost"]
