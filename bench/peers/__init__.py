"""What Listwire is measured beside. Each file is a whole program, as a good engineer would write it with that library.

Environment: KAFKA, SINK (the URL to post to), TOPIC, GROUP, API_KEY, AUDIENCE.
"""
