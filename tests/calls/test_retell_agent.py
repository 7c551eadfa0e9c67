"""The ready-made agent says to Retell what Retell can read, and to the model what our door does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from retell.types import AgentResponse, LlmResponse, PhoneNumberResponse
from retell.types.agent_create_params import AgentCreateParams
from retell.types.agent_update_params import AgentUpdateParams
from retell.types.llm_create_params import LlmCreateParams
from retell.types.llm_update_params import LlmUpdateParams
from retell.types.phone_number_update_params import PhoneNumberUpdateParams

from booking.functions import FUNCTIONS
from booking.outcomes import Code
from booking.schema import ARGUMENTS
from calls.retell.agent import documents, tools
from calls.retell.agent.compare import Difference, body, differences
from calls.retell.agent.documents import TEXTS, Setup
from calls.retell.dynamic_variables import NOBODY

# An agent of the former system calls the same function by another name; a new one has no use for it.
OLD_NAMES = {"collect_appointment_data"}
# Filled by Retell itself. The zone is part of the name: without it they are in that of Los Angeles.
SYSTEM_VARIABLES = {"current_time_Europe/Berlin", "current_calendar_Europe/Berlin"}
STAMP = {"last_modification_timestamp": 1795255200000}


def setup(language: str = "de", **values: Any) -> Setup:
    return Setup(
        **{
            "business": "Salon Mitte",
            "language": language,
            "locale": {"de": "de-DE", "en": "en-GB"}[language],
            "timezone": "Europe/Berlin",
            "hooks_url": "https://slots.example.org/hooks/5b0c1b5e-0000-4000-8000-000000000001",
            "answer_budget_seconds": 8.0,
            "marker": "5b0c1b5e/mitte",
            **values,
        }
    )


both_languages = pytest.mark.parametrize("language", sorted(TEXTS))


def custom_tools(language: str = "de", **values: Any) -> dict[str, dict[str, Any]]:
    return {
        tool["name"]: tool
        for tool in documents.llm(setup(language, **values))["general_tools"]
        if tool["type"] == "custom"
    }


def unknown_fields(model: object, path: str = "") -> list[str]:
    """What was sent and no field of the vendor's model holds: a slip of the pen would be ignored there."""
    if isinstance(model, BaseModel):
        found = [f"{path}.{name}" for name in model.model_extra or ()]
        # The schema of a tool's own arguments is free.
        named = ((name, getattr(model, name)) for name in type(model).model_fields if name != "properties")
        return found + [field for name, value in named for field in unknown_fields(value, f"{path}.{name}")]
    if isinstance(model, list):
        return [
            field for number, item in enumerate(model) for field in unknown_fields(item, f"{path}[{number}]")
        ]
    return []


def accept(parameters: Any, document: dict[str, Any]) -> None:
    """Unknown fields pass here; `unknown_fields` finds them."""
    TypeAdapter(parameters).validate_python(document)


@both_languages
def test_the_response_engine_is_one_that_retell_reads_to_the_last_field(language: str) -> None:
    document = documents.llm(setup(language))
    accept(LlmCreateParams, document)
    accept(LlmUpdateParams, document)
    read = LlmResponse.model_validate({**document, **STAMP, "llm_id": "llm_1"})
    assert unknown_fields(read) == []
    assert [tool.type for tool in read.general_tools or []] == ["custom"] * len(tools.TOOLS) + ["end_call"]


@both_languages
def test_the_agent_is_one_that_retell_reads_to_the_last_field(language: str) -> None:
    document = documents.agent(setup(language), llm_id="llm_1")
    accept(AgentCreateParams, document)
    accept(AgentUpdateParams, document)
    read = AgentResponse.model_validate({**document, **STAMP, "agent_id": "agent_1", "version": 0})
    assert unknown_fields(read) == []
    assert read.timezone == "Europe/Berlin"  # Retell's own default is Los Angeles
    assert read.webhook_url == f"{setup().hooks_url}/retell/events"


def test_the_phone_number_is_connected_in_words_that_retell_reads() -> None:
    document = documents.phone_number(setup(), agent_id="agent_1")
    accept(PhoneNumberUpdateParams, document)
    number = {"phone_number": "+493012345678", "phone_number_type": "custom", **STAMP}
    assert unknown_fields(PhoneNumberResponse.model_validate({**number, **document})) == []
    assert sum(agent["weight"] for agent in document["inbound_agents"]) == 1


