"""The years in which anything can happen here.

A time outside of them is none: a day later, or in another zone, it may be in a year that no datetime has.
"""

FIRST_YEAR, LAST_YEAR = 1970, 2200
