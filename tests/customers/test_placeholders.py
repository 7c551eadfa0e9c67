from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.placeholders import clean_text, is_placeholder, is_placeholder_name

PLACEHOLDERS = [
    "", " ", "\n\t\u00a0", "\u200b", "\x00", "None", "null", "NULL", "undefined", "N/A", "n/a", "NA",
    "unknown", "Unbekannt", "UNBEKANNT", "kein Name", "Keine Angabe", "not provided", "{{user_number}}",
    "Anna {{last_name}}", "}}", "{{", "<name>", "[Name]", "{name}", "${name}", "<Kundenname hier>", "string",
    "customer_name", "customer_phone", "callerName", "your email", "user_number", '"null"', "'None'", "None.",
    "(unknown)", "-", "--", "?", "…", "...", "+", "ｎｕｌｌ", "[Ihr Name]", "Not stated", "not mentioned",
    "none given", "No e-mail address", "no email provided", "Name not provided", "The name was not given",
    "caller's name not given", "no phone number", "Doesn’t have one", "does not have an email",
    "Name nicht genannt", "keine E-Mail-Adresse", "nicht mitgeteilt", "Telefonnummer nicht bekannt",
]  # fmt: skip

VALUES = [
    "Anna Müller", "John Doe", "Max Mustermann", "Na", "Null-Otto", "Nonekamp", "Anna", "0151 23456789",
    "haircut", "initial_assessment", "anna@example.org", "<anna@example.org>", "[0151 2345678]",
    "2027-01-19T10:00:00+01:00", "Stringer", "Kunde", "customer", "李", "نور", "😀", "0", 0, 1.5, True, False,
    [], {}, ["None"], "No Soo-hyun", "Noname Given", "not before ten", "no allergies", "my phone number",
    "call me on my e-mail address", "Kein Kaffee",
]  # fmt: skip


@pytest.mark.parametrize("value", [None, *PLACEHOLDERS])
def test_what_a_model_sends_instead_of_a_value_is_a_placeholder(value):
    assert is_placeholder(value)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_not_a_placeholder(value):
    assert not is_placeholder(value)


@pytest.mark.parametrize(
    "name",
    [
        None, *PLACEHOLDERS, "Kunde", "KUNDIN", "customer", "The Customer", "caller", "Anrufer",
        "der Anrufer", "Gast", "anonymous", "Herr", "Frau", "Mr.", "name", "Neukunde", "+4915123456789",
        "12345", "😀", 7, True, [], {}, "new patient", "the new customer", "Existing client",
        "the caller's name", "myself", "my son", "Neue Patientin", "unbekannte Anruferin", "meine Tochter",
    ],
)  # fmt: skip
def test_what_names_nobody_is_a_placeholder_name(name):
    assert is_placeholder_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "Anna",
        "Anna Müller",
        "Peter Kunde",
        "Frau Gast",
        "John Doe",
        "Na",
        "Li",
        "O'Brien",
        "李",
        "نور",
        "Anna 2",
        "A. Guest",
        "Neuer",
        "Mya Son",
        "Nathan New",
        "Mr. Patient",
    ],
)
def test_a_name_is_not_a_placeholder_name(name):
    assert not is_placeholder_name(name)


@given(st.sampled_from(PLACEHOLDERS), st.sampled_from(["", " ", "\u00a0", "\n", "\t  "]), st.booleans())
def test_case_and_white_space_do_not_hide_a_placeholder(value, space, upper):
    assert is_placeholder(space + (value.upper() if upper else value) + space)


@given(st.text(), st.text(), st.sampled_from(["{{", "}}"]))
def test_any_text_with_an_unresolved_variable_is_a_placeholder(before, after, brace):
    assert is_placeholder(before + brace + after)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@given(JSON)
def test_any_json_value_is_judged_without_an_exception(value):
    if is_placeholder(value):
        assert is_placeholder_name(value)
    assert isinstance(clean_text(value, limit=50), str)


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("  Anna \n\t Müller ", "Anna Müller"),
        ("Mu\u0308ller", "Müller"),
        ("A\x00n\x07na", "Anna"),
        ("Anna\u00a0Müller", "Anna Müller"),
        ("\u202eanna\u202c", "anna"),
        ("\ufeffAnna\u200b", "Anna"),
        ("An\ud800na", "Anna"),
        ("👩\u200d🦰", "👩\u200d🦰"),
        ("Anna\r\nBcc: x@example.org", "Anna Bcc: x@example.org"),
        (None, ""),
        (True, ""),
        (12, "12"),
        (1.5, "1.5"),
        (10**400, ""),
        ([], ""),
        ({}, ""),
    ],
)
def test_cleaning(value, cleaned):
    assert clean_text(value, limit=100) == cleaned


def test_cleaning_cuts_at_the_limit_and_leaves_no_space_at_the_end():
    assert clean_text("Anna Müller", limit=5) == "Anna"
    assert clean_text("Anna", limit=0) == ""
    assert clean_text("x" * 5000, limit=255) == "x" * 255


@given(st.text(alphabet=st.characters()), st.integers(0, 30))
def test_cleaned_text_is_short_tidy_storable_and_stays_as_it_is(value, limit):
    cleaned = clean_text(value, limit=limit)
    assert len(cleaned) <= limit
    assert cleaned == " ".join(cleaned.split()) == unicodedata.normalize("NFC", cleaned)
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in cleaned)
    assert (
        json.loads(json.dumps(cleaned).encode("utf-8")) == cleaned == cleaned.encode("utf-8").decode("utf-8")
    )
    assert clean_text(cleaned, limit=limit) == cleaned


@given(
    st.text(st.one_of(st.sampled_from(" ab.\t\n\x00\x1c\x7f~"), st.characters(max_codepoint=127))),
    st.integers(min_value=-1, max_value=30),
)
def test_plain_ascii_is_cleaned_as_any_other_text_is(text, limit):
    # The letter in front, which no ASCII character composes with, makes it any other text.
    as_any_other = clean_text("ß" + text, limit=1000).removeprefix("ß").lstrip()
    assert clean_text(text, limit=limit) == as_any_other[: max(limit, 0)].rstrip()
