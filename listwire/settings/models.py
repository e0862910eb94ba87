"""What can be set: one frozen model a table of the TOML file. No reading here, and no defaults anywhere else.

Every field has an example, because a wrong value is answered with the line to write instead (see `problems`), and a
sentence below it, from which `docs/settings.md` is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from listwire.settings.values import (
    DATACENTER,
    Name,
    Patterns,
    Policies,
    Port,
    Seconds,
    Secrets,
    SecretsOrNone,
    Servers,
    Url,
    Zone,
    secret_of,
    wrong,
)


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Kafka(Table):
    """How every process reaches Kafka."""

    bootstrap_servers: Servers = Field(None, examples=["localhost:9092"])
    """Brokers to begin with, `host:port`, several with commas or as a list. Absent: `listwire up` starts an embedded Kafka; everything else needs it."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", examples=["SASL_SSL"]
    )
    """Encryption and login."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", examples=["SCRAM-SHA-512"])
    """How the login is made, with one of the SASL protocols."""
    sasl_username: str | None = Field(None, examples=["listwire"])
    """The login's name."""
    sasl_password: SecretStr | None = Field(None, examples=["…"])
    """The login's password."""
    sasl_password_file: Path | None = Field(None, examples=["/run/secrets/kafka-password"])
    """A file that holds it."""
    ssl_cafile: Path | None = Field(None, examples=["/etc/ssl/kafka-ca.pem"])
    """The authorities that a broker's certificate is checked against. Absent: the system's."""
    ssl_certfile: Path | None = Field(None, examples=["/etc/ssl/listwire.pem"])
    """A client certificate, where the brokers ask for one."""
    ssl_keyfile: Path | None = Field(None, examples=["/etc/ssl/listwire.key"])
    """Its key, without a password. Absent: it stands in `ssl_certfile`."""
    ssl_check_hostname: bool = Field(True, examples=[True])
    """Whether the broker's certificate must bear its name."""

    @model_validator(mode="after")
    def _whole(self) -> Kafka:
        password = secret_of(self.sasl_password, self.sasl_password_file, "sasl_password")
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and password):
            raise wrong(
                f"security_protocol = {self.security_protocol!r} needs sasl_username and sasl_password",
                'sasl_username = "…" and sasl_password = "…"',
            )
        return self

    @property
    def password(self) -> SecretStr | None:
        return secret_of(self.sasl_password, self.sasl_password_file, "sasl_password")


class Amplitude(Table):
    """An Amplitude project."""

    api_key: SecretStr | None = Field(None, examples=["…"])
    """The project's API key. This or the next is needed."""
    api_key_file: Path | None = Field(None, examples=["/run/secrets/amplitude-api-key"])
    """A file that holds it."""
    secret_key: SecretStr | None = Field(None, examples=["…"])
    """The project's secret key; only reading cohorts from Amplitude needs it."""
    secret_key_file: Path | None = Field(None, examples=["/run/secrets/amplitude-secret-key"])
    """A file that holds it."""
    region: Literal["us", "eu"] = Field("us", examples=["us"])
    """Where the project's data live."""
    endpoint: Literal["batch", "httpapi"] = Field("batch", examples=["batch"])
    """`batch` takes more events a request; with `httpapi` they are seen sooner in Amplitude."""
    base_url: Url | None = Field(None, examples=["https://amplitude-proxy.example"])
    """Overrides `region`: the root in front of `/batch` and `/2/httpapi`."""
    cohorts_url: Url | None = Field(None, examples=["https://amplitude.com"])
    """The root in front of `/api/3/cohorts`. Absent: `base_url` where that is set, else the region's."""

    @model_validator(mode="after")
    def _key(self) -> Amplitude:
        if secret_of(self.api_key, self.api_key_file, "api_key") is None:
            raise wrong("api_key is missing", 'api_key = "…"')
        secret_of(self.secret_key, self.secret_key_file, "secret_key")
        return self

    @property
    def key(self) -> SecretStr:
        key = secret_of(self.api_key, self.api_key_file, "api_key")
        assert key is not None  # noqa: S101 - the validator has seen to it
        return key

    @property
    def secret(self) -> SecretStr | None:
        return secret_of(self.secret_key, self.secret_key_file, "secret_key")


