"""Kafka to HTTP.

The invariant, which every file here keeps and `tests/unit/test_invariant.py` attacks:

    An offset is committed only when every record up to it is **delivered**, **filtered on purpose**, or
    **durably in dead letters**.

A record travels: `transport` (fetched runs of one partition) → `agents` (put into lanes, never waiting) → `lanes` (one
delivery after the other, acknowledged in order) → `delivery` (read, routed by connection, settled) → `to_amplitude` or
`to_mailchimp` (the vendor's answer table) → back to `lanes`, the only place that acknowledges.
"""
