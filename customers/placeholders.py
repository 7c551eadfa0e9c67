"""What a language model sends when it has no value, and the cleaning of what it does send.

A voice agent fills function arguments even when the caller said nothing: it writes "None", "unknown", the
name of the argument, or hands an unresolved `{{variable}}` through. None of these may become somebody's name
or number.
"""

from __future__ import annotations

import re
import unicodedata

_NO_VALUE = frozenset(
    {
        "none", "null", "nil", "undefined", "nan", "n/a", "n.a", "n. a", "k.a", "k. a", "void", "empty",
        "leer", "missing", "fehlt", "unknown", "unbekannt", "not provided", "not specified", "not given",
        "not available", "not applicable", "not known", "not set", "unspecified", "tbd", "tba", "todo",
        "keine angabe", "keine angaben", "nicht angegeben", "nicht genannt", "nicht bekannt",
        "nicht vorhanden", "kein", "keine", "keiner", "kein name", "keine nummer", "keine telefonnummer",
        "keine e-mail", "no name", "no value", "no number", "no email", "no phone", "string", "str", "text",
        "value", "placeholder", "platzhalter", "name hier", "name here", "your name", "ihr name",
        "dein name", "vorname nachname", "first name last name", "firstname lastname", "full name",
        "first name", "last name", "vorname", "nachname", "telefonnummer", "phone number", "phone_number",
        "user_number", "from_number", "call_id", "slot_id", "kundenname", "kunden_name",
    }
)  # fmt: skip

# The name of an argument where its value should stand: customer_name, callerPhone, "your_email".
_ARGUMENT_NAME = re.compile(
    r"(?:customer|caller|user|client|patient|guest|attendee|contact|first|last|full|your|kunden?|anrufer)"
    r"[_ ]?(?:full_?)?(?:name|phone|phone_?number|number|email|e-mail|mail|address|nummer|telefon)"
)
# "No e-mail address", "name not provided": a sentence where a value should stand.
_WHAT = (
    r"(?:(?:full|first|last|customer|caller|patient|client|guest|user|contact)(?:'s)? )?"
    r"(?:name|number|(?:tele)?phone(?: number)?|(?:cell|mobile)(?: number)?|e-?mail(?: address)?|address"
    r"|information|info|details)"
)
_SAID = (
    r"(?:provided|given|stated|specified|mentioned|disclosed|supplied|shared|available|applicable|known|set"
    r"|collected|recorded)"
)
_WAS = (
    r"(?:(?:vor|nach|kunden)?name|(?:telefon|handy|mobil|ruf)?nummer|telefon|e-?mail(?:[ -]?adresse)?|mail"
    r"|adresse|angaben?)"
)
_GESAGT = r"(?:angegeben|genannt|mitgeteilt|hinterlegt|gesagt|bekannt|vorhanden|verfügbar)"
_NOTHING_SAID = re.compile(
    rf"(?:(?:the )?{_WHAT} )?(?:is |was )?(?:not(?: yet)?|none|nothing) {_SAID}"
    rf"|no {_WHAT}(?: (?:was )?{_SAID})?|(?:doesn't|does not|don't|do not) have (?:one|an? {_WHAT})"
    rf"|(?:{_WAS} )?(?:ist |wurde )?(?:noch )?nicht {_GESAGT}|keinen? {_WAS}(?: {_GESAGT})?"
)
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\$?\{[^{}]*\}|%[A-Za-z_]+%")
_THREE_DIGITS = re.compile(r"(?:\d\D*){3}")

_NOBODY = frozenset(
    {
        "kunde", "kundin", "der kunde", "die kundin", "neuer kunde", "neue kundin", "unbekannter kunde",
        "neukunde", "customer", "the customer", "new customer", "unknown customer", "client", "the client",
        "new client", "caller", "the caller", "unknown caller", "anonymous caller", "anrufer", "anruferin",
        "der anrufer", "die anruferin", "unbekannter anrufer", "anonymer anrufer", "patient", "patientin",
        "der patient", "die patientin", "the patient", "user", "the user", "guest", "the guest", "gast",
        "person", "name", "namen", "anonymous", "anonym", "private", "privat", "nobody", "no one",
        "niemand", "herr", "frau", "herr frau", "mr", "mrs", "ms", "miss", "sir", "madam", "walk-in",
        "assistant", "agent", "me", "myself", "self", "ich", "ich selbst",
    }
)  # fmt: skip
# Whoever it is, and is not named: a role, or what somebody is to the caller.
_SOMEBODY = re.compile(
    r"(?:(?:the|new|existing|returning|current|unknown|anonymous) )+"
    r"(?:customer|client|caller|patient|user|guest|visitor)|(?:the )?(?:customer|caller|patient)'s name"
    r"|(?:(?:der|die|neuer?|unbekannter?|anonymer?) )+(?:kund|patient|anrufer|neupatient)(?:e|in)?"
    r"|my (?:wife|husband|partner|son|daughter|child|kid|mother|mom|mum|father|dad|brother|sister|friend)"
    r"|meine? (?:frau|mann|partner(?:in)?|sohn|tochter|kind|mutter|vater|bruder|schwester|freund(?:in)?)"
)

