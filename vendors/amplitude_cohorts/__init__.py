"""Amplitude's Behavioral Cohorts API as Listwire uses it: list the cohorts of a project, and download one."""

from __future__ import annotations

from vendors.amplitude_cohorts.client import (
    LARGEST_COHORT,
    AmplitudeCohorts,
    Cohort,
    Usage,
    base_url,
)
from vendors.amplitude_cohorts.file import People, read_people
from vendors.amplitude_cohorts.pace import Pace
from vendors.amplitude_cohorts.pull import pull

__all__ = [
    "LARGEST_COHORT",
    "AmplitudeCohorts",
    "Cohort",
    "Pace",
    "People",
    "Usage",
    "base_url",
    "pull",
    "read_people",
]
