"""Somebody at the admin, over HTTP like a browser: log in, read pages, follow links, send forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

from sync.management.demo.stage import CannotPlay

SECONDS_TO_ANSWER = 30.0


@dataclass
class Row:
    """Of a table."""

    cells: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return " | ".join(cell for cell in self.cells if cell)


@dataclass
class Page:
    """What a person sees of a page: the rows of its tables, the points of its lists, its messages and links.

    `lists` has the points by the list's class, `hidden` what its forms carry along unseen.
    """

    url: str
    rows: list[Row] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    hidden: dict[str, str] = field(default_factory=dict)

    def row(self, cell: str) -> Row:
        """The first row with this cell. Raises CannotPlay."""
        for row in self.rows:
            if cell in row.cells:
                return row
        raise CannotPlay(f"There is no {cell} on {urlsplit(self.url).path}.")

    def link(self, *, ends: str) -> str:
        """The address of the first link that ends so. Raises CannotPlay."""
        for address in self.links:
            if urlsplit(address).path.endswith(ends):
                return address
        raise CannotPlay(f"There is no link to …{ends} on {urlsplit(self.url).path}.")


class Visitor:
    """A session of the admin. Every method raises CannotPlay, and requests.RequestException."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def log_in(self, *, user: str, password: str) -> None:
        login = self.open("/admin/login/")
        self.send(login, username=user, password=password, next="/admin/")
        if "sessionid" not in self._session.cookies:
            raise CannotPlay(f"The admin does not let {user} in with the demo's password. Was it changed?")

    def log_out(self) -> None:
        home = self.open("/admin/")
        self._read(
            self._session.post(
                f"{self._url}/admin/logout/",
                data=home.hidden,
                headers={"Referer": home.url},
                timeout=SECONDS_TO_ANSWER,
            )
        )

    def open(self, address: str) -> Page:
        return self._read(self._session.get(urljoin(self._url, address), timeout=SECONDS_TO_ANSWER))

    def send(self, page: Page, **typed: str) -> Page:
        """The page's form, with what was typed into it; the page one is led to."""
        return self._read(
            self._session.post(
                page.url,
                data={**page.hidden, **typed},
                headers={"Referer": page.url},
                timeout=SECONDS_TO_ANSWER,
            )
        )

    @staticmethod
    def _read(response: requests.Response) -> Page:
        if response.status_code != 200:
            path = urlsplit(response.url).path
            raise CannotPlay(f"The admin answers {response.status_code} at {path}.")
        reader = _Reader(response.url)
        reader.feed(response.text)
        return reader.page


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.page = Page(url)
        self._list: list[str] = []  # the classes of the lists around
        self._row: Row | None = None
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("type") == "hidden" and given.get("name"):
            self.page.hidden[given["name"]] = given.get("value", "")
        elif tag == "ul":
            self._list.append(given.get("class", ""))
        elif tag == "tr":
            self._row = Row()
        elif tag in ("li", "td", "th"):
            self._text = []
        elif tag == "a" and "href" in given:
            address = urljoin(self.page.url, given["href"])
            self.page.links.append(address)
            if self._row is not None:
                self._row.links.append(address)

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "ul" and self._list:
            self._list.pop()
        elif tag == "tr" and self._row is not None:
            self.page.rows.append(self._row)
            self._row = None
        elif tag in ("li", "td", "th") and self._text is not None:
            text = " ".join(" ".join(self._text).split())
            self._text = None
            if tag != "li" and self._row is not None:
                self._row.cells.append(text)
            elif self._list:
                self.page.lists.setdefault(self._list[-1], []).append(text)
