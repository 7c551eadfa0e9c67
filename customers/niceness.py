"""Background work gives way to callers: where both want the processor, whoever answers a phone gets it."""

from __future__ import annotations

import os

from django.conf import settings


def give_way() -> None:
    """Lower the priority of this process, and of whatever it starts from now on, to BACKGROUND_NICENESS. What
    is lower already stays as it is; it cannot be raised again.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < settings.BACKGROUND_NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, settings.BACKGROUND_NICENESS)
