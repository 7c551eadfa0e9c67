"""`manage.py demo`: calls played against the running system, and what came of them.

Each scenario is one small module with one class; `scenarios.py` lists them in the order they are played. A
scenario speaks to the system as Retell does (`caller.py`), looks at both sides (`observed.py`) and does harm
through the simulator's control plane; a row of ours is spoilt only where that is the scene. What
it says goes through `narrator.py`.
"""