@both_languages
def test_the_import_file_holds_the_agent_and_its_engine(language: str) -> None:
    content = json.loads(json.dumps(documents.import_file(setup(language))))
    engine = content.pop("retellLlmData")
    read = AgentResponse.model_validate({**content, **STAMP})
    assert unknown_fields(read) == [".channel"]  # the API tells it in lists only
    assert unknown_fields(LlmResponse.model_validate({**engine, **STAMP})) == []
    assert engine["general_tools"] == documents.llm(setup(language))["general_tools"]


def test_the_check_of_fields_notices_one_that_retell_does_not_know() -> None:
    document = documents.llm(setup())
    document["general_tools"][0]["timeout_seconds"] = 8
    read = LlmResponse.model_validate({**document, **STAMP, "llm_id": "llm_1"})
    assert unknown_fields(read) == [".general_tools[0].timeout_seconds"]


def test_every_function_of_ours_is_a_tool_and_every_tool_is_a_function() -> None:
    assert set(custom_tools()) == set(FUNCTIONS) - OLD_NAMES == set(ARGUMENTS) - OLD_NAMES


@both_languages
@pytest.mark.parametrize("name", [tool.name for tool in tools.TOOLS])
def test_a_tool_names_exactly_the_arguments_that_our_door_accepts(name: str, language: str) -> None:
    accepted = set(ARGUMENTS[name]().get_fields())
    schema = custom_tools(language)[name]["parameters"]
    assert set(schema["properties"]) == accepted
    assert set(schema["required"]) <= accepted
    assert schema["type"] == "object"
    assert all(field["type"] == "string" and field["description"] for field in schema["properties"].values())


@both_languages
@pytest.mark.parametrize("budget", [0.5, 8.0, 12.25])
def test_our_answer_comes_before_retell_gives_up_and_is_asked_for_once(language: str, budget: float) -> None:
    for tool in custom_tools(language, answer_budget_seconds=budget).values():
        assert budget * 1000 + 1000 <= tool["timeout_ms"] <= budget * 1000 + 3000
        assert tool["timeout_ms"] >= 1000  # Retell's least
        assert tool["max_retry"] == 0


@both_languages
def test_tools_point_at_our_door_and_send_what_names_the_call(language: str) -> None:
    for name, tool in custom_tools(language).items():
        assert tool["url"] == f"{setup().hooks_url}/retell/functions/{name}"
        assert tool["method"] == "POST"
        assert tool["args_at_root"] is False


@both_languages
def test_nobody_waits_in_silence_for_a_calendar(language: str) -> None:
    slow = {"check_availability", "book_appointment", "reschedule_appointment", "cancel_appointment"}
    for name, tool in custom_tools(language).items():
        assert tool["speak_after_execution"] is True
        assert tool["speak_during_execution"] is (name in slow)
        if name in slow:
            # A text of the model's own would come along as an argument, other each time.
            assert tool["execution_message_type"] == "static_text"
            assert tool["execution_message_description"]


@both_languages
@pytest.mark.parametrize("code", list(Code))
def test_the_prompt_deals_with_every_code_our_door_can_answer(code: Code, language: str) -> None:
    entries = re.findall(r"^- `(\w+)`: (.{20,})$", documents.prompt(setup(language)), re.MULTILINE)
    assert [name for name, _ in entries].count(str(code)) == 1


def what_is_said_of(code: str, language: str) -> str:
    _, entry = documents.prompt(setup(language)).split(f"\n- `{code}`:")
    return " ".join(entry.split("\n- `")[0].split())


@both_languages
def test_the_prompt_deals_with_no_code_that_does_not_exist(language: str) -> None:
    entries = re.findall(r"^- `(\w+)`:", documents.prompt(setup(language)), re.MULTILINE)
    assert set(entries) == set(map(str, Code))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            (
                "call book_appointment again with the same arguments",
                "Nothing is done twice",
                "nor that it failed",
            ),
        ),
        (
            "de",
            (
                "wieder book_appointment mit denselben Argumenten",
                "Doppelt geschieht",
                "dass es nicht geklappt",
            ),
        ),
    ],
)
def test_a_booking_in_the_balance_is_asked_for_again_and_neither_promised_nor_denied(
    language: str, words: tuple[str, ...]
) -> None:
    entry = what_is_said_of("checking", language)
    assert all(word in entry for word in words), entry


