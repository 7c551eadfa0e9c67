"""What is said in German: all of it, whole, and with the times where they belong."""

from __future__ import annotations

import ast
import datetime as dt
import gettext
import re
import shutil
import subprocess
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation
from django.utils.translation import gettext as translate

from booking import sentences
from booking.spoken_times import spoken, spoken_day, spoken_list, spoken_time

CATALOGUE = Path(sentences.__file__).parent / "locale" / "de" / "LC_MESSAGES"
PO, MO = CATALOGUE / "django.po", CATALOGUE / "django.mo"
PLACEHOLDER = re.compile(r"%\(\w+\)s|%.")
ZONE = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 11, 21, 15, 0, tzinfo=ZONE)
TUESDAY = dt.datetime(2026, 12, 1, 10, 0, tzinfo=ZONE)


def read_po(path: Path) -> dict[str, str]:
    """msgid → msgstr. The catalogue uses neither contexts nor plurals."""
    messages: dict[str, str] = {}
    texts = {"msgid": "", "msgstr": ""}
    current = ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        word, _, rest = line.partition(" ")
        if word in texts:
            if word == "msgid" and current == "msgstr":
                assert texts["msgid"] not in messages, f"twice: {texts['msgid']}"
                messages[texts["msgid"]] = texts["msgstr"]
            current = word
            texts[word] = ast.literal_eval(rest)
        elif line.startswith('"'):
            texts[current] += ast.literal_eval(line)
        else:
            assert not line or line.startswith("#"), f"not understood: {line}"
    return messages


def spoken_sentences() -> list[str]:
    """Every text that booking/sentences.py hands to gettext."""
    tree = ast.parse(Path(sentences.__file__).read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
    ]
    return sorted({ast.literal_eval(call.args[0]) for call in calls})


SENTENCES = spoken_sentences()


def test_there_are_sentences_to_translate():
    assert len(SENTENCES) >= 30


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_sentence_is_said_in_german_with_the_same_placeholders(sentence):
    german = read_po(PO).get(sentence, "")
    assert german, f"not translated in {PO}"
    assert german != sentence
    assert sorted(PLACEHOLDER.findall(german)) == sorted(PLACEHOLDER.findall(sentence))
    with translation.override("de"):
        assert translate(sentence) == german


def test_the_catalogue_holds_nothing_that_is_no_longer_said():
    assert set(read_po(PO)) - {""} <= set(SENTENCES)


def test_the_compiled_catalogue_is_made_of_this_one():
    with MO.open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    catalogue = {key: value for key, value in vars(compiled)["_catalog"].items() if isinstance(key, str)}
    assert catalogue == read_po(PO), "run: msgfmt -o django.mo django.po"


def test_msgfmt_finds_nothing_wrong_with_it(tmp_path):
    msgfmt = shutil.which("msgfmt")
    if msgfmt is None:
        pytest.skip("msgfmt is not installed")
    done = subprocess.run(
        [msgfmt, "--check-format", "--check-domain", "-o", str(tmp_path / "django.mo"), str(PO)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "django.mo").read_bytes() == MO.read_bytes()


@pytest.mark.parametrize("sentence", [sentence for sentence in SENTENCES if sentence[-1] in ".?"])
def test_every_german_sentence_can_be_spoken(sentence):
    german = read_po(PO)[sentence]
    assert german[0].isupper() or german.startswith("%(")
    assert german[-1] == sentence[-1]
    assert "  " not in german
    assert not re.search(r"\b(du|dich|dir|dein\w*)\b", german), "callers are addressed with Sie"
    for unspeakable in ('"', "/", "(s)", "z.B.", "z. B.", "etc.", "bzw.", "...", "…", "!"):
        assert unspeakable not in german.replace(")s", "")


def german(sentence: str, **words: str) -> str:
    with translation.override("de"):
        return translate(sentence) % words


def when(instant: dt.datetime) -> str:
    return spoken(instant, zone=ZONE, language="de", now=NOW)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            lambda: german(
                "Your appointment is booked: %(service)s, %(when)s.",
                service="Haarschnitt",
                when=when(TUESDAY),
            ),
            "Ihr Termin ist gebucht: Haarschnitt, Dienstag, den 1. Dezember, um 10 Uhr.",
        ),
        (
            lambda: german(
                "You already have this appointment: %(service)s, %(when)s.",
                service="Färben",
                when=when(NOW + dt.timedelta(hours=1, minutes=30)),
            ),
            "Diesen Termin haben Sie bereits: Färben, heute um 16 Uhr 30.",
        ),
        (
            lambda: german(
                "That time is not free. I could offer %(choice)s.",
                choice=german(
                    "%(day)s at %(times)s",
                    day=spoken_day(TUESDAY.date(), zone=ZONE, language="de", now=NOW),
                    times=spoken_list(
                        [
                            spoken_time(TUESDAY + dt.timedelta(minutes=30 * number), zone=ZONE, language="de")
                            for number in range(3)
                        ],
                        "de",
                    ),
                ),
            ),
            "Diese Zeit ist leider nicht frei. "
            "Ich könnte Ihnen Dienstag, den 1. Dezember um 10 Uhr, 10 Uhr 30 oder 11 Uhr anbieten.",
        ),
        (
            lambda: german(
                "That is too soon. The first possible time is %(when)s.",
                when=when(NOW + dt.timedelta(days=1)),
            ),
            "Das ist leider zu kurzfristig. Am frühesten ginge es morgen um 15 Uhr.",
        ),
        (
            lambda: german(
                "You can book %(services)s with us.",
                services=spoken_list(["Haarschnitt", "Färben", "Bart"], "de"),
            ),
            "Sie können bei uns Haarschnitt, Färben oder Bart buchen.",
        ),
    ],
)
def test_sentences_read_well_with_the_times_as_they_are_spoken(said, expected):
    assert said() == expected