class Mailchimp(Table):
    """A Mailchimp account: an API key that ends with its data centre, or an OAuth token with `datacenter`."""

    api_key: SecretStr | None = Field(None, examples=["…-us6"])
    """An API key of the account. One of these four is needed."""
    api_key_file: Path | None = Field(None, examples=["/run/secrets/mailchimp-api-key"])
    """A file that holds it."""
    access_token: SecretStr | None = Field(None, examples=["…"])
    """An OAuth token, instead of a key."""
    access_token_file: Path | None = Field(None, examples=["/run/secrets/mailchimp-token"])
    """A file that holds it."""
    datacenter: str | None = Field(None, examples=["us6"])
    """The account's data centre, where no key ends with it."""
    base_url: Url | None = Field(None, examples=["https://us6.api.mailchimp.com"])
    """Overrides the data centre's address: the root in front of `/3.0/…`."""
    max_connections: int = Field(10, ge=1, le=10, examples=[10])
    """Simultaneous calls of one process. Mailchimp allows an account 10 in all."""
    http_timeout: Seconds = Field(30.0, examples=[30])
    """Seconds that a call may take; one that takes longer may have been carried out, and is made again."""
    carried_out_within: Seconds | None = Field(None, examples=[120])
    """Seconds that whatever contradicts a call without an answer waits. Absent: four times `http_timeout`."""

    @model_validator(mode="after")
    def _reachable(self) -> Mailchimp:
        key = secret_of(self.api_key, self.api_key_file, "api_key")
        token = secret_of(self.access_token, self.access_token_file, "access_token")
        if key and token:
            raise wrong("api_key and access_token are both set; keep one")
        if not key and not token:
            raise wrong("api_key or access_token is missing", 'api_key = "…-us6"')
        if self.base_url is None and not DATACENTER.match(self._datacenter(key) or ""):
            given = self.datacenter
            raise wrong(
                "the data centre is missing: the key does not end with it (…-us6), and there is no datacenter"
                if given is None
                else f"datacenter = {given!r} is not like us6",
                'datacenter = "us6"',
            )
        return self

    def _datacenter(self, key: SecretStr | None) -> str | None:
        return self.datacenter or (key.get_secret_value().rpartition("-")[2] if key else None)

    @property
    def key(self) -> SecretStr | None:
        return secret_of(self.api_key, self.api_key_file, "api_key")

    @property
    def token(self) -> SecretStr | None:
        return secret_of(self.access_token, self.access_token_file, "access_token")

    @property
    def root(self) -> str:
        """The URL in front of `/3.0/…`."""
        return self.base_url or f"https://{self._datacenter(self.key)}.api.mailchimp.com"


class Source(Table):
    """One Mailchimp audience → one Amplitude project."""

    mailchimp: Name | None = Field(None, examples=["acme"])
    """The `[mailchimp.NAME]` that the audience belongs to; webhooks arrive without it, `check` sees more with it, and `backfill` needs it."""
    audience: str = Field(min_length=1, examples=["a6b5da1054"])
    """The audience's id. A webhook of another audience becomes a dead letter."""
    amplitude: Name = Field(examples=["product"])
    """The `[amplitude.NAME]` that events go to."""
    secrets: Secrets = Field(examples=[["a long random text; `listwire init` makes one"]])
    """What stands at the end of the webhook's path. Several are valid at once, for rotation."""
    signing_secret: SecretsOrNone = Field([], examples=[["…"]])
    """Mailchimp's signing secret for this webhook, or a list while rotating. Set: an unsigned request is refused with 401."""
    signature_tolerance: Seconds = Field(4800.0, examples=[4800])
    """Seconds that a signature stays good. Mailchimp repeats a request for 75 minutes, and may not sign it afresh."""
    user_id: Policies = Field(["email"], examples=[["merge:AMP_ID", "email"]])
    """What becomes Amplitude's user id: `email`, `email_sha256`, `email_md5`, `merge:TAG`, or a list of which the first usable one is taken."""
    timezone: Zone = Field("UTC", examples=["UTC"])
    """The zone of the webhooks' `fired_at`, which names none."""
    merge_properties: list[str] = Field([], examples=[["FNAME"]])
    """Merge fields that may become event properties. All others stay out of Amplitude."""


