"""The admin of what was promised. Each module registers its records when it is imported."""

from booking.admin import appointments, attempts, callbacks, function_calls, services

__all__ = ["appointments", "attempts", "callbacks", "function_calls", "services"]
