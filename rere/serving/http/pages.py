"""What a browser shows: the page, and the API's documentation with files of its own, so that it works offline."""

from __future__ import annotations

import secrets
from importlib import resources

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, Template
from starlette.staticfiles import StaticFiles

from rere.serving.engine.service import RecommendationService

SWAGGER = "fastapi_offline"  # the package that brings Swagger UI's files along


def add_pages(app: FastAPI, service: RecommendationService, *, token_needed: bool) -> None:
    """`/` and `/docs`. Nothing of the catalogue is in them, so they need no token; they ask for it where it is set."""
    page, docs = _template("page.html"), _template("docs.html")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        served = service.live.deployment
        return _html(
            page,
            "connect-src 'self'",
            version=served.version,
            new_users="answered" if served.answers_new_users else "refused",
            token="needed" if token_needed else "none",
            scores="probabilities" if served.gives_probabilities else "weights",
        )

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        # Swagger UI draws its icons from data: addresses, and styles some of its elements itself.
        return _html(docs, "connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'")

    app.mount("/docs/files", StaticFiles(packages=[(SWAGGER, "static")]))


def _template(name: str) -> Template:
    text = (resources.files("rere.serving.http") / "templates" / name).read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text)


def _html(template: Template, policy: str, **values: str) -> HTMLResponse:
    """A page whose own scripts and styles run, and no others."""
    nonce = secrets.token_urlsafe(16)
    if "style-src" not in policy:
        policy += f"; style-src 'nonce-{nonce}'"
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; {policy}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "cache-control": "no-store"}
    return HTMLResponse(template.render(nonce=nonce, **values), headers=headers)
