"""Webhooks that never arrived, told again from the audience itself: what a contact's record and feed state, and nothing else.

Mailchimp retries a webhook for 75 minutes. What an outage longer than that has cost is derived here from members and their
activity feeds, compared with what `listwire.webhooks` holds, and written there with the body that the webhook would have had.
Pure but for `topic` and `publish`; what cannot be derived for certain is listed and never guessed.
"""
