from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_public_https(url: str) -> bool:
    """Whether the real Retell and Cal.com, out in the internet, would call it (pure)."""
    parts = urlsplit(url)
    return parts.scheme == "https" and not _is_private(parts.hostname or "")


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host
