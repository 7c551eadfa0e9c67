"""What the phone agent may send, and how forgiving we are about it.

A language model fills these fields: it sends null, numbers for texts, "unknown", or the literal
`{{user_number}}` of a variable that was never set. A placeholder counts as absent. What is missing or
contradicts itself is asked for again in words; nothing here raises.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.functional import cached_property
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import BindingDict

from booking.instants import InvalidInstant, parse_date, parse_day, parse_instant, read_part_of_day
from booking.slot_ids import InvalidSlotId
from booking.slot_ids import read as read_slot_id
from calls import call_record
from customers import phone_numbers
from customers.placeholders import clean_text, is_placeholder, is_placeholder_name

LONGEST_NAME = 200
LONGEST_NOTES = 1000
LONGEST_REASON = 500
A_WEEK = timedelta(days=7)

PERSON = "Whom the caller asks for by name. Nobody else is put in their place."


_SAID_NO = frozenset(
    {"no", "nope", "no thanks", "no thank you", "no, thank you", "nein", "nein danke", "nein, danke"}
)


class SpokenField(serializers.Field):
    """A text out of a language model. Blank when nothing was said."""

    default_error_messages = {"too_long": "too long"}

    def __init__(self, *, limit: int = 200, **kwargs: Any) -> None:
        self.limit = limit
        super().__init__(default="", **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if data is serializers.empty or data is None or is_placeholder(data):
            return True, ""
        return False, data

    def to_internal_value(self, data: Any) -> Any:
        text = clean_text(data, limit=self.limit + 1)
        if len(text) > self.limit:
            self.fail("too_long")
        return text


class NotedField(SpokenField):
    """A text that is only written down: what is too long is cut."""

    def to_internal_value(self, data: Any) -> Any:
        return clean_text(data, limit=self.limit)


class InstantField(SpokenField):
    """An instant; without an offset it is local to the branch. See `booking.instants` for the spellings."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            instant = parse_instant(data, zone=self.context["zone"], now=self.context["now"])
            # Nobody means anything smaller, and nobody is told of it.
            return instant.replace(second=0, microsecond=0)
        except InvalidInstant as error:
            raise serializers.ValidationError(str(error.reason)) from None


class DayField(SpokenField):
    read = staticmethod(parse_date)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return self.read(data, zone=self.context["zone"], now=self.context["now"])
        except InvalidInstant as error:
            raise serializers.ValidationError(str(error.reason)) from None


# As a time of day that was written, in whatever zone; not as an offset.
_WHOLE_DAY = re.compile(r"(?<![\d:+\-])(?:00:00(?::00(?:\.0+)?)?|23:59(?::59(?:\.\d+)?)?)(?![\d:])")


class PeriodBoundField(DayField):
    """A day, or an instant where a time of day is said. Midnight, or the minute before it, is what a model
    adds when it means a day.
    """

    def to_internal_value(self, data: Any) -> Any:
        zone = self.context["zone"]
        day = super().to_internal_value(data)
        try:
            instant = parse_instant(data, zone=zone, now=self.context["now"])
        except InvalidInstant:
            return day
        return day if _WHOLE_DAY.search(str(data)) else instant


class PartOfDayField(SpokenField):
    def to_internal_value(self, data: Any) -> Any:
        # A filter that was not understood must not make a free day look full.
        return read_part_of_day(data) or ""


class SlotIdField(SpokenField):
    """An id that `check_availability` or an alternative gave out."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return read_slot_id(str(data), company_id=self.context["company_id"], now=self.context["now"])
        except InvalidSlotId as error:
            raise serializers.ValidationError("expired" if error.expired else "invalid") from None


class PersonNameField(SpokenField):
    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if isinstance(data, str) and is_placeholder_name(data):
            return True, ""
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        name = super().to_internal_value(data)
        # A number (12345) becomes a text only by cleaning, and a list or an object nothing at all.
        return "" if is_placeholder_name(name) else name


class PhoneField(SpokenField):
    """Any local spelling; becomes E.164. A withheld number counts as absent, and so do "the same number" and
    the one that was called: a model that fills in the wrong variable would make one customer of all its
    callers.
    """

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if isinstance(data, str) and (
            phone_numbers.is_withheld(data) or phone_numbers.means_the_callers(data)
        ):
            return True, ""
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        call, region = self.context["call"], self.context["region"]
        number = call_record.callers_own(call, str(data), region=region)
        number = number or phone_numbers.normalise(str(data), region=region)
        if number is None:
            raise serializers.ValidationError("unreadable")
        return "" if call_record.is_ours(call, number) else number


class EmailAddressField(SpokenField):
    """Becomes lower case. Whoever was asked for one and said no has none."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        if isinstance(data, str) and data.strip(" .,!").casefold() in _SAID_NO:
            return True, ""
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        address = super().to_internal_value(data).lower()
        try:
            validate_email(address)
        except ValidationError:
            raise serializers.ValidationError("unreadable") from None
        return address


