"""Mailchimp's Marketing API as Listwire uses it. It knows that API's limits and errors, and nothing of Kafka."""

from __future__ import annotations

from vendors.mailchimp.answers import Activity, Audience, Member, Segment, SegmentAnswer, Tag, Webhook
from vendors.mailchimp.client import EVENTS, SEGMENT_CALL_LIMIT, SOURCES, Mailchimp
from vendors.mailchimp.connection_limit import ConnectionLimit, Withdrawn
from vendors.mailchimp.names import base_url_for, subscriber_hash, tag_key
from vendors.mailchimp.oauth import Metadata, authorize_url, exchange_code, metadata
from vendors.mailchimp.problems import not_found, segment_gone, tag_exists, webhook_exists

__all__ = [
    "EVENTS",
    "SEGMENT_CALL_LIMIT",
    "SOURCES",
    "Activity",
    "Audience",
    "ConnectionLimit",
    "Mailchimp",
    "Member",
    "Metadata",
    "Segment",
    "SegmentAnswer",
    "Tag",
    "Webhook",
    "Withdrawn",
    "authorize_url",
    "base_url_for",
    "exchange_code",
    "metadata",
    "not_found",
    "segment_gone",
    "subscriber_hash",
    "tag_exists",
    "tag_key",
    "webhook_exists",
]
