from __future__ import annotations

import pytest

from booking.calcom_pages import booking_page


@pytest.mark.parametrize(
    ("base_url", "page"),
    [
        ("https://api.cal.com/v2", "https://app.cal.com/booking/abc"),
        ("https://api.cal.eu/v2/", "https://app.cal.eu/booking/abc"),
        ("https://cal.salon.example/api/v2", "https://cal.salon.example/booking/abc"),
        ("http://127.0.0.1:9100/v2", "http://127.0.0.1:9100/booking/abc"),
        ("https://user:word@cal.salon.example/v2", "https://cal.salon.example/booking/abc"),
    ],
)
def test_the_page_of_a_booking_is_found_from_the_address_of_the_api(base_url, page):
    assert booking_page(base_url=base_url, uid="abc") == page


def test_a_uid_cannot_lead_elsewhere():
    assert (
        booking_page(base_url="https://api.cal.com/v2", uid="../x?y#z")
        == "https://app.cal.com/booking/..%2Fx%3Fy%23z"
    )


@pytest.mark.parametrize("base_url", ["", "javascript:alert(1)", "ftp://cal.example", "https://"])
def test_what_is_no_web_address_gives_no_link(base_url):
    assert booking_page(base_url=base_url, uid="abc") is None
