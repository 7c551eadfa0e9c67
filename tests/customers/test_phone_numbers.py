from __future__ import annotations

import re
from decimal import Decimal

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.phone_numbers import is_withheld, mask, normalise, region_of

MOBILE = "+4915123456789"

REGIONS = st.sampled_from(["DE", "AT", "CH", "US", "GB", "FR", "IT", "ES", "PL", "JP", "AU", "BR"])
EXAMPLES = st.sampled_from(
    [
        phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        for region in ("DE", "AT", "CH", "US", "GB", "FR", "IT", "ES", "PL", "JP", "AU", "BR")
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
        if (example := phonenumbers.example_number_for_type(region, kind)) is not None
    ]
)


@pytest.mark.parametrize(
    "spelling",
    [
        "0151 234 567-89",
        "0151/23456789",
        "0151.234.567.89",
        "(0151) 23456789",
        "0151–234–56789",
        "0 1 5 1 2 3 4 5 6 7 8 9",
        "+4915123456789",
        "+49 151 23456789",
        "+49 (0)151 23456789",
        "+49 (0) 151 / 234 567 89",
        "+49 0151 23456789",
        "0049 151 23456789",
        "0049 (0)151 23456789",
        "00 49 151 23456789",
        "4915123456789",
        "+49\u00a0151\u00a0234\u202f567\u200989",
        "\u202a+49 151 23456789\u202c",
        "＋４９　１５１　２３４５６７８９",
        "٠١٥١٢٣٤٥٦٧٨٩",
        "tel:+49-151-23456789",
        "sip:+4915123456789@203.0.113.7:5060",
        '"Anna" <sip:+4915123456789@203.0.113.7>',
        '"Acht" <sip:+4915123456789@203.0.113.7>',
        "mobil: 0151 23456789 (privat)",
        "0151 23456789, also nochmal 0151 234 56789",
        "15123456789",
        15123456789,
        4915123456789,
    ],
)
def test_every_usual_spelling_of_a_german_mobile_is_one_number(spelling):
    assert normalise(spelling, region="DE") == MOBILE


@pytest.mark.parametrize(
    ("spelling", "region", "number"),
    [
        ("(773) 555-0123", "US", "+17735550123"),
        ("1-773-555-0123", "US", "+17735550123"),
        ("+1 555 555 0142", "DE", "+15555550142"),
        ("011 49 151 23456789", "US", MOBILE),
        ("0049 151 23456789", "US", MOBILE),
        ("+44 (0)20 7946 0123", "DE", "+442079460123"),
        ("020 7946 0123", "gb", "+442079460123"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("+39 06 12345678", "DE", "+390612345678"),
        ("+39 (0)6 12345678", "DE", "+390612345678"),
        ("030 23125 123", "DE", "+493023125123"),
        ("+49 151 23456789", None, MOBILE),
        ("+49 151 23456789", "no region", MOBILE),
    ],
)
def test_regions_and_fictional_numbers(spelling, region, number):
    assert normalise(spelling, region=region) == number


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "None", "null", "{{user_number}}", "anonymous", "+anonymous", "+266696687", "12345",
        "110", "+49", "+49 123", "+4912345", "+", "00", "0151 2345678901234567", "0151 23", "1-800-FLOWERS",
        "keine Ahnung", "0151 23456789 oder 0160 98765432", "0151 23456789 / 0160 98765432",
        "2027-01-19T10:00:00Z", "2027-01-19", "2027-01-19 10:00", "19.01.2027", "19.01.2027 10:00", "2345678",
        "+999 1234567", "+49 00 151 23456789", True, 1.5, -15123456789, 10**400, [], {}, ["0151 23456789"],
        b"0151 23456789", "9" * 5000, "\ud800", "\x00",
    ],
)  # fmt: skip
def test_what_is_not_one_number_is_none(text):
    assert normalise(text, region="DE") is None


def test_a_national_number_without_a_known_region_is_none():
    assert normalise("0151 23456789", region=None) is None
    assert normalise("0151 23456789", region="XX") is None


def test_a_national_number_has_to_be_valid_and_an_international_one_only_possible():
    assert normalise("07700 900123", region="GB") is None  # reserved for drama
    assert normalise("+44 7700 900123", region="GB") == "+447700900123"


@given(EXAMPLES, REGIONS)
def test_an_e164_number_stays_itself_in_any_region(number, region):
    assert normalise(number, region=region) == number


