from __future__ import annotations

from calls.retell.agent.texts import Texts, ToolTexts

_SERVICE = "Die Leistung, so wie list_services sie nennt."
_PERSON = "Die Person, die der Anrufer beim Namen wünscht. Weglassen, wenn es ihm gleich ist."
_SLOT_ID = "Die slot_id der gewählten Zeit, genau aus der letzten Antwort übernommen."
_START = "Nur ohne slot_id: Datum und Uhrzeit des Beginns, aus der Antwort einer Funktion übernommen."
_APPOINTMENT = "Die id des Termins, aus list_appointments."
_ITS_SERVICE = "Die Leistung des Termins, wenn die id nicht bekannt ist."
_ITS_DAY = "Der Tag des Termins, JJJJ-MM-TT, wenn die id nicht bekannt ist."

GERMAN = Texts(
    language="de",
    greeting="$business, guten Tag, hier ist der KI-Assistent. Was kann ich für Sie tun?",
    tools={
        "list_services": ToolTexts(
            description="Was gebucht werden kann, wie lange es dauert und bei wem. Aufrufen, wenn nicht "
            "sicher ist, welche Leistung gemeint ist.",
            arguments={
                "service": "Nur um von einer Leistung zu hören: wie lange, zu welchem Preis, bei wem.",
                "person": "Nur um zu hören, was eine bestimmte Person macht.",
            },
        ),
        "check_availability": ToolTexts(
            description="Freie Zeiten einer Leistung. Aufrufen, bevor eine Zeit angeboten wird.",
            while_waiting="Einen Moment, ich sehe im Kalender nach.",
            arguments={
                "service": _SERVICE,
                "date": "Der eine gewünschte Tag, JJJJ-MM-TT.",
                "from": "Statt date: der erste von mehreren Tagen, JJJJ-MM-TT.",
                "to": "Zusammen mit from: der letzte der Tage, JJJJ-MM-TT.",
                "part_of_day": "Nur wenn der Anrufer eine Tageszeit wünscht.",
                "person": _PERSON,
            },
        ),
        "book_appointment": ToolTexts(
            description="Die Zeit buchen, zu der der Anrufer Ja gesagt hat. Nach dem Code checking mit genau "
            "denselben Argumenten noch einmal aufrufen.",
            while_waiting="Einen Moment, ich trage das für Sie ein.",
            arguments={
                "service": _SERVICE,
                "slot_id": _SLOT_ID,
                "start": _START,
                "customer_name": "Vor- und Nachname der Person, die kommt.",
                "customer_phone": "Nur bei unterdrückter Nummer oder wenn der Anrufer eine andere nennt.",
                "customer_email": "Nur wenn der Anrufer eine nennt.",
                "notes": "Was wir wissen sollen, in wenigen Worten.",
                "person": _PERSON,
            },
        ),
        "list_appointments": ToolTexts(
            description="Die kommenden Termine des Anrufers selbst. Wer anruft, ist aus dem Anruf bekannt."
        ),
        "reschedule_appointment": ToolTexts(
            description="Einen Termin des Anrufers auf die Zeit verlegen, zu der er Ja gesagt hat. Nach dem "
            "Code checking mit genau denselben Argumenten noch einmal aufrufen.",
            while_waiting="Einen Moment, ich verlege das.",
            arguments={
                "appointment": _APPOINTMENT,
                "service": _ITS_SERVICE,
                "day": _ITS_DAY,
                "slot_id": _SLOT_ID,
                "new_start": _START,
            },
        ),
        "cancel_appointment": ToolTexts(
            description="Einen Termin des Anrufers nach einem klaren Ja absagen. Nach dem Code checking mit "
            "genau denselben Argumenten noch einmal aufrufen.",
            while_waiting="Einen Moment, ich sage das ab.",
            arguments={
                "appointment": _APPOINTMENT,
                "service": _ITS_SERVICE,
                "day": _ITS_DAY,
                "reason": "Warum, in wenigen Worten, wenn der Anrufer es sagt.",
            },
        ),
        "request_callback": ToolTexts(
            description="Vermerken, dass jemand zurückrufen muss.",
            arguments={
                "reason": "Worum es geht, in wenigen Worten.",
                "preferred_time": "Wann der Anrufer angerufen werden möchte, in seinen Worten.",
                "phone": "Nur bei unterdrückter Nummer oder wenn eine andere angerufen werden soll.",
            },
        ),
    },
    end_call="Das Gespräch beenden, sobald der Anrufer sich verabschiedet hat.",
    analysis={
        "call_summary": "Fasse den Anruf in zwei, drei deutschen Sätzen zusammen: was gewünscht war, was "
        "getan wurde, was offen ist.",
        "caller_intent": "Weshalb der Anrufer hauptsächlich angerufen hat.",
        "appointment_outcome": "Was der Agent dem Anrufer am Ende über den Termin gesagt hat. checking: dass "
        "es noch geprüft wird.",
        "appointment_spoken": "Tag und Uhrzeit des bestätigten Termins, in den gesprochenen Worten.",
        "service_wanted": "Die gewünschte Leistung, in den Worten des Anrufers.",
        "callback_promised": "Ob der Agent versprochen hat, dass jemand zurückruft.",
    },
)
