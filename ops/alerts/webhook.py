"""An alerter that posts `{"text": message}` to a URL: incoming web hooks of Slack, Mattermost, or yours.

zenml alerter flavor register ops.alerts.webhook.WebhookFlavor
"""

from __future__ import annotations

import json
import logging
from http.client import HTTPException
from typing import Any, cast
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterConfig, BaseAlerterFlavor, BaseAlerterStepParameters
from zenml.utils.secret_utils import SecretField

ATTEMPTS = 3


class Redirected(HTTPRedirectHandler):
    """Follows none: what a POST is sent on to gets a GET without the message, and answers 200 like any page."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """The answer is then an `HTTPError` of the redirect's own status."""


class WebhookConfig(BaseAlerterConfig):
    """url: may be a reference to a ZenML secret, `{{team-chat.url}}`; who knows it can post. timeout: seconds."""

    url: str = SecretField()
    timeout: float = 10.0


class WebhookAlerter(BaseAlerter):
    """Posts; a server that is away or busy (5xx) is asked again."""

    @property
    def config(self) -> WebhookConfig:
        """As registered."""
        return cast(WebhookConfig, self._config)

    def post(self, message: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """Whether the server took the message."""
        text = json.dumps({"text": message}).encode()
        said = "nothing"
        for _ in range(ATTEMPTS):
            try:
                request = Request(self.config.url, data=text, headers={"Content-Type": "application/json"})
                with build_opener(Redirected).open(request, timeout=self.config.timeout):
                    return True
            except HTTPError as error:
                said = f"status {error.code}"
                error.close()
                if error.code < 500:
                    break
            except ValueError:  # its text has the URL
                said = "its URL is none; it begins with https://"
                break
            except (OSError, HTTPException) as error:
                said = type(error).__name__
        # Without the URL, which is a secret; that is why this isn't by a library that logs its requests.
        logging.getLogger(__name__).warning("The web hook of %s didn't take a message: %s.", self.name, said)
        return False


class WebhookFlavor(BaseAlerterFlavor):
    """`--flavor rere_webhook`."""

    @property
    def name(self) -> str:
        """Of the flavour."""
        return "rere_webhook"

    @property
    def config_class(self) -> type[WebhookConfig]:
        """Its settings."""
        return WebhookConfig

    @property
    def implementation_class(self) -> type[WebhookAlerter]:
        """What it makes."""
        return WebhookAlerter
