from __future__ import annotations

import pytest

from booking.calcom.objects import Unreadable
from booking.calcom.subscriptions import TRIGGERS, Place, Subscription, read_subscription
from booking.webhook_subscriptions import Verb, Wanted, differences, plan

PATH = "/hooks/0f1e2d3c-0000-4000-8000-000000000001/calcom"
URL = f"https://bookings.example.org{PATH}"
WANTED = Wanted(url=URL, secret="whsec_new")


def subscription(number: str = "1", **changes) -> Subscription:
    values = {
        "id": number,
        "url": URL,
        "triggers": frozenset(TRIGGERS),
        "is_active": True,
        "has_template": False,
        "secret": "whsec_new",
        **changes,
    }
    return Subscription(**values)


def planned(*present, wanted: Wanted | None = WANTED) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(a.verb.value, a.subscription_id, a.why) for a in plan(present, path=PATH, wanted=wanted)]


def test_what_is_missing_is_created():
    assert planned() == [("create", "", ())]


def test_what_is_right_is_kept():
    assert planned(subscription()) == [("keep", "1", ())]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": f"https://old.example.org{PATH}"}, "address"),
        ({"url": f"http://bookings.example.org:8000/slotkeeper{PATH}/"}, "address"),
        ({"url": f"https://old.example.org{PATH.upper().replace('/HOOKS', '/hooks')}"}, "address"),
        ({"secret": "whsec_old"}, "secret"),
        ({"secret": ""}, "secret"),
        ({"triggers": frozenset(TRIGGERS[1:])}, "triggers"),
        ({"triggers": frozenset({*TRIGGERS, "FORM_SUBMITTED"})}, "triggers"),
        ({"is_active": False}, "inactive"),
        ({"has_template": True}, "payload template"),
    ],
)
def test_what_is_ours_and_wrong_is_updated_and_never_added_beside(changes, why):
    assert planned(subscription(**changes)) == [("update", "1", (why,))]


def test_everything_that_is_wrong_is_named():
    wrong = subscription(secret="", is_active=False, has_template=True)
    assert differences(wrong, WANTED) == ("secret", "inactive", "payload template")


def test_of_several_of_ours_the_best_is_kept_and_the_others_go():
    old = subscription("1", url=f"https://old.example.org{PATH}")
    wrong = subscription("2", is_active=False)
    right = subscription("3")
    assert planned(old, wrong, right) == [
        ("keep", "3", ()),
        ("delete", "1", ("duplicate",)),
        ("delete", "2", ("duplicate",)),
    ]
    # The one that has the address already: Cal.com refuses a second of one address.
    assert planned(old, wrong) == [("update", "2", ("inactive",)), ("delete", "1", ("duplicate",))]


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.org/hooks/calcom",
        "https://bookings.example.org/hooks/0f1e2d3c-0000-4000-8000-000000000002/calcom",
        f"https://crm.example.org/forward?to={URL}",
        f"https://crm.example.org/#{PATH}",
        f"https://bookings.example.org{PATH}/elsewhere",
        "https://[not-an-address/",
        "",
    ],
)
def test_subscriptions_of_others_are_never_touched(url):
    other = subscription("9", url=url, secret="", is_active=False)
    assert planned(other) == [("create", "", ())]
    assert planned(other, subscription()) == [("keep", "1", ())]
    assert planned(other, wanted=None) == []


def test_where_nothing_is_wanted_ours_go_even_from_an_old_address():
    old = subscription("2", url=f"https://old.example.org{PATH}")
    assert [(verb, number) for verb, number, _ in planned(subscription(), old, wanted=None)] == [
        ("delete", "1"),
        ("delete", "2"),
    ]


def test_a_plan_never_shows_a_secret():
    wrong = subscription(secret="whsec_old")
    text = repr((WANTED, plan([wrong], path=PATH, wanted=WANTED)))
    assert "whsec" not in text
    assert Verb.UPDATE.value in text


def test_a_subscription_is_read_as_cal_com_shows_it():
    # "id" is a UUID; the published schema says it is a number.
    shown = {
        "id": "6a1b",
        "payloadTemplate": None,
        "triggers": ["BOOKING_CREATED", "BOOKING_CANCELLED"],
        "subscriberUrl": "https://example.com/probe",
        "active": False,
        "secret": None,
        "eventTypeId": 7,
    }
    read = read_subscription(shown)
    assert read == Subscription(
        id="6a1b",
        url="https://example.com/probe",
        triggers=frozenset({"BOOKING_CREATED", "BOOKING_CANCELLED"}),
        is_active=False,
        has_template=False,
        secret="",
    )
    assert read_subscription({**shown, "id": 12, "payloadTemplate": "{}", "secret": "k"}) == Subscription(
        id="12",
        url="https://example.com/probe",
        triggers=read.triggers,
        is_active=False,
        has_template=True,
        secret="k",
    )
    del shown["secret"], shown["payloadTemplate"], shown["triggers"]
    assert read_subscription(shown).triggers == frozenset()


@pytest.mark.parametrize(
    "shown", [None, [], {"id": "1"}, {"subscriberUrl": "x"}, {"id": "", "subscriberUrl": "x"}]
)
def test_what_is_no_subscription_cannot_be_read(shown):
    with pytest.raises(Unreadable):
        read_subscription(shown)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Place(), "/webhooks"),
        (Place(event_type_id=7), "/event-types/7/webhooks"),
        (Place(event_type_id=7, team_id=3), "/teams/3/event-types/7/webhooks"),
    ],
)
def test_each_kind_of_place_has_its_path(place, path):
    assert place.path == path
