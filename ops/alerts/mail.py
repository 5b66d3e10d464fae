"""An alerter that sends e-mail through an SMTP server.

zenml alerter flavor register ops.alerts.mail.MailFlavor
"""

from __future__ import annotations

import logging
import smtplib
import ssl
from email.message import EmailMessage
from typing import Literal, cast

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterConfig, BaseAlerterFlavor, BaseAlerterStepParameters
from zenml.utils.secret_utils import SecretField

SUBJECT = 120  # characters of the message's first line that its subject has


class MailConfig(BaseAlerterConfig):
    """Where mail goes.

    recipients: addresses, separated by commas
    encryption: starttls (port 587), tls from the first byte on (port 465), or none, for a relay on the same machine
    user, password: None for a server that asks for none; may be references to a ZenML secret
    timeout: seconds
    """

    host: str
    port: int = 587
    sender: str
    recipients: str
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = SecretField(default=None)
    password: str | None = SecretField(default=None)
    timeout: float = 20.0


class MailAlerter(BaseAlerter):
    """Sends; the first line of a message is its subject."""

    @property
    def config(self) -> MailConfig:
        """As registered."""
        return cast(MailConfig, self._config)

    def post(self, message: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """Whether the server took the message for all recipients."""
        config, mail = self.config, EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = message.splitlines()[0][:SUBJECT], config.sender, config.recipients
        mail.set_content(message)
        try:
            with self._connected() as server:
                if config.user is not None:
                    server.login(config.user, config.password or "")
                refused = server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            logging.getLogger(__name__).warning("The mail of the alerter %s wasn't sent: %s", self.name, error)
            return False
        for recipient in refused:
            logging.getLogger(__name__).warning("The mail server refused the recipient %s.", recipient)
        return not refused

    def _connected(self) -> smtplib.SMTP:
        config, trusted = self.config, ssl.create_default_context()
        if config.encryption == "tls":
            return smtplib.SMTP_SSL(config.host, config.port, timeout=config.timeout, context=trusted)
        server = smtplib.SMTP(config.host, config.port, timeout=config.timeout)
        if config.encryption == "starttls":
            server.starttls(context=trusted)
        return server


class MailFlavor(BaseAlerterFlavor):
    """`--flavor rere_mail`."""

    @property
    def name(self) -> str:
        """Of the flavour."""
        return "rere_mail"

    @property
    def config_class(self) -> type[MailConfig]:
        """Its settings."""
        return MailConfig

    @property
    def implementation_class(self) -> type[MailAlerter]:
        """What it makes."""
        return MailAlerter