class ArgumentsSerializer(serializers.Serializer):
    """Makes its fields once in each thread: that takes longer than to read a request with them."""

    _made = threading.local()

    @cached_property
    def fields(self) -> BindingDict:
        made: dict[Any, BindingDict] = vars(self._made)
        if type(self) not in made:
            made[type(self)] = super().fields
        for field in made[type(self)].values():
            field.parent = self  # whose context tells it the zone and the present
        return made[type(self)]


class ListServicesSerializer(ArgumentsSerializer):
    service = SpokenField(help_text="Slug, name or alias: only this one, with everybody who does it.")
    person = SpokenField(help_text="Only what this person does.")


class CheckAvailabilitySerializer(ArgumentsSerializer):
    service = SpokenField(help_text="Slug, name or alias. May be left out where there is only one.")
    person = SpokenField(help_text=PERSON)
    date = DayField(help_text="ISO date, or a day as it was said.")
    part_of_day = PartOfDayField(help_text="morning, noon, afternoon or evening.")

    def get_fields(self) -> dict[str, Any]:
        # `from` cannot be the name of an attribute.
        return {**super().get_fields(), "from": PeriodBoundField(), "to": PeriodBoundField()}

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """From Monday to Friday, said on a Wednesday, means the Friday after that Monday."""
        first, last = asked["from"], asked["to"]
        if type(first) is type(last) is date and last < first:
            zone = self.context["zone"]
            with suppress(InvalidInstant):
                seen_from = datetime.combine(first, time(12), tzinfo=zone)
                later = parse_date(self.initial_data["to"], zone=zone, now=seen_from)
                if first < later < first + A_WEEK:
                    asked["to"] = later
        return asked


class BookAppointmentSerializer(ArgumentsSerializer):
    service = SpokenField(help_text="Slug, name or alias.")
    person = SpokenField(help_text=PERSON)
    start = InstantField(help_text="ISO 8601; without an offset it is local to the branch.")
    slot_id = SlotIdField(help_text="Instead of start: the id of an offered slot.")
    customer_name = PersonNameField(limit=LONGEST_NAME)
    customer_phone = PhoneField(help_text="Defaults to the caller's number.")
    customer_email = EmailAddressField(limit=254)
    notes = SpokenField(limit=LONGEST_NOTES)


class MeantField(SpokenField):
    """What an appointment is found by: said and not understood is something else than not said."""

    default_error_messages = {"unreadable": "unreadable"}

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, "") if data in ([], {}) else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        if not text:
            self.fail("unreadable")
        return text


class MeantDayField(DayField):
    """The day of an appointment, which may be in another zone than the branch that was rung."""

    read = staticmethod(parse_day)


class NumberField(MeantField):
    """The number of an appointment, or its uid: models send 12, "12" and "#12"."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data).lstrip("#").strip()


class ListAppointmentsSerializer(ArgumentsSerializer):
    pass


class _WhichAppointmentSerializer(ArgumentsSerializer):
    """What is said under another name is not left unheard: then the only appointment would be meant, which it
    may not be. Models repeat the names they know from our answers and from other functions.
    """

    also_called: ClassVar[dict[str, str]] = {
        "id": "appointment",
        "appointment_id": "appointment",
        "calcom_booking_uid": "appointment",
    }

    appointment = NumberField(limit=128, help_text="The id of one of the caller's appointments.")
    service = MeantField(help_text="Instead of an id: slug, name or alias of what is booked.")
    day = MeantDayField(help_text="Instead of an id: the day on which it is.")

    def to_internal_value(self, data: Any) -> Any:
        said = {name for name, value in data.items() if not is_placeholder(value) and value not in ([], {})}
        others = {
            known: data[name]
            for name, known in self.also_called.items()
            if name in said and known not in said
        }
        return super().to_internal_value({**data, **others})


class RescheduleAppointmentSerializer(_WhichAppointmentSerializer):
    new_start = InstantField(
        help_text="ISO 8601; without an offset it is local to the branch of the appointment."
    )
    slot_id = SlotIdField(help_text="Instead of new_start: the id of an offered slot.")


class CancelAppointmentSerializer(_WhichAppointmentSerializer):
    # Of a move it would not be clear which of the two days it is.
    also_called: ClassVar[dict[str, str]] = {
        **_WhichAppointmentSerializer.also_called,
        "date": "day",
        "start": "day",
    }

    reason = NotedField(limit=LONGEST_REASON, help_text="Why, in the caller's words.")


class RequestCallbackSerializer(ArgumentsSerializer):
    reason = NotedField(limit=LONGEST_REASON, help_text="What it is about.")
    preferred_time = NotedField(help_text="When the caller would like to be called, in their words.")
    phone = PhoneField(help_text="Where the number is withheld, or another one is to be called.")