@pytest.mark.parametrize(
    ("code", "german", "english"),
    [
        (
            "already_booked",
            "noch bestätigt werden muss, wenn `say` es",
            "has to be confirmed, if `say` says so",
        ),
        ("callback_noted", "nur, wenn `say` einen verspricht", "only if `say` promises one"),
        ("too_soon", "oder zu weit im Voraus", "or too far ahead"),
        ("unavailable", "sagt nur `say`", "only `say` knows"),
    ],
)
def test_of_a_code_with_several_sentences_the_prompt_says_what_holds_for_all(code, german, english):
    assert german in what_is_said_of(code, "de")
    assert english in what_is_said_of(code, "en")


@both_languages
def test_the_prompt_calls_only_functions_and_arguments_that_exist(language: str) -> None:
    known = set(custom_tools(language)) | {"end_call"}
    arguments = {
        name for tool in custom_tools(language).values() for name in tool["parameters"]["properties"]
    }
    answers = {"alternatives", "services", "appointments", "slots", "spoken", "say", "code", "id"}
    prompt = documents.prompt(setup(language))
    functions = r"\b[a-z]+_(?:appointments?|availability|services|callback|call)\b"
    assert set(re.findall(functions, prompt)) == known | {"next_appointment"}  # the last is a variable
    assert set(re.findall(r"`(\w+)`", prompt)) <= arguments | answers | set(map(str, Code))


@both_languages
def test_no_variable_is_read_out_by_its_name(language: str) -> None:
    engine = documents.llm(setup(language))
    used = set(re.findall(r"\{\{(.+?)\}\}", engine["general_prompt"] + engine["begin_message"]))
    assert used >= SYSTEM_VARIABLES
    assert used - SYSTEM_VARIABLES <= set(engine["default_dynamic_variables"])
    assert "$" not in engine["general_prompt"] + engine["begin_message"]


@both_languages
def test_a_caller_nobody_told_about_is_the_same_nobody_as_at_our_door(language: str) -> None:
    defaults = documents.llm(setup(language))["default_dynamic_variables"]
    assert defaults == {**NOBODY, documents.MARKER_VARIABLE: "5b0c1b5e/mitte"}


def test_both_languages_say_the_same_things() -> None:
    def shape(language: str) -> Any:
        texts = TEXTS[language]
        words = {name: (set(tool.arguments), bool(tool.while_waiting)) for name, tool in texts.tools.items()}
        return words, set(texts.analysis)

    assert shape("de") == shape("en")
    assert set(TEXTS["de"].analysis) == {name for _, name, _ in documents.ANALYSIS_FIELDS}
    german, english = (documents.prompt(setup(language)) for language in ("de", "en"))
    assert german.count("\n# ") == english.count("\n# ")


def test_what_retell_and_people_added_is_no_difference_and_is_kept() -> None:
    wanted = documents.llm(setup())
    transfer = {"type": "transfer_call", "name": "to_the_boss", "headers": {"X-Key": "theirs"}}
    current = json.loads(json.dumps(wanted))
    current["general_tools"] = [
        transfer,
        *({**tool, "enable_typing_sound": True} for tool in current["general_tools"]),
    ]
    current["default_dynamic_variables"]["parking"] = "behind the house"
    assert differences(wanted, current) == []

    current["general_tools"][1]["timeout_ms"] = 120_000
    found = differences(wanted, current)
    assert found == [Difference("general_tools.list_services.timeout_ms", 120_000, 10_000)]
    sent = body(wanted, current, found)
    assert set(sent) == {"general_tools"}
    assert transfer in sent["general_tools"]
    assert {tool["name"]: tool for tool in sent["general_tools"]}["list_services"][
        "enable_typing_sound"
    ] is True
    assert differences(wanted, {**current, **sent}) == []


def test_a_voice_chosen_later_stays() -> None:
    wanted = documents.agent(setup(), llm_id="llm_1")
    current = {**wanted, "voice_id": "cartesia-Lena", "language": "en-US"}
    found = differences(wanted, current, set_once=documents.SET_ONCE)
    assert [difference.path for difference in found] == ["language"]
    assert [difference.path for difference in differences(wanted, {}, set_once=documents.SET_ONCE)] == list(
        wanted
    )


def test_a_key_in_somebody_elses_address_is_not_shown() -> None:
    wanted = {"webhook_url": "https://slots.example.org/hooks/1/retell/events"}
    current = {"webhook_url": "https://ops:pass-word@crm.example.org/in?token=very-secret"}
    (difference,) = differences(wanted, current)
    assert difference.before == "https://crm.example.org/in?…"
