"""A ready-made Retell agent for one branch: its documents, and how they get to Retell.

`documents` builds them (prompt, tools, agent, phone number), in German (`prompt.de.md`, `german`) and English
(`prompt.en.md`, `english`); `compare` tells what differs from what is there; `push` makes it so.
"""
