from __future__ import annotations

from calls.retell.agent.texts import Texts, ToolTexts

_SERVICE = "The service, as list_services names it."
_PERSON = "The person the caller wishes for by name. Leave it out if they do not mind who."
_SLOT_ID = "The slot_id of the chosen slot, copied exactly from the last answer."
_START = "Only without a slot_id: date and time of the start, copied from a function's answer."
_APPOINTMENT = "The id of the appointment, from list_appointments."
_ITS_SERVICE = "The service of the appointment, if the id is not known."
_ITS_DAY = "The day of the appointment, YYYY-MM-DD, if the id is not known."

ENGLISH = Texts(
    language="en",
    greeting="$business, this is the AI assistant. How can I help you?",
    tools={
        "list_services": ToolTexts(
            description="What can be booked, how long it takes and with whom. Call it when you are not sure "
            "which service is meant.",
            arguments={
                "service": "Only to hear about one service: how long it takes, what it costs, who does it.",
                "person": "Only to hear what one person does, by name.",
            },
        ),
        "check_availability": ToolTexts(
            description="Free times of a service. Call it before you offer any time.",
            while_waiting="One moment, I am looking at the calendar.",
            arguments={
                "service": _SERVICE,
                "date": "The one day wished for, YYYY-MM-DD.",
                "from": "Instead of date: the first of several days, YYYY-MM-DD.",
                "to": "With from: the last of the days, YYYY-MM-DD.",
                "part_of_day": "Only if the caller asks for a part of the day.",
                "person": _PERSON,
            },
        ),
        "book_appointment": ToolTexts(
            description="Book the slot that the caller has said yes to. After the code checking, call it "
            "again with exactly the same arguments.",
            while_waiting="One moment, I am entering that for you.",
            arguments={
                "service": _SERVICE,
                "slot_id": _SLOT_ID,
                "start": _START,
                "customer_name": "First and last name of whoever comes.",
                "customer_phone": "Only if the number is withheld or the caller gives another one.",
                "customer_email": "Only if the caller gives one.",
                "notes": "What the caller wants us to know, in a few words.",
                "person": _PERSON,
            },
        ),
        "list_appointments": ToolTexts(
            description="The caller's own coming appointments. Who is calling is known from the call."
        ),
        "reschedule_appointment": ToolTexts(
            description="Move an appointment of the caller to the slot they have said yes to. After the code "
            "checking, call it again with exactly the same arguments.",
            while_waiting="One moment, I am moving that.",
            arguments={
                "appointment": _APPOINTMENT,
                "service": _ITS_SERVICE,
                "day": _ITS_DAY,
                "slot_id": _SLOT_ID,
                "new_start": _START,
            },
        ),
        "cancel_appointment": ToolTexts(
            description="Cancel an appointment of the caller after a clear yes. After the code checking, "
            "call it again with exactly the same arguments.",
            while_waiting="One moment, I am cancelling that.",
            arguments={
                "appointment": _APPOINTMENT,
                "service": _ITS_SERVICE,
                "day": _ITS_DAY,
                "reason": "Why, in a few words, if the caller says so.",
            },
        ),
        "request_callback": ToolTexts(
            description="Note that somebody has to call back.",
            arguments={
                "reason": "What it is about, in a few words.",
                "preferred_time": "When the caller would like to be called, in their words.",
                "phone": "Only if the number is withheld or the caller wants another one to be called.",
            },
        ),
    },
    end_call="End the call once the caller has said goodbye.",
    analysis={
        "call_summary": "Summarise the call in two or three English sentences: what was wanted, what was "
        "done, what is still open.",
        "caller_intent": "Why the caller mainly called.",
        "appointment_outcome": "What the agent told the caller at the end about the appointment. checking: "
        "that it is still being looked into.",
        "appointment_spoken": "Day and time of the appointment the agent confirmed, in the words used.",
        "service_wanted": "The service the caller wanted, in the caller's words.",
        "callback_promised": "Whether the agent promised that somebody calls back.",
    },
)
