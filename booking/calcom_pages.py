"""Where a person looks at a booking in Cal.com's own pages (pure)."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def booking_page(*, base_url: str, uid: str) -> str | None:
    """The address of a booking's page, from a company's API address; None when that is no web address.

    Cal.com's own API lives at api.cal.com and its pages at app.cal.com. Who hosts it themselves has both on
    one host.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not uid:
        return None
    host = parts.netloc.rpartition("@")[2]
    if parts.hostname in ("api.cal.com", "api.cal.eu", "api.cal.dev"):
        host = "app." + host.partition(".")[2]
    return f"{parts.scheme}://{host}/booking/{quote(uid, safe='')}"
