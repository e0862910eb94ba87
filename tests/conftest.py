"""What all kinds of tests share. Nothing here starts anything."""

from __future__ import annotations

from hypothesis import settings

# The machine may be busy with other things: how long one example takes says nothing.
settings.register_profile("listwire", deadline=None)
settings.load_profile("listwire")
