"""What a person can do about a sync failure.

A page opens a `Case`, shows what each verb would do (`preview`), and then calls the verb. A verb is legal
where its preview answers; what is not legal raises `NotLegal` with the reason.

    verb        legal while     and
    try_again   open            there is a booking, an attempt or a configuration to look at
    adopt       open            Cal.com shows an active booking that our side lacks, or says otherwise about
    link        open            an appointment of the same company may be what the call or booking is about
    recreate    open            Cal.com says that nothing stands, and the promised time is still to come
    cancel      open            Cal.com shows an active booking that is this company's
    end         open            the appointment stands, and Cal.com says that its booking does not exist
    take_back   open            a call says that something was booked, and nothing stands here or at Cal.com
    resolve     open
    review      pending
    snooze      open
    assign      open            it is not the person's own already

Every verb reads the row again and refuses with `MovedOn` when it, or the booking at Cal.com, is not any more
what the person was shown: `Decision.expected` is the version of the row on their page, `seen` the fingerprint
of both sides.

Who did what, and why, is an audit entry in the transaction of the effect. A verb that talks to Cal.com writes
a first one before it asks, because no transaction is open meanwhile and a crash must leave a trace, and a
second one with what came of it. Our side is made equal by `converge`, as everywhere.
"""

from sync.triage.adopting import adopt
from sync.triage.cancelling import cancel_at_calcom
from sync.triage.case import Case, open_case, read_failure, version_of
from sync.triage.decision import Decision, Done
from sync.triage.ending import end_here
from sync.triage.inbox import assign, resolve, review, snooze
from sync.triage.linking import candidates, link
from sync.triage.previews import legal_verbs, preview
from sync.triage.recreating import recreate_at_calcom
from sync.triage.taking_back import take_back
from sync.triage.trying_again import try_again
from sync.triage.verbs import ASK_CALCOM, IN_BULK, LEGAL_WHILE, PERMISSION, MovedOn, NotLegal, Verb
from sync.triage.wording import name_of

__all__ = [
    "ASK_CALCOM",
    "IN_BULK",
    "LEGAL_WHILE",
    "PERMISSION",
    "Case",
    "Decision",
    "Done",
    "MovedOn",
    "NotLegal",
    "Verb",
    "adopt",
    "assign",
    "cancel_at_calcom",
    "candidates",
    "end_here",
    "legal_verbs",
    "link",
    "name_of",
    "open_case",
    "preview",
    "read_failure",
    "recreate_at_calcom",
    "resolve",
    "review",
    "snooze",
    "take_back",
    "try_again",
    "version_of",
]
