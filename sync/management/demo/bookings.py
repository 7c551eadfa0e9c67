"""A booking, and the same booking asked for again."""

from __future__ import annotations

from sync.management.demo.stage import Scenario, Stage


class Booking(Scenario):
    name = "booking"
    title = "A caller books, and the same request comes again"
    why = "Retell repeats what was slow, and so do agents. Callers used to hear “taken” of their own booking."

    def play(self, stage: Stage) -> None:
        record = stage.record
        anna = stage.caller("Anna Weber")
        start = stage.free_start()
        record.heard(anna.name, "“What can I book?”", anna.ask("list_services"))
        day = stage.spelled(start)[:10]
        record.heard(
            anna.name,
            f"“When on {day}?”",
            anna.ask("check_availability", service=stage.service.slug, date=day),
        )
        booked = stage.asks_for(anna, start)
        stage.look(start)
        record.check("the caller heard that it is booked", booked.code == "booked")

        record.happens("Retell sends the very same request again.")
        again = stage.asks_for(anna, start)
        record.check(
            "the same answer again, out of the record",
            again.replayed and {**again.body, "replayed": False} == booked.body,
        )
        record.happens("Anna calls a second time, and asks for it once more.")
        from_another_call = stage.asks_for(anna.again(), start)
        record.check(
            "she hears that she has it already",
            from_another_call.code == "already_booked" and from_another_call.uid == booked.uid,
        )
        record.check("Cal.com holds exactly this booking", stage.active_uids(start) == [booked.uid])