# How much of a text is read. Composing accents takes a time that grows with the square of how many stand on
# one letter, and no other thread runs meanwhile: a stranger's text of 100 000 would keep everybody waiting.
_MOST_READ = 4000

# Characters around a value that carry no meaning: quotes a model left on, full stops a transcript added.
_WRAPPING = " \"'`´„“”‚‘’«»*_().,;:!?-–—/\\|#~=+…"


def is_placeholder(value: object) -> bool:
    """True when `value` is what a language model sends instead of a value.

    None and texts are judged; a number, a flag, a list or an object is never a placeholder (whether it is
    acceptable is for the reader of that argument to say). Names such as "Kunde" are left to
    `is_placeholder_name`.
    """
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    if "{{" in value or "}}" in value:
        return True
    text = _bare(value)
    if _BRACKETED.fullmatch(text):
        # "<anna@example.org>" and "[0151 2345678]" are values in brackets, "<name>" is not.
        return "@" not in text and _THREE_DIGITS.search(text) is None
    core = text.strip(_WRAPPING)
    if not core:
        # "+", "?", "-" and blank say nothing; a symbol that is none of these (an emoji) is left alone.
        return True
    if core == "na":
        # Na is also a family name, so only the abbreviation's own spelling counts.
        return "NA" in value
    if core in _NO_VALUE or _ARGUMENT_NAME.fullmatch(core):
        return True
    return _NOTHING_SAID.fullmatch(core.replace("’", "'")) is not None


def is_placeholder_name(value: object) -> bool:
    """True when `value` names nobody: a placeholder, a role ("Kunde", "caller"), or a text without any
    letter."""
    if is_placeholder(value) or not isinstance(value, str):
        return True
    core = _bare(value).strip(_WRAPPING)
    if core in _NOBODY or _SOMEBODY.fullmatch(core.replace("’", "'")):
        return True
    return not any(character.isalpha() for character in core)


def clean_text(value: object, *, limit: int) -> str:
    """`value` as one tidy line of at most `limit` characters that every database and JSON reader accepts.

    NFC; NUL, control characters, lone surrogates and invisible direction marks are dropped, and so is what
    comes after some thousand characters; white space is collapsed and stripped. Numbers become their text;
    None, flags, lists and objects become "". Cleaning twice changes nothing.
    """
    if isinstance(value, bool):
        return ""
    if isinstance(value, (int, float)):
        # repr of a float and of a small int cannot fail; an int of thousands of digits would.
        value = "" if isinstance(value, int) and value.bit_length() > 256 else str(value)
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable() and "  " not in value:
        # Most of what is said in German or English: nothing to drop, nothing to compose.
        tidy = value.strip(" ")
    else:
        tidy = _tidied(value)
    return tidy[: max(limit, 0)].rstrip()


def _tidied(value: str) -> str:
    value = value[:_MOST_READ]
    kept = "".join(" " if character.isspace() else character for character in value if _keeps(character))
    return " ".join(unicodedata.normalize("NFC", kept).split())


# Zero width space and joiner marks that only hide or reorder text. The zero width (non-)joiner stays: emoji
# and Persian names need it.
_INVISIBLE = frozenset("\u200b\u200e\u200f\u2060\ufeff\u061c") | {
    chr(code) for span in (range(0x202A, 0x202F), range(0x2066, 0x206A)) for code in span
}


def _keeps(character: str) -> bool:
    if character.isspace():
        return True
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in _INVISIBLE


def _bare(text: str) -> str:
    """For comparing only: compatibility forms folded, invisible characters gone, one space, lower case."""
    return clean_text(unicodedata.normalize("NFKC", text[:_MOST_READ]), limit=200).casefold()
