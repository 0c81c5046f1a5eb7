"""From a path below the mount point to the endpoint that answers there."""

from mizan_core.errors import NotFound

from .bundles import BundleEndpoint, MissingBundle
from .calls import CallEndpoint
from .scripts import SCRIPTS, ScriptEndpoint
from .service import Endpoint, Service


def endpoints_of(service: Service) -> dict[str, Endpoint]:
    """What a graph answers, by place."""
    graph = service.engine.graph
    bundles = {name: BundleEndpoint(service, plan) for name, plan in graph.contexts.items() if plan.readers}
    found: list[Endpoint] = [*bundles.values(), *(ScriptEndpoint(name, script) for name, script in SCRIPTS.items())]
    found += [CallEndpoint(service, name, bundles) for name in (None, *graph.functions)]
    return {endpoint.place: endpoint for endpoint in found}


def missing_endpoint(service: Service, place: str) -> Endpoint:
    """What tells that nothing is at this place: to whoever may be told, and after what else is wrong."""
    match place.split("/"):
        case ["", "call", name, ""]:
            return CallEndpoint(service, name, {})
        case ["", "ctx", _, ""]:
            return MissingBundle(service, place)
    raise NotFound
