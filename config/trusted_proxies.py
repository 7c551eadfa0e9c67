"""Forwarded headers count only when a proxy we know has written them.

TLS ends at the proxy, so `X-Forwarded-Proto` decides whether Django thinks a request was secure and
`X-Forwarded-For` who asked. Anybody can send both. A request whose peer is not in TRUSTED_PROXIES has them
taken away before any other middleware looks.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse

_FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_SSL",
    "HTTP_X_REAL_IP",
)

Networks = Iterable[IPv4Network | IPv6Network]


def is_within(address: str, networks: Networks) -> bool:
    """Whether `address` (as text) lies in one of `networks`. Text that is no address never does."""
    try:
        parsed = ip_address(address.strip().strip("[]"))
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)


class TrustedProxiesMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.networks: list[IPv4Network | IPv6Network] = list(settings.TRUSTED_PROXIES)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        if not is_within(meta.get("REMOTE_ADDR", ""), self.networks):
            for header in _FORWARDED:
                meta.pop(header, None)
        elif forwarded_for := meta.get("HTTP_X_FORWARDED_FOR"):
            # From the right: every proxy of ours appended who it saw; the first stranger is the client.
            for address in reversed([part.strip() for part in forwarded_for.split(",")]):
                meta["REMOTE_ADDR"] = address
                if not is_within(address, self.networks):
                    break
        return self.get_response(request)
