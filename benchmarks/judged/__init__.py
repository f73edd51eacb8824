"""Parts of ``judged_selection.py``: answers of real models, what judges say of them, and the replay."""
