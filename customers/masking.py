"""What of a text or a value may be shown to whoever runs the system, in a log line or a failure's message.

Phone numbers keep their last two digits; e-mail addresses, keys and tokens go. Identifiers a person needs to
follow a case (UUIDs, database ids, Cal.com uids, timestamps) stay readable. Names cannot be told from other
words, so fields that hold one are masked by their own name, and in a text what the person said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

# One pass over the text. The first group matches what looks like a phone number and is none, and is put back
# as it was; the order of the alternatives therefore matters. It may begin at every character, and strangers
# choose the text (an address that is asked for is logged): so nothing in it reads on without a bound (64
# characters are the longest local part of RFC 5321) only to go back.
_SENSITIVE = re.compile(
    r"""
    (?P<keep>
        (?<![0-9A-Za-z]) [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12} (?![0-9A-Za-z])        # UUID
      | (?<!\d) \d{4}-\d{2}-\d{2}
        (?: [T ] \d{2}:\d{2} (?: :\d{2} (?: [.,]\d+ )? )? (?: Z | [+-]\d{2}:?\d{2} )? )? (?!\d)  # ISO 8601
    )
  # What PostgreSQL adds to an error repeats the row, value by value.
  | (?P<row> (?: (?<=DETAIL:\ \ ) | (?<=CONTEXT:\ \ COPY\ ) ) [^\n]+ (?: \n [^\n]+ )* )
  | (?P<credentials> (?<=://) [^\s/@:]*+ : [^\s/@]++ (?=@) )
  | (?P<email> [\w.+\-] [\w.+\-'&]{0,63}+ (?:@|%40) [\w\-]++ (?: \.[\w\-]++ )+ )
  | (?P<bearer> \b [Bb][Ee][Aa][Rr][Ee][Rr] \s+ [A-Za-z0-9._~+/=\-]+ )
  | (?P<key> (?<![A-Za-z0-9]) (?: cal | key | whsec ) _ [A-Za-z0-9_\-]{8,} )
  | (?P<phone>
        # +49 30 1234567, 0049 30 12345 and 030 1234567, also with the hyphens that language models write
        (?<!\d) (?: \+ | %2[Bb] ) \s? [1-9] (?: [\s().\-\u2010-\u2015\u2212/]{0,3} \d ){6,14} (?!\d)
      | (?<![\w.:+\-]) 00 [1-9] (?: [\s().\-\u2010-\u2015\u2212/]{0,3} \d ){6,13} (?![\w:])
      | (?<![\w.:+\-]) \(? 0 [1-9] \d{1,4} \)? (?: [\s.\-\u2010-\u2015\u2212/]{0,3} \d ){5,11} (?![\w:])
    )
    """,
    re.VERBOSE,
)

# Without any of these there is nothing for the pattern above to find, and most texts have none of them.
_HINT = re.compile(
    r"DETAIL: |CONTEXT: |@|%40|[Bb][Ee][Aa][Rr][Ee][Rr]|cal_|key_|whsec_"
    r"|\d(?:[\s().\-\u2010-\u2015\u2212/]{0,4}\d){5}"
)

_PHONE_FIELDS = frozenset(
    {"phone", "phone_number", "customer_phone", "caller", "from_number", "to_number", "number", "to", "from"}
)
_SECRET_FIELDS = frozenset(
    {
        "api_key", "authorization", "cookie", "password", "secret", "signature", "token", "webhook_secret",
        "calcom_api_key", "retell_api_key", "secret_key", "onetimepassword", "csrfmiddlewaretoken",
    }
)  # fmt: skip
_PERSON_FIELDS = frozenset(
    {"name_of_caller", "customer_name", "caller_name", "attendee_name", "attendee", "email", "customer_email"}
    # Where people's names end up when somebody searches; as an error reporter calls them.
    | {"query_string", "http.query", "referer"}
)
MASK = "***"


def _last_two_digits(value: str) -> str:
    digits = re.sub(r"\D", "", value)
    return MASK + digits[-2:]


def _replacement(match: re.Match[str]) -> str:
    kind = match.lastgroup
    found = match.group()
    if kind == "keep":
        return found
    if kind == "phone":
        # The last two digits only: they tell two callers apart on the same screen and identify neither.
        return _last_two_digits(found)
    if kind == "key":
        return found[: found.index("_") + 1] + MASK
    if kind == "bearer":
        return f"Bearer {MASK}"
    if kind == "email":
        return "[email]"
    return MASK


def mask_text(text: str) -> str:
    """`text` with phone numbers, e-mail addresses, API keys, bearer tokens and URL credentials masked."""
    if len(text) < 6 or _HINT.search(text) is None:
        return text
    return _SENSITIVE.sub(_replacement, text)


def mask_words(text: str, *words: str) -> str:
    """`text` with each of the words masked, in upper or lower case, wherever it is not part of another."""
    for word in filter(None, words):
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", MASK, text, flags=re.IGNORECASE)
    return text


def mask_value(value: Any, *, field: str = "") -> Any:
    """A copy of `value` fit for a log: containers are walked, objects we do not know are shown masked."""
    name = field.lower()
    if name in _SECRET_FIELDS and value:
        return MASK
    if name in _PERSON_FIELDS and isinstance(value, str) and value:
        return MASK
    if isinstance(value, str):
        if name in _PHONE_FIELDS:
            digits = sum(character.isdigit() for character in value)
            if digits >= 5 and not any(character.isalpha() for character in value):
                return _last_two_digits(value)
        return mask_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return _last_two_digits(str(value)) if name in _PHONE_FIELDS and value >= 10_000 else value
    if isinstance(value, Mapping):
        return {
            mask_text(key) if isinstance(key, str) else mask_text(repr(key)): mask_value(
                member, field=key if isinstance(key, str) else ""
            )
            for key, member in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(member, field=field) for member in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return mask_text(bytes(value).decode("utf-8", errors="replace"))
    return mask_text(repr(value))
