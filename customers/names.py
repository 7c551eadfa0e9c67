"""Whether two names, as heard on a telephone, can belong to one person.

Two people of one family call from one number: merging them loses an appointment, and taking one person for
two books twice. So the rule forgives what transcription does to a name (spelling, umlauts, a missing first or
last name, a family name heard a little wrong) and insists on what tells family members apart: Herr and Frau,
and given names. One letter makes another person of a given name (Julia and Julian, Emil and Emily), so given
names are never merely alike: they sound the same, or they are two.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from customers.placeholders import clean_text, is_placeholder_name

_MASCULINE = frozenset({"herr", "herrn", "hr", "mr", "mister", "sir"})
_FEMININE = frozenset({"frau", "fr", "fräulein", "mrs", "ms", "miss", "madam", "madame"})
_TITLES = (
    _MASCULINE
    | _FEMININE
    | {"dr", "doktor", "doctor", "prof", "professor", "professorin", "med", "dipl", "mag"}
)
# What comes after the name where a son is called like his father. "V." is left out: it is an initial.
_GENERATIONS = {
    **dict.fromkeys(("sr", "sen", "senior"), "senior"),
    **dict.fromkeys(("jr", "jun", "junior"), "junior"),
    **dict.fromkeys(("ii", "2nd", "second"), "second"),
    **dict.fromkeys(("iii", "3rd", "third"), "third"),
    **dict.fromkeys(("iv", "4th", "fourth"), "fourth"),
}

# Given names of one sound which `_SOUNDS` keeps apart. Everyone in a row is the same name to a transcriber.
_VARIANTS = (
    ("sara", "sarah"), ("hanna", "hannah"), ("lea", "leah"), ("debora", "deborah"), ("jon", "john"),
    ("jannik", "yannik"), ("jannis", "yannis"), ("jasmin", "yasmin", "jasmine"), ("maja", "maya"),
    ("jusuf", "yusuf", "youssef"), ("maik", "mike"), ("luis", "louis"), ("luisa", "louisa"),
    ("luise", "louise"), ("isabel", "isabelle"), ("nikolas", "nicholas"), ("elisabeth", "elizabeth"),
    ("susanne", "suzanne"), ("anne", "ann"), ("steven", "stephen"), ("alexander", "aleksander"),
    ("sven", "swen"), ("detlef", "detlev"), ("gerd", "gert"), ("bernd", "bernt"),
    ("mohammed", "mohammad", "muhammed", "muhammad"), ("ahmed", "achmed", "ahmet"),
)  # fmt: skip
_PARTICLES = frozenset({"von", "van", "vom", "zu", "zum", "zur", "der", "den", "de", "del", "della", "di"})

# Below this many letters one wrong letter is another family name (Lang, Lanz), above it is a slip of the ear.
_SHORTEST_FUZZY = 4
_ALIKE = 0.8
_LONGEST_NAME = 200
_MOST_WORDS = 8

# Typed, transcribed or pasted, all of them one; taken out, "O'Brien" is "OBrien".
APOSTROPHES = dict.fromkeys(map(ord, "'’‘`´ʼ"), None)
_LETTERS = str.maketrans({"ø": "o", "œ": "o", "æ": "a", "ł": "l", "đ": "d", "ð": "d", "þ": "t", "ı": "i"})
# Different spellings of one sound, in this order. Applied to both sides, so it only has to be consistent.
_SOUNDS = (
    ("chr", "kr"), ("ae", "a"), ("oe", "o"), ("ue", "u"), ("ph", "f"), ("th", "t"), ("dt", "t"), ("ck", "k"),
    ("tz", "z"), ("c", "k"), ("y", "i"), ("ai", "ei"),
)  # fmt: skip
_DOUBLED = re.compile(r"(.)\1+")
_BETWEEN_NAMES = re.compile(r"[\s,]+")


@dataclass(frozen=True)
class _Name:
    words: tuple[str, ...]  # in speaking order, folded to their sound
    masculine: bool
    feminine: bool
    generation: str
    without_generation: tuple[str, ...]

    @property
    def has_title(self) -> bool:
        return self.masculine or self.feminine

    @property
    def in_one_spelling(self) -> list[str]:
        return [_ONE_SPELLING.get(word, word) for word in self.words]


def same_person(a: str | None, b: str | None) -> bool:
    """Can the names `a` and `b` be one person's? Symmetric. A blank or placeholder name contradicts nothing:
    True.

    The words of the shorter name must be found in the longer one, in order, each with the same sound ("Anna"
    and "Anna Müller", "Meier" and "Mayer", "A. Müller"); only family names may be merely alike ("Schulz" and
    "Eva Schulze"). "Müller, Anna" is read as "Anna Müller". A first name alone and a family name alone
    ("Anna", "Müller") share nothing and are two persons.
    """
    if is_placeholder_name(a) or is_placeholder_name(b):
        return True
    names = [_read(a or ""), _read(b or "")]
    if all(name.generation for name in names):
        # Where only one has it, it was left out with the other, or is a name: Kim Jun, Pedro Junior.
        if names[0].generation != names[1].generation:
            return False
        names = [replace(name, words=name.without_generation) for name in names]
    # A fixed order: the likeness of two words depends on which is compared with which, the answer must not.
    first, second = sorted(names, key=lambda name: (len(name.words), name.words))
    if not first.words or not second.words:
        return not _sexes_contradict(first, second)
    if _sexes_contradict(first, second):
        return False
    one, other = first.in_one_spelling, second.in_one_spelling
    if "".join(one) == "".join(other):
        return True  # Anna-Lena and Annalena
    if len(one) == len(other) == 2 and sorted(one) == sorted(other):
        return True  # family name first, as on a form
    return _found_in_order(first, second)


def is_full_name(text: str) -> bool:
    """Does `text` hold at least a given and a family name, both written out?

    "Frau Müller", "A. Müller", "von Berg" and "Anna-Lena" are not full names, "Dr. Anna Müller" and
    "Müller, Anna" are.
    """
    if is_placeholder_name(text):
        return False
    written_out = 0
    for part in _BETWEEN_NAMES.split(clean_text(text, limit=_LONGEST_NAME)):
        name = "".join(word for word in _words(part) if word not in _TITLES and word not in _PARTICLES)
        written_out += sum(character.isalpha() for character in name) >= 2
    return written_out >= 2


def _read(text: str) -> _Name:
    text = clean_text(text, limit=_LONGEST_NAME)
    if text.count(",") == 1:
        family, _, given = text.partition(",")
        after = _words(given)
        is_title = len(after) == 1 and after[0] in (_TITLES | _GENERATIONS.keys())
        if not is_title:
            text = f"{given} {family}"
    words = _words(text)
    names = [word for word in words if word not in _TITLES]
    generation = next((word for word in names[1:] if word in _GENERATIONS), "")
    own = [word for place, word in enumerate(names) if place == 0 or word not in _GENERATIONS]
    return _Name(
        words=tuple(map(_sound, names[:_MOST_WORDS])),
        generation=_GENERATIONS.get(generation, ""),
        without_generation=tuple(map(_sound, own[:_MOST_WORDS])),
        masculine=any(word in _MASCULINE for word in words),
        feminine=any(word in _FEMININE for word in words),
    )


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFC", text.casefold()).translate(APOSTROPHES)
    # A mark belongs to its letter and ends no word: "İ" folds to "i" and a dot, and vowels may be marks.
    return "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded).split()


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
            last = i == len(short.words) - 1 and j == len(long.words) - 1
            # An only word is a family name after "Frau"; otherwise it may be a given name.
            family = last and (len(long.words) > 1 or (short.has_title and long.has_title))
            if _same_sound(word, long.words[j]) or (family and _alike(word, long.words[j])):
                start = j + 1
                break
        else:
            return False
    return True


def _same_sound(a: str, b: str) -> bool:
    if len(a) == 1 or len(b) == 1:
        return a[0] == b[0]  # an initial
    return _ONE_SPELLING.get(a, a) == _ONE_SPELLING.get(b, b)


def _alike(a: str, b: str) -> bool:
    if min(len(a), len(b)) < _SHORTEST_FUZZY:
        return False
    return SequenceMatcher(None, a, b).ratio() >= _ALIKE


_ONE_SPELLING = {_sound(spelling): _sound(variants[0]) for variants in _VARIANTS for spelling in variants}
