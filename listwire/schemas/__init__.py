"""The schemas that people outside build on, as files inside the package: whoever has the wheel has them.

Nothing of ours validates with them at run time. The codecs are faster and say why; a test holds both to the same answer.
"""

from __future__ import annotations

from importlib import resources


def cohort_change() -> str:
    """JSON Schema 2020-12 of the values in `listwire.cohort-changes`."""
    return resources.files(__name__).joinpath("cohort-change.schema.json").read_text(encoding="utf-8")
