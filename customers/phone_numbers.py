"""Phone numbers: from whatever was said, typed or signalled to E.164, and back to something that may be
logged.

What counts as a number:
- In international form ("+49 …", "0049 …") it must be *possible* for its country: length and country code
  fit. Validity is not asked for, because number plans move faster than any table, and because the numbers
  reserved for fiction (+1 … 555-01xx) have to pass in demos and tests.
- In national form it must be *valid* for the region. "12345" is possible almost anywhere, and an agent that
  misheard a digit must be asked again rather than given somebody else's number.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import phonenumbers
from phonenumbers import (
    CountryCodeSource,
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    ValidationResult,
)

from customers.placeholders import is_placeholder

_WITHHELD_WORDS = frozenset(
    {
        "anonymous", "anonym", "unknown", "private", "privat", "restricted", "withheld", "unavailable",
        "blocked", "hidden", "suppressed", "unbekannt", "unterdrückt", "no caller id", "unknown caller",
        "private number", "private caller", "blocked number", "anonymous caller", "caller id blocked",
        "number withheld", "not available", "unbekannte nummer", "nummer unterdrückt",
        "coverage unavailable",
    }
)  # fmt: skip

# "The same number", "die Nummer, von der ich anrufe": one of the first, and none but of both.
_THE_CALLERS_WORDS = frozenset(
    {
        "same", "this", "current", "calling", "caller", "own", "mine", "my", "gleiche", "gleichen",
        "dieselbe", "derselben", "selbe", "selben", "diese", "dieser", "aktuelle", "aktuellen", "anrufe",
        "anrufer", "anrufers", "anrufernummer", "anrufende", "eigene", "eigenen", "meine", "meiner",
    }
)  # fmt: skip
_WORDS_ABOUT_NUMBERS = frozenset(
    {
        "number", "phone", "telephone", "nummer", "telefonnummer", "rufnummer", "the", "as", "from", "i",
        "am", "m", "s", "of", "on", "under", "at", "use", "call", "die", "der", "des", "von", "unter", "ich",
        "wie", "gerade", "jetzt",
    }
)  # fmt: skip

# Some carriers cannot signal a word and dial it on the keypad instead: A-N-O-N-Y-M-O-U-S is 266696687. Each
# is the whole number, so a subscriber whose number merely contains these digits is not affected.
_WITHHELD_KEYPAD = frozenset(
    {
        "266696687",  # ANONYMOUS
        "7378742833",  # RESTRICTED
        "86282452253",  # UNAVAILABLE
        "2562533",  # BLOCKED
        "8656696",  # UNKNOWN
        "7748283",  # PRIVATE
    }
)

# A number that is only possible, not valid, must at least be this long without its country code. German plans
# allow five digits; a number that short is one that was cut off.
_FEWEST_UNPROVEN_DIGITS = 7
# So long must a national number be to be believed without the trunk zero that belongs before it.
_FEWEST_DIGITS_WITHOUT_TRUNK_ZERO = 9
_LONGEST_TEXT = 100
_ITALY = 39
# The same few numbers come again and again: the company's own, and the caller's in every request of a call.
_REMEMBERED = 4096

# One stretch of digits as numbers are written. Letters end it, so "mobil: 0151 2345678 (privat)" is read, and
# a vanity number such as 1-800-FLOWERS is not guessed at.
_STRETCH = re.compile(r"(?:\(\s*)?\+?[\d\s()\[\]./\-]*\d[\d\s()\[\]./\-]*")
# What else says digits: read without it, a number would be cut short, and a shorter one may be somebody
# else's. "+44 7700 900 double one two", "+49 800 1234-AUTO".
_DIGIT_WORD = (
    r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple"
    r"|null|eins|zwei|zwo|drei|vier|fünf|sechs|sieben|acht|neun|doppel\w*)"
)
_PARTLY_IN_WORDS = re.compile(rf"\d[\s,.\-]*{_DIGIT_WORD}\b|\b{_DIGIT_WORD}[\s,.\-]*\d|\d-(?!ext)[a-z]{{3}}")
# A date in the wrong argument. As a number it would even be valid in countries with numbers of any length.
_DATE = re.compile(r"(?:19|20)\d\d-\d\d-\d\d(?!\d)|\d{1,2}\.\d{1,2}\.(?:19|20)\d\d(?!\d)")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−⁃﹣ー~"), "-")
_TRUNK_ZERO = re.compile(r"(?<=\d)\s*\(\s*0\s*\)\s*")


def normalise(text: object, *, region: str | None) -> str | None:
    """The E.164 form of a number in any usual spelling, or None when it is not one number.

    `region` is the ISO 3166 country whose national form is assumed ("DE"). Raises nothing. Text around the
    number is ignored; two different numbers in one text, an extension-only text, one partly in words or a
    withheld caller give None. The result is a fixed point: normalising it again, in any region, gives the
    same text.
    """
    if isinstance(text, int) and not isinstance(text, bool) and 0 < text < 10**15:
        text = str(text)  # a model may send JSON numbers
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        return None
    return _normalised(text, region)


@lru_cache(maxsize=_REMEMBERED)
def _normalised(text: str, region: str | None) -> str | None:
    if is_withheld(text) or _PARTLY_IN_WORDS.search(_folded(text)):
        return None
    found = {number for number in (_read(part, region) for part in _stretches(text)) if number}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=_REMEMBERED)
def region_of(e164: str) -> str | None:
    """The ISO country of an E.164 number, or None when it has none (satellite and other non-geographic
    codes).

    Where several countries share a code and the number does not tell them apart (an unassigned +1 number),
    the main country of the code is given.
    """
    number = _parsed(e164)
    if number is None:
        return None
    region = phonenumbers.region_code_for_number(number)
    if region is None:
        region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return region if region not in (None, "ZZ", "001") else None


def is_withheld(text: str | None) -> bool:
    """True when the caller's number was not passed on: absent, a word such as "anonymous", or an unset
    variable.

    Understands plain words in any case, SIP forms ("sip:anonymous@anonymous.invalid"), a stray plus sign, and
    the words dialled on a keypad ("+266696687").
    """
    if text is None or is_placeholder(text):
        return True
    folded = _folded(text)
    address = re.search(r"<([^<>]*)>", folded)
    for part in (address.group(1), folded[: address.start()]) if address else (folded,):
        part = re.sub(r"^\s*(?:sips?|tel):", "", part).strip(" \t\r\n\"'")
        user, _, host = part.partition("@")
        user = re.split("[;:]", user)[0].strip(" \t\r\n\"'+.").replace("_", " ").replace("-", " ")
        if host.partition(";")[0].partition(":")[0].strip() == "anonymous.invalid" or user in _WITHHELD_WORDS:
            return True
        if user in _WITHHELD_KEYPAD:
            return True
    return False


def means_the_callers(text: str) -> bool:
    """True for words that say nothing but that it is the number the call comes from: "the same number"."""
    words = set(re.findall(r"\w+", _folded(text)))
    return bool(words & _THE_CALLERS_WORDS) and words <= _THE_CALLERS_WORDS | _WORDS_ABOUT_NUMBERS


def _folded(text: str) -> str:
    """For comparing only, and no more of it than a number can be: see `placeholders` for what more costs."""
    return unicodedata.normalize("NFKC", text[:_LONGEST_TEXT]).casefold()


def mask(e164: str) -> str:
    """A form for logs and admin lists: country code and last two digits, "+49…67". Not a number: "…"."""
    number = _parsed(e164)
    if number is None:
        return "…"
    subscriber = phonenumbers.national_significant_number(number)
    # Two of five digits would leave too little hidden.
    return f"+{number.country_code}…{subscriber[-2:] if len(subscriber) > 5 else ''}"


def _stretches(text: str) -> list[str]:
    """The stretches of digits in `text` that are long enough to be a number, in plain ASCII."""
    plain = unicodedata.normalize("NFKC", text)
    plain = re.sub(r"^\s*<?\s*(?:sips?|tel):", "", plain, flags=re.IGNORECASE)
    if "@" in plain:  # a SIP address; digits of the host are no number
        plain = plain.partition("@")[0]
    # Direction marks ("Cf") come along with numbers copied from a contact.
    plain = "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in plain
        if unicodedata.category(character) != "Cf"
    ).translate(_DASHES)
    return [
        found for found in _STRETCH.findall(plain) if sum(character.isdigit() for character in found) >= 5
    ]


def _read(stretch: str, region: str | None) -> str | None:
    stretch = stretch.strip()
    if _DATE.match(stretch):
        return None
    home = region.upper() if region else None
    digits = re.sub(r"[^\d+]", "", stretch)
    code = str(phonenumbers.country_code_for_region(home)) if home else "0"
    if code != "0" and digits.startswith(code):
        # "49151…", the plus sign lost on the way. Where number lengths vary this could also be a national
        # number without its trunk zero, but nobody says those.
        number = _acceptable("+" + digits, None, proven=True)
        if number is not None:
            return number
    number = None if _lacks_trunk_zero(digits, home) else _acceptable(stretch, home)
    if number is None and digits.startswith("00"):
        # "00" is what most of the world dials for "+", also when said where something else is dialled.
        number = _acceptable("+" + stretch[stretch.index("00") + 2 :], None)
    return number


def _lacks_trunk_zero(digits: str, region: str | None) -> bool:
    if digits.startswith(("0", "+")) or len(digits) >= _FEWEST_DIGITS_WITHOUT_TRUNK_ZERO or region is None:
        return False
    return phonenumbers.ndd_prefix_for_region(region, True) == "0"


def _acceptable(text: str, region: str | None, *, proven: bool = False) -> str | None:
    """E.164 when `text` is a number that counts (see the top of the module); `proven`: only when it is
    valid."""
    number = _parsed(text, region)
    if number is None:
        return None
    if number.country_code != _ITALY:
        # "+49 (0)151": the zero is for callers at home. In Italy it belongs to the number.
        number = _parsed(_TRUNK_ZERO.sub(" ", text), region) or number
    if not phonenumbers.is_valid_number(number) and (proven or not _is_possible(number)):
        return None
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    again = _parsed(e164)
    if again is None or phonenumbers.format_number(again, PhoneNumberFormat.E164) != e164:
        return None  # e.g. several trunk zeros: the customer would be looked up under two spellings
    return e164


def _is_possible(number: PhoneNumber) -> bool:
    international = number.country_code_source in (
        CountryCodeSource.FROM_NUMBER_WITH_PLUS_SIGN,
        CountryCodeSource.FROM_NUMBER_WITH_IDD,
    )
    return (
        international
        and len(phonenumbers.national_significant_number(number)) >= _FEWEST_UNPROVEN_DIGITS
        and phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    )


def _parsed(text: str, region: str | None = None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region, keep_raw_input=True)
    except NumberParseException:
        return None
