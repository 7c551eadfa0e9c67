"""Whether two names, as heard on a telephone, can belong to one person.

Two people of one family call from one number: merging them loses an appointment, and taking one person for
two books twice. So the rule forgives what transcription does to a name (spelling, umlauts, a missing first or
last name) and insists on what tells family members apart: given names, their masculine and feminine forms,
Herr and Frau.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import permutations

from customers.placeholders import clean_text, is_placeholder_name

_MASCULINE = frozenset({"herr", "herrn", "hr", "mr", "mister", "sir"})
_FEMININE = frozenset({"frau", "fr", "fräulein", "mrs", "ms", "miss", "madam", "madame"})
_TITLES = (
    _MASCULINE
    | _FEMININE
    | {"dr", "doktor", "doctor", "prof", "professor", "professorin", "med", "dipl", "mag"}
)

# Below this many letters one wrong letter is another name (Lea, Lena; Tim, Tom), above it is a slip of the
# ear.
_SHORTEST_FUZZY = 4
_ALIKE = 0.8
_LONGEST_NAME = 200
_MOST_WORDS = 8

_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = dict.fromkeys(map(ord, "'’‘`´ʼ"), None)
_LETTERS = str.maketrans({"ø": "o", "œ": "o", "æ": "a", "ł": "l", "đ": "d", "ð": "d", "þ": "t", "ı": "i"})
# Different spellings of one sound, in this order. Applied to both sides, so it only has to be consistent.
_SOUNDS = (
    ("ae", "a"), ("oe", "o"), ("ue", "u"), ("ph", "f"), ("th", "t"), ("dt", "t"), ("ck", "k"), ("tz", "z"),
    ("c", "k"), ("y", "i"), ("ai", "ei"),
)  # fmt: skip
_DOUBLED = re.compile(r"(.)\1+")


@dataclass(frozen=True)
class _Name:
    words: tuple[str, ...]  # in speaking order, folded to their sound
    masculine: bool
    feminine: bool

    def is_family_name(self, position: int) -> bool:
        """The last of several words; with "Frau Schulz" also an only word."""
        last = position == len(self.words) - 1
        return last and (len(self.words) > 1 or self.masculine or self.feminine)


def same_person(a: str | None, b: str | None) -> bool:
    """Can the names `a` and `b` be one person's? Symmetric. A blank or placeholder name contradicts nothing:
    True.

    The words of the shorter name must be found in the longer one, in order, each equal or nearly so ("Anna"
    and "Anna Müller", "Meier" and "Mayer", "A. Müller"). "Müller, Anna" is read as "Anna Müller". A first
    name alone and a family name alone ("Anna", "Müller") share nothing and are two persons.
    """
    if is_placeholder_name(a) or is_placeholder_name(b):
        return True
    # A fixed order: the likeness of two words depends on which is compared with which, the answer must not.
    first, second = sorted((_read(a or ""), _read(b or "")), key=lambda name: (len(name.words), name.words))
    if not first.words or not second.words:
        return not _sexes_contradict(first, second)
    if _sexes_contradict(first, second):
        return False
    if "".join(first.words) == "".join(second.words):
        return True  # Anna-Lena and Annalena
    if len(first.words) == len(second.words) == 2 and sorted(first.words) == sorted(second.words):
        return True  # family name first, as on a form
    return _found_in_order(first, second)


def _read(text: str) -> _Name:
    text = clean_text(text, limit=_LONGEST_NAME)
    if text.count(",") == 1:
        family, _, given = text.partition(",")
        if all(word not in _TITLES for word in _words(given)) or len(_words(given)) > 1:
            text = f"{given} {family}"
    words = _words(text)
    folded = tuple(_sound(word) for word in words if word not in _TITLES)[:_MOST_WORDS]
    return _Name(
        words=folded,
        masculine=any(word in _MASCULINE for word in words),
        feminine=any(word in _FEMININE for word in words),
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text.casefold()).translate(_APOSTROPHES))


def _sound(word: str) -> str:
    word = "".join(
        c for c in unicodedata.normalize("NFKD", word.translate(_LETTERS)) if not unicodedata.combining(c)
    )
    for spelling, sound in _SOUNDS:
        word = word.replace(spelling, sound)
    return _DOUBLED.sub(r"\1", word)


def _sexes_contradict(a: _Name, b: _Name) -> bool:
    told = a.masculine != a.feminine and b.masculine != b.feminine
    return told and a.masculine != b.masculine


def _found_in_order(short: _Name, long: _Name) -> bool:
    start = 0
    for i, word in enumerate(short.words):
        for j in range(start, len(long.words)):
            given = not short.is_family_name(i) and not long.is_family_name(j)
            if _alike(word, long.words[j], given=given):
                start = j + 1
                break
        else:
            return False
    return True


def _alike(a: str, b: str, *, given: bool) -> bool:
    if a == b:
        return True
    if len(a) == 1 or len(b) == 1:
        return a[0] == b[0]  # an initial
    if min(len(a), len(b)) < _SHORTEST_FUZZY:
        return False
    if given and any(_is_feminine_form(y, of=x) for x, y in permutations((a, b))):
        return False
    return SequenceMatcher(None, a, b).ratio() >= _ALIKE


def _is_feminine_form(word: str, *, of: str) -> bool:
    """Martin and Martina, Simon and Simone, Mario and Maria, Andreas and Andrea: one letter, two persons."""
    if word in (of + "a", of + "e") or of == word + "s":
        return True
    return word[:-1] == of[:-1] and word[-1] == "a" and of[-1] in "oei"
