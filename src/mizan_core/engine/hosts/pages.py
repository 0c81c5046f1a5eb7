"""Pages: the answers of readers at routes of their own, kept as bundles are."""

from ...cache.bundle_cache import DECLINED
from ...protocol.cache_headers import cache_status_of_a_bypass
from ...protocol.kept_pages import read_page
from ...protocol.urls import page_url
from ..answers import Bundle, Page
from ..bundle_requests import BundleRequest, PageRequest

_DECLINED = cache_status_of_a_bypass(DECLINED)
# Of a response that could not be kept, whoever asked.
_NOT_KEPT = cache_status_of_a_bypass("response")


def page_of(asked: BundleRequest, bundle: Bundle) -> Page:
    """The page of a reader's answer. A response that could not be kept is passed on as it is."""
    plan = asked.plan
    (function,) = plan.readers
    texts = asked.spelling.texts
    path = page_url(
        function.declaration.route or "", {name: texts[name] for name in function.client_inputs if name in texts}
    )
    if isinstance(asked, PageRequest) and asked.own:
        response, is_personal, declined = asked.own[0]
        status = bundle.cache_status if is_personal or asked.slot is None else _NOT_KEPT
        if declined:
            status = _DECLINED
        # Such a response is at most `private, no-cache`, unless it has work to do each time.
        keepable = not declined and getattr(response, "background", None) is None
        return Page(response, plan.policy, keepable, is_personal, path, cache_status=status)
    return Page(
        result=read_page(bundle.body) if function.is_view else bundle.body,
        policy=plan.policy,
        keepable=bundle.status != "bypass",
        personal=bundle.is_personal,
        path=path,
        etag=bundle.etag,
        cache_status=bundle.cache_status,
        remaining=bundle.remaining,
    )
