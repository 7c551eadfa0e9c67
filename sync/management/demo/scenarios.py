"""What is played, in this order."""

from __future__ import annotations

from sync.management.demo.bookings import Booking
from sync.management.demo.conversation import Conversation
from sync.management.demo.crash import Crash
from sync.management.demo.deliveries import Deliveries
from sync.management.demo.handed_back import HandedBack
from sync.management.demo.late_answer import LateAnswer
from sync.management.demo.orphans import Orphans
from sync.management.demo.race import Race
from sync.management.demo.stage import Scenario
from sync.management.demo.web_page import WebPage

SCENARIOS: tuple[type[Scenario], ...] = (
    Booking,
    Race,
    HandedBack,
    LateAnswer,
    Crash,
    Conversation,
    WebPage,
    Deliveries,
    Orphans,
)
