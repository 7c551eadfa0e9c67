"""Everything that is known about one booking, in the order it happened, and what it comes to.

One call, one failure or one appointment names a handful of rows in eight tables. What is about people is
masked: the records' own pages have it in full.
"""

from sync.timeline.events import Event
from sync.timeline.subjects import of_call, of_failure
from sync.timeline.verdict import Verdict

__all__ = ("Event", "Verdict", "of_call", "of_failure")