class CohortSync(Table):
    """Amplitude cohorts → tags of one Mailchimp audience."""

    mailchimp: Name = Field(examples=["acme"])
    """The `[mailchimp.NAME]` that the audience belongs to."""
    audience: str = Field(min_length=1, examples=["a6b5da1054"])
    """The audience's id. Only its members are tagged; nobody is ever subscribed."""
    email_property: str = Field("email", min_length=1, examples=["email"])
    """The user property that holds the address; `user_id` takes the id itself."""
    cohorts: Patterns = Field(["*"], examples=[["*"]])
    """Name patterns of the cohorts that become tags; all others are filtered. `*` is anything, `?` one character; brackets are themselves."""
    secrets: SecretsOrNone = Field([], examples=[["…"]])
    """What stands at the end of the webhook's path. None: the ingress has no route for this sync, and the topic is fed by producers of yours."""


class Ingress(Table):
    """The HTTP side: webhooks in."""

    host: str = Field("0.0.0.0", examples=["0.0.0.0"])
    """The address to listen on."""
    port: Port = Field(8080, examples=[8080])
    """The port to listen on."""
    workers: int = Field(1, ge=1, le=64, examples=[1])
    """Processes that share the port."""
    public_url: Url | None = Field(None, examples=["https://hooks.example.com"])
    """How the vendors reach the ingress; only commands that print or compare webhook URLs use it."""


class Status(Table):
    """Where a worker, the exporter or the scheduler answers /metrics, /healthz and /readyz; no port: the process's own default."""

    host: str = Field("0.0.0.0", examples=["0.0.0.0"])
    """The address to listen on."""
    port: Port | None = Field(None, examples=[8081])
    """The port. Absent: the process's own, or a free one where that is taken; 0: any; set and taken: an error. With `listwire up` and both workers, the second one takes the next port."""


class Delivery(Table):
    """How the workers deliver, and when they give up on a key."""

    park_after: float = Field(60.0, ge=0, allow_inf_nan=False, examples=[60])
    """Seconds that a refused key is tried before its records become dead letters, so that one bad key holds up nobody else."""
    probe_every: Seconds = Field(30.0, examples=[30])
    """Seconds between attempts, with one real record, to see whether a refused key is good again."""
    max_batch_events: int = Field(1000, ge=1, le=2000, examples=[1000])
    """Events a request to Amplitude."""
    max_batch_bytes: int | None = Field(None, ge=1024, le=20_000_000, examples=[900_000])
    """Bytes a request to Amplitude. Absent: 16 MiB for `batch`, 900 KiB for `httpapi`."""
    http_timeout: Seconds = Field(8.0, examples=[8])
    """Seconds that a request to Amplitude may take."""


class Logs(Table):
    """Log lines, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", examples=["info"])
    """The least that is written."""
    format: Literal["auto", "console", "json"] = Field("auto", examples=["json"])
    """`auto`: lines for people on a terminal, JSON elsewhere."""


class Topics(Table):
    """How `topics ensure` creates them; an existing topic keeps its partitions."""

    partitions: int = Field(8, ge=1, le=10_000, examples=[8])
    """Partitions of a topic: as many processes can share the work."""
    replication: int | None = Field(None, ge=1, le=10, examples=[3])
    """Copies of a topic. Absent: 3 where the cluster has three brokers, else 1."""
