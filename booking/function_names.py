"""What agents call the function that books by: also agents of the former system, which have another name."""

from __future__ import annotations

BOOK = "book_appointment"
FORMER_BOOK = "collect_appointment_data"
BOOKING = (BOOK, FORMER_BOOK)
