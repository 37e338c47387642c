"""The tables `[receivers.*]`: where alerts may be sent, and what each receiver must be told of itself.

Place in the flow: read by `settings`. What is sent is put together in `receivers`.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from streams.sections import Access, Seconds, Secret, Section, Text, WebAddress


def _line(text: str) -> str:
    if not text.isprintable():  # no mail could ever be made with it
        raise ValueError("must be one line")
    return text


Line = Annotated[Text, AfterValidator(_line)]


class Webhook(Section):
    """Where messages are posted as JSON, signed if there is a secret."""

    url: WebAddress = Field(repr=False)
    """Where to post."""
    secret: Secret | None = None
    """What the signature of a message is made with; better in a file than here."""
    secret_file: Text | None = None
    """The file that holds it."""
    timeout_s: Seconds = 10
    """Seconds that an attempt may take."""

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if self.secret and self.secret_file:
            raise ValueError("secret and secret_file are both given")
        return self


class Slack(Section):
    """An incoming webhook of Slack's, or of what speaks like it: its address is the secret."""

    url: WebAddress | None = Field(default=None, repr=False)
    """Its address, which is the secret: better in a file than here."""
    url_file: Text | None = None
    """The file that holds it."""
    timeout_s: Seconds = 10
    """Seconds that an attempt may take."""

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs either url or url_file")
        return self


class Email(Access):
    """A server that takes mail, whom it is from, and whom it is to."""

    host: Text
    """The server that takes mail."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0: the usual one, 587, of tls 465, of none 25."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """tls: from the first byte; none: only where no password is said."""
    user: Text | None = None
    """Who we are to it."""
    sender: Line
    """Whom mail is from."""
    to: Annotated[tuple[Line, ...], Field(min_length=1)]
    """Whom it is to."""
    timeout_s: Seconds = 30
    """Seconds that an attempt may take."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.has_password != bool(self.user):
            raise ValueError("user and password (or password_file) need each other")
        if self.security == "none" and (self.has_password or self.has_tls):
            raise ValueError('password, ca_file and certificate_file need security "starttls" or "tls"')
        return self


class Alertmanager(Access):
    """A Prometheus Alertmanager; `{alert_id}` in `generator_url` is the alert's."""

    url: WebAddress = Field(repr=False)
    """Its address; API v2."""
    user: Text | None = None
    """Who we are to it."""
    generator_url: WebAddress | None = None
    """Where the links of its alerts lead; {alert_id} in it is the alert's."""
    timeout_s: Seconds = 10
    """Seconds that an attempt may take."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.has_password != bool(self.user):
            raise ValueError("user and password (or password_file) need each other")
        self.fits(self.url, self.user)
        return self


class Receivers(Section):
    """Who is told of changes of alerts."""

    log: bool = True
    """A line of JSON in the worker's log for each change."""
    webhook: Webhook | None = None
    slack: Slack | None = None
    email: Email | None = None
    alertmanager: Alertmanager | None = None
