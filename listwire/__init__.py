"""Listwire: Mailchimp and Amplitude, joined by Kafka. What every process shares lives in this package."""

__version__ = "0.1.0"
