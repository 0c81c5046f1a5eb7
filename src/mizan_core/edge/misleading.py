"""Headers of requests by which frameworks and proxies find another host, path, scheme or method than the key has.

A request for something that is kept is sent on without them: the answer to one request with such a header would
otherwise be served to everyone (web cache poisoning by unkeyed input).
"""

MISLEADING = (
    "Forwarded",
    "Front-End-Https",
    "X-Forwarded-Host",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-Host",
    "X-Original-Uri",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme",
)
