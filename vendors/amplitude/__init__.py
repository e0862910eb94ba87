"""Amplitude's ingestion API: a client that sends serialized events, and the reading of every answer it may give."""

from vendors.amplitude.answers import (
    Accepted,
    Answer,
    Doubted,
    Invalid,
    Rejected,
    Throttled,
    TooLarge,
    read_answer,
)
from vendors.amplitude.client import LIMITS, Amplitude, Limits, base_url

__all__ = [
    "LIMITS",
    "Accepted",
    "Amplitude",
    "Answer",
    "Doubted",
    "Invalid",
    "Limits",
    "Rejected",
    "Throttled",
    "TooLarge",
    "base_url",
    "read_answer",
]