@given(EXAMPLES, st.sampled_from(list(" -./\u00a0\u2009\u2011")), st.data())
def test_separators_anywhere_do_not_change_the_number(number, separator, data):
    places = data.draw(st.sets(st.integers(2, len(number) - 1), max_size=5))
    spelled = "".join((separator if i in places else "") + digit for i, digit in enumerate(number))
    assert normalise(spelled, region="DE") == number
    assert normalise("00" + spelled[1:], region="DE") == number


@given(EXAMPLES)
def test_national_format_at_home_and_international_format_abroad_agree(number):
    parsed = phonenumbers.parse(number)
    home = region_of(number)
    national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    international = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    assert normalise(national, region=home) == normalise(international, region="AU") == number


PHONE_LIKE = st.text(alphabet="0123456789+()-/. \u00a0٣９x@:;<>", max_size=30)


@given(
    st.one_of(st.text(), PHONE_LIKE, st.none(), st.integers(), st.floats(), st.booleans()), REGIONS, REGIONS
)
def test_the_result_is_none_or_a_fixed_point_whatever_is_sent(text, region, other):
    number = normalise(text, region=region)
    if number is not None:
        assert re.fullmatch(r"\+[1-9][0-9]{7,16}", number)
        assert normalise(number, region=other) == number
        assert not is_withheld(number)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "  ", "anonymous", "Anonymous", "ANONYMOUS", "unknown", "private", "restricted", "withheld",
        "unavailable", "blocked", "+anonymous", "+266696687", "266696687", "+7378742833",
        "anonymous@anonymous.invalid", "sip:anonymous@anonymous.invalid",
        "<sip:anonymous@anonymous.invalid>;tag=1", '"Anonymous" <sip:anonymous@anonymous.invalid>',
        '"Anonymous" <sip:c8oqz84zk7z@privacy.example>', "sips:Restricted@10.0.0.1", "anonymous:secret@host",
        "Private Number", "no_caller_id", "unbekannt", "Anonym", "None", "null", "{{user_number}}",
        "\u00a0Anonymous\u00a0", "tel:anonymous",
    ],
)  # fmt: skip
def test_a_withheld_number_is_recognised(text):
    assert is_withheld(text)


@pytest.mark.parametrize(
    "text",
    [
        MOBILE,
        "+17735550123",
        "0151 23456789",
        "sip:+4915123456789@host",
        "+12666966870",
        "Anna",
        "+4926669668799",
    ],
)
def test_a_number_that_was_passed_on_is_not_withheld(text):
    assert not is_withheld(text)


@given(st.text())
def test_asking_whether_a_text_is_withheld_never_raises(text):
    assert is_withheld(text) in (True, False)


@pytest.mark.parametrize(
    ("number", "region"),
    [
        (MOBILE, "DE"), ("+17735550123", "US"), ("+14165550123", "CA"), ("+15555550100", "US"),
        ("+436641234567", "AT"), ("+41446681800", "CH"), ("+80012345678", None), ("+999123", None),
        ("anonymous", None), ("", None), ("0151 23456789", None),
    ],
)  # fmt: skip
def test_the_country_of_a_number(number, region):
    assert region_of(number) == region


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        (MOBILE, "+49…89"), ("+17735550123", "+1…23"), ("+436641234567", "+43…67"), ("anonymous", "…"),
        ("", "…"), ("Anna Müller", "…"), ("+4912345", "+49…"),
    ],
)  # fmt: skip
def test_a_masked_number_keeps_country_code_and_two_digits(number, masked):
    assert mask(number) == masked


@given(EXAMPLES)
def test_a_masked_number_hides_all_but_two_digits_of_the_subscriber(number):
    code = str(phonenumbers.parse(number).country_code)
    assert mask(number) == f"+{code}…{number[-2:]}"


@given(st.text())
def test_masking_arbitrary_text_never_shows_it(text):
    masked = mask(text)
    assert masked == "…" or re.fullmatch(r"\+[0-9]{1,3}…([0-9]{2})?", masked)


def test_what_was_read_before_is_not_taken_for_an_equal_object_of_another_kind():
    digits = 4915123456789
    assert normalise(digits, region="DE") == normalise(str(digits), region="DE") == "+4915123456789"
    for other in (float(digits), Decimal(digits), [digits], {"number": digits}, None, True):
        assert normalise(other, region="DE") is None
    assert normalise(digits, region="DE") == "+4915123456789"


def test_the_same_text_is_read_anew_for_each_region():
    assert [normalise("0664 1234567", region=region) for region in ("AT", "DE", None, "AT")] == [
        "+436641234567",
        normalise("+49 664 1234567", region=None),
        None,
        "+436641234567",
    ]
