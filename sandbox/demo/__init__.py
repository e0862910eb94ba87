"""`listwire demo`: the real processes against both vendors' stand-ins, with an account at the end."""
