"""What can be set for people's side: the web page, and how an account is connected. As in `models`, one frozen model a table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from listwire.settings.models import Table
from listwire.settings.values import Port, Url, Urls, secret_of, wrong


class Console(Table):
    """The web page for people."""

    host: str = Field("127.0.0.1", examples=["127.0.0.1"])
    """The address to listen on."""
    port: Port | None = Field(None, examples=[8084])
    """The port to listen on."""
    token: SecretStr | None = Field(None, examples=["…"])
    """What a person must enter. Absent: one is made at the start and shown on the terminal, if there is one and `host` is this machine alone."""
    token_file: Path | None = Field(None, examples=["/run/secrets/console-token"])
    """A file that holds it."""
    public_url: Url | None = Field(None, examples=["https://listwire.example.com"])
    """How people reach the console where a proxy stands in front of it. With https its cookie is sent over TLS only."""
    workers: Urls = Field([], examples=[["http://10.0.0.5:8081"]])
    """Where the workers answer /metrics. Absent: on this machine, at their own ports. Everything else comes from Kafka."""

    @model_validator(mode="after")
    def _token(self) -> Console:
        secret_of(self.token, self.token_file, "token")
        return self

    @property
    def login(self) -> SecretStr | None:
        return secret_of(self.token, self.token_file, "token")


class Connect(Table):
    """How *Connect* logs in to Mailchimp: the OAuth app that you register there. Connecting with an API key needs none of it."""

    client_id: str | None = Field(None, min_length=1, examples=["123456789012"])
    """The registered app's client ID. Absent: accounts are connected with an API key."""
    client_secret: SecretStr | None = Field(None, examples=["…"])
    """The app's client secret."""
    client_secret_file: Path | None = Field(None, examples=["/run/secrets/mailchimp-client-secret"])
    """A file that holds it."""
    login_url: Url = Field("https://login.mailchimp.com", examples=["https://login.mailchimp.com"])
    """Where people log in: the root in front of `/oauth2/…`. Another one only for a stand-in."""
    api_url: Url | None = Field(None, examples=["http://127.0.0.1:8091"])
    """The root in front of `/3.0/…` for new accounts, instead of their data centre's. Only for a stand-in or a proxy."""

    @model_validator(mode="after")
    def _whole(self) -> Connect:
        secret = secret_of(self.client_secret, self.client_secret_file, "client_secret")
        if (self.client_id is None) != (secret is None):
            missing = "client_id" if self.client_id is None else "client_secret"
            raise wrong(f"{missing} is missing: an OAuth app has both", f'{missing} = "…"')
        return self

    @property
    def secret(self) -> SecretStr | None:
        return secret_of(self.client_secret, self.client_secret_file, "client_secret")
