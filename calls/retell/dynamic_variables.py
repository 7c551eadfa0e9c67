"""The dynamic variables we give a Retell agent about a caller. Their values are texts, all of them.

https://docs.retellai.com/build/dynamic-variables
"""

from __future__ import annotations

from collections.abc import Mapping

# What is said of a caller we know nothing about. The agent has them as defaults: a variable without one would
# be read out by its name where the inbound webhook did not tell (a call from the dashboard, or it failed).
NOBODY: Mapping[str, str] = {
    "caller_known": "false",
    "caller_name": "",
    "next_appointment": "",
    "next_appointment_id": "",
    "next_appointment_start": "",
    "next_appointment_service": "",
    "next_appointment_branch": "",
    "next_appointment_status": "",
}
