import json
from ipaddress import ip_network
from typing import Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory, override_settings

from config.trusted_proxies import TrustedProxiesMiddleware

FORWARDED = {
    "HTTP_X_FORWARDED_FOR": "203.0.113.9, 10.0.0.2",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "slots.example.org",
}

EVERYTHING_FORWARDED = {
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
    *(f"HTTP_X_FORWARDED_{what}" for what in ("FOR", "HOST", "PORT", "PROTO", "SSL")),
}


def tell(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        {
            "address": request.META["REMOTE_ADDR"],
            "is_secure": request.is_secure(),
            "host": request.META.get("HTTP_X_FORWARDED_HOST"),
            "forwarded": sorted(EVERYTHING_FORWARDED & request.META.keys()),
        }
    )


def ask(*, peer: str, proxies: list[str], **headers: str) -> Any:
    request = RequestFactory().get("/")
    request.META |= {"REMOTE_ADDR": peer, **(headers or FORWARDED)}
    with override_settings(
        TRUSTED_PROXIES=[ip_network(proxy) for proxy in proxies],
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    ):
        return json.loads(TrustedProxiesMiddleware(tell)(request).content)


@pytest.mark.parametrize(
    ("peer", "proxies"), [("10.0.0.1", []), ("198.51.100.7", ["10.0.0.0/8"]), ("", ["10.0.0.0/8"])]
)
def test_forwarded_headers_of_a_stranger_are_taken_away(peer, proxies):
    told = ask(peer=peer, proxies=proxies, **(dict.fromkeys(EVERYTHING_FORWARDED, "x") | FORWARDED))
    assert told == {"address": peer, "is_secure": False, "host": None, "forwarded": []}


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "[::ffff:10.0.0.1]"])
def test_a_trusted_proxy_tells_the_client_and_that_it_was_https(peer):
    assert ask(peer=peer, proxies=["10.0.0.0/8"]) == {
        "address": "203.0.113.9",
        "is_secure": True,
        "host": "slots.example.org",
        "forwarded": sorted(FORWARDED),
    }


def test_a_trusted_proxy_that_tells_no_client_is_taken_for_the_client():
    told = ask(peer="10.0.0.1", proxies=["10.0.0.0/8"], HTTP_X_FORWARDED_PROTO="https")
    assert (told["address"], told["is_secure"]) == ("10.0.0.1", True)


def test_a_client_cannot_put_an_address_in_front_of_the_one_our_proxy_saw():
    told = ask(peer="10.0.0.1", proxies=["10.0.0.0/8"], HTTP_X_FORWARDED_FOR="127.0.0.1, 203.0.113.9")
    assert told["address"] == "203.0.113.9"
