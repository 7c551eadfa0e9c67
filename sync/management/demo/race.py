"""Two callers want one time at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sync.management.demo.stage import Scenario, Stage


class Race(Scenario):
    name = "race"
    title = "Two callers want the same time at the same moment"
    why = "One must get it, and the other must hear so, with other times to choose from."

    def play(self, stage: Stage) -> None:
        callers = [stage.caller("Bert Krause"), stage.caller("Clara Vogt")]
        start = stage.free_start()
        with ThreadPoolExecutor(len(callers)) as lines:
            heard = list(
                lines.map(lambda caller: caller.book(stage.service.slug, stage.spelled(start)), callers)
            )
        for caller, answer in zip(callers, heard, strict=True):
            stage.says(caller, start, answer)
        stage.look(start)
        record = stage.record
        record.check(
            "one heard booked, the other taken",
            sorted(answer.code for answer in heard) == ["booked", "slot_taken"],
        )
        winner = next((answer for answer in heard if answer.code == "booked"), None)
        loser = next((answer for answer in heard if answer.code == "slot_taken"), None)
        record.check(
            "the other was offered other times",
            loser is not None and len(loser.body.get("alternatives", [])) > 0,
        )
        record.check(
            "Cal.com holds exactly one booking, the winner's",
            winner is not None and stage.active_uids(start) == [winner.uid],
        )
