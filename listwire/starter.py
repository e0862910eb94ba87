"""The settings file a person starts from: commented, loadable as it stands, with strong secrets of its own.

What the person must still fill in is a placeholder from the list here; `listwire check` names every one that is left.
Must never overwrite a file unasked, nor be readable for others: it holds secrets.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from listwire.errors import SettingsError
from listwire.settings import Settings

AMPLITUDE_KEY = "put-the-api-key-of-your-amplitude-project-here"
AUDIENCE = "put-your-audience-id-here"
PLACEHOLDERS = frozenset({AMPLITUDE_KEY, AUDIENCE})
PUBLIC_URL = "https://YOUR-HOST"


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Starter:
    """What is known already; the rest becomes a placeholder or a commented line."""

    bootstrap: str | None = None
    amplitude_key_file: Path | None = None
    region: str = "us"
    mailchimp_key_file: Path | None = None
    audience: str | None = None
    source: str = "newsletter"
    public_url: str | None = None
    webhook_secret: str = field(default_factory=_secret)
    cohort_secret: str = field(default_factory=_secret)
    console_token: str = field(default_factory=_secret)

    def render(self) -> str:
        """The TOML file."""
        parts = [
            _HEAD,
            self._kafka(),
            self._amplitude(),
            self._mailchimp(),
            self._source(),
            self._cohorts(),
            self._http(),
        ]
        return "\n\n".join(part.strip() for part in parts) + "\n"

    def webhook_url(self) -> str:
        """What is pasted into Mailchimp."""
        return f"{self.public_url or PUBLIC_URL}/webhooks/mailchimp/{self.source}/{self.webhook_secret}"

    def cohort_url(self) -> str | None:
        """What is pasted into Amplitude's cohort webhook; None while no Mailchimp account is set."""
        if self.mailchimp_key_file is None:
            return None
        return f"{self.public_url or PUBLIC_URL}/webhooks/amplitude/cohorts/{self.source}/{self.cohort_secret}"

    def _kafka(self) -> str:
        line = f"bootstrap_servers = {quoted(self.bootstrap or 'localhost:9092')}"
        return f"""
[kafka]
# Left out: `listwire up` starts a Kafka of its own on this machine; everything else needs the line.
{line if self.bootstrap else "# " + line}
# security_protocol = "SASL_SSL"            # PLAINTEXT (default), SSL, SASL_PLAINTEXT, SASL_SSL
# sasl_mechanism = "SCRAM-SHA-512"          # PLAIN (default), SCRAM-SHA-256, SCRAM-SHA-512
# sasl_username = "listwire"
# sasl_password_file = "/run/secrets/kafka-password"
# ssl_cafile = "/etc/ssl/kafka-ca.pem"
"""

    def _amplitude(self) -> str:
        key = (
            f"api_key_file = {quoted(str(self.amplitude_key_file))}"
            if self.amplitude_key_file
            else f"api_key = {quoted(AMPLITUDE_KEY)}   # or api_key_file"
        )
        return f"""
# An Amplitude project: Settings, Projects, API Key.
[amplitude.product]
{key}
region = {quoted(self.region)}                             # or "eu"
# endpoint = "batch"                        # or "httpapi": seen sooner in Amplitude, smaller requests
# secret_key = "…"                          # only for [cohort_schedules.…]; or secret_key_file
"""

    def _mailchimp(self) -> str:
        known = self.mailchimp_key_file
        text = f"""
# A Mailchimp account: needed for cohort syncs, and for `check` to see its webhooks.
[mailchimp.acme]
api_key_file = {quoted(str(known or "/run/secrets/mailchimp-api-key"))}   # or api_key = "…-us6"
"""
        return text if known else _commented(text)

    def _source(self) -> str:
        account = "" if self.mailchimp_key_file else "# "
        return f"""
# One Mailchimp audience to one Amplitude project.
[sources.{self.source}]
{account}mailchimp = "acme"
audience = {quoted(self.audience or AUDIENCE)}   # Audience, Settings, Audience name and defaults: Audience ID
amplitude = "product"
secrets = [{quoted(self.webhook_secret)}]   # in the webhook's path; two while you rotate
# signing_secret = "…"                      # Mailchimp shows it once, when the webhook is made
# user_id = "email"                         # email_sha256, email_md5, merge:TAG, or a list: the first usable one
# timezone = "UTC"                          # of the webhooks' fired_at
# merge_properties = []                     # merge fields that may become event properties, like ["PLAN"]
"""

    def _cohorts(self) -> str:
        text = f"""
# Amplitude cohorts to tags of one Mailchimp audience.
[cohort_syncs.{self.source}]
mailchimp = "acme"
audience = {quoted(self.audience or AUDIENCE)}
email_property = "email"                    # the user property that holds the address
cohorts = ["*"]                             # name patterns
secrets = [{quoted(self.cohort_secret)}]
"""
        schedule = f"""
# A cohort that Listwire fetches by itself, beside those that Amplitude pushes. Needs secret_key under [amplitude.product].
[cohort_schedules.power-users]
sync = {quoted(self.source)}
amplitude = "product"
cohort = "Power users"                      # or its id
cron = "0 */2 * * *"                        # Amplitude allows 500 downloads a month
"""
        return (text if self.mailchimp_key_file else _commented(text)) + _commented(schedule)

    def _http(self) -> str:
        line = f"public_url = {quoted(self.public_url or 'https://hooks.example.com')}"
        return f"""
[ingress]
# host = "0.0.0.0"
# port = 8080
{line if self.public_url else "# " + line}   # how Mailchimp reaches this ingress

# The page for people: what each connection does, what failed, and a button to replay. `listwire up` opens it.
[console]
token = {quoted(self.console_token)}
# host = "127.0.0.1"                        # behind TLS where others are to reach it
"""


_HEAD = """
# Settings of Listwire. Every key can come from the environment instead: LISTWIRE_KAFKA__BOOTSTRAP_SERVERS,
# LISTWIRE_SOURCES__NEWSLETTER__AUDIENCE. The file holds secrets: only its owner can read it, keep it out of git.
# `listwire check` tests all that is written here.
"""


def quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")


def _commented(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(line if line.startswith("#") else f"# {line}" for line in lines)


def write(path: Path, text: str, *, force: bool) -> None:
    """Mode 0600, whole or not at all. Raises SettingsError where a file stands there and `force` is not set."""
    if not force and (path.exists() or path.is_symlink()):
        raise SettingsError(f"{path} exists already: `--force` replaces it, secrets included; `--file` names another.")
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            if force:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # fails where somebody else was faster; a rename would overwrite
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
    except FileExistsError:
        raise SettingsError(f"{path} exists already: `--force` replaces it, secrets included.") from None
    except OSError as fault:
        raise SettingsError(f"{path} cannot be written: {fault.strerror}.") from None


def placeholders(settings: Settings) -> Iterator[str]:
    """The keys that still hold what `init` has put there."""
    for name, project in settings.amplitude.items():
        if project.key.get_secret_value() in PLACEHOLDERS:
            yield f"amplitude.{name}.api_key"
    for kind, tables in (("sources", settings.sources), ("cohort_syncs", settings.cohort_syncs)):
        for name, table in tables.items():
            if table.audience in PLACEHOLDERS:
                yield f"{kind}.{name}.audience"
