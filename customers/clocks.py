"""How far the clocks of our own machines may be trusted."""

from datetime import timedelta

# By how much those of two machines may differ. Retell's signatures are refused from there on, and what lies
# further ahead of us was written by a clock that was wrong.
CLOCKS_DIFFER_BY = timedelta(minutes=5)
