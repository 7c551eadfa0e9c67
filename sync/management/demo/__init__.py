"""`manage.py demo`: calls played against the running system, and what came of them.

Each scenario is one small module with one class; `scenarios.py` lists them in the order they are played. A
scenario speaks to the system as Retell does (`caller.py`), looks at both sides (`observed.py`) and does harm
only through the simulator's control plane. What it says goes through `narrator.py`.
"""
