"""A Cal.com API v2 that runs on this machine, for the demo and for tests.

It answers over HTTP as the real server was recorded to answer (tests/contract/recordings), keeps its own
bookings, sends signed webhooks, and can be told to be late, full, silent or wrong: see `server.Simulator`.
"""
