"""The publisher's side of cohorts: files of users become messages, and the topic tells who should carry a tag.

Nothing here asks Mailchimp, and nothing here knows how a message is decoded: the command line brings both.
"""
