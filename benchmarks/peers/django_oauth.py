"""
Django OAuth Toolkit, set up as in its documentation: clients and tokens in SQLite; ES256 JWTs by PyJWT, since its own tokens are opaque.

    PEER_DATABASE=… PEER_CLIENTS=… [PEER_HASHED=yes] gunicorn --worker-class gthread --threads 8 django_oauth:app

With PEER_HASHED, client secrets are hashed with PBKDF2, which is the default.
"""

import os
import secrets
import time
from pathlib import Path
from typing import Any

import django
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

ISSUER = "http://bench.example"
HASHED = os.environ.get("PEER_HASHED") == "yes"
_KEY = ec.generate_private_key(ec.SECP256R1())


def generate_token(request: Any, *_more: object) -> str:
    """Return an ES256 JWT (RFC 9068)."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": request.client.client_id,
        "client_id": request.client.client_id,
    }
    claims |= {"iat": now, "exp": now + 900, "jti": secrets.token_urlsafe(16)}
    return jwt.encode(claims, _KEY, algorithm="ES256", headers={"typ": "at+jwt"})


settings.configure(
    SECRET_KEY="of this run",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["PEER_DATABASE"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_GENERATOR": f"{__name__}.generate_token",
        "ACCESS_TOKEN_EXPIRE_SECONDS": 900,
        "SCOPES": {"work": "Work"},
        "DEFAULT_SCOPES": ["work"],
    },
)
django.setup()

from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import path
from oauth2_provider.models import Application
from oauth2_provider.views import TokenView


def _ready(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


urlpatterns = [path("oauth/token", TokenView.as_view()), path("ready", _ready)]


def _fill() -> None:
    call_command("migrate", verbosity=0)
    if Application.objects.exists():
        return
    lines = Path(os.environ["PEER_CLIENTS"]).read_text(encoding="ascii").splitlines()
    made = [
        Application(
            client_id=client_id,
            client_secret=secret,
            hash_client_secret=False,
            client_type="confidential",
            authorization_grant_type="client-credentials",
            name=client_id,
        )
        for client_id, secret in map(str.split, lines)
    ]
    Application.objects.bulk_create(made)
    if HASHED:
        # A few are enough, and hashing all of them would take an hour.
        for application in Application.objects.order_by("id")[:64]:
            application.hash_client_secret = True
            application.save()


_fill()
app = WSGIHandler()
