"""A strict, stateful stand-in for Amplitude's ingestion API (`AmplitudeStandIn`, `serve`)."""

from __future__ import annotations

from sandbox.amplitude.serve import serve
from sandbox.amplitude.server import AmplitudeStandIn

__all__ = ["AmplitudeStandIn", "serve"]
