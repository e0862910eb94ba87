"""Which modules are mutated, in the order of their importance, and which unit tests speak of each: the quick ones first, for
they are asked first. Nothing else is.
"""

from __future__ import annotations

from typing import Final

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "stream/lanes.py": ("tests/unit/test_lanes.py",),
    "stream/codecs/form.py": ("tests/unit/test_mailchimp_webhook_codec.py",),
    "stream/codecs/mailchimp_webhook.py": ("tests/unit/test_mailchimp_webhook_codec.py",),
    "stream/codecs/cohort_change.py": ("tests/unit/test_cohort_change_codec.py",),
    "stream/delivery.py": ("tests/unit/test_delivery.py",),
    "stream/retry.py": ("tests/unit/test_retry.py",),
    "stream/to_amplitude.py": ("tests/unit/test_to_amplitude.py",),
    "stream/dead_letters.py": ("tests/unit/test_dead_letter_writer.py",),
    "stream/runs.py": ("tests/unit/test_fetched_runs.py",),
}
