"""
Authlib's authorization server on Flask, set up as in its documentation: clients and tokens in SQLite, ES256 JWTs (RFC 9068).

    PEER_DATABASE=… PEER_CLIENTS=… gunicorn --worker-class gthread --threads 8 authlib_flask:app
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import OAuth2ClientMixin, OAuth2TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, Response
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import Column, Integer, Text, create_engine, event, insert, select
from sqlalchemy.orm import DeclarativeBase, Session

ISSUER = "http://bench.example"
DATABASE = os.environ["PEER_DATABASE"]


class Base(DeclarativeBase):
    """Base of the tables."""


class Client(Base, OAuth2ClientMixin):  # type: ignore[misc]
    """A client."""

    __tablename__ = "client"
    id = Column(Integer, primary_key=True)


class Token(Base, OAuth2TokenMixin):  # type: ignore[misc]
    """An issued token; the mixin's column is meant for opaque tokens and too short for a JWT."""

    __tablename__ = "token"
    id = Column(Integer, primary_key=True)
    access_token = Column(Text, unique=True, nullable=False)


class Generator(JWTBearerTokenGenerator):  # type: ignore[misc]
    """Signs with one key."""

    keys = KeySet([ECKey.generate_key("P-256")])

    def get_jwks(self) -> KeySet:
        """Return the key."""
        return self.keys

    def get_audiences(self, client: object, user: object, scope: object) -> str:  # noqa: ARG002 - Authlib's signature
        """Return the audience of tokens."""
        return ISSUER


class Grant(ClientCredentialsGrant):  # type: ignore[misc]
    """`client_credentials` with the secret in the form."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]  # noqa: RUF012 - Authlib's attribute


engine = create_engine(f"sqlite:///{DATABASE}")


@event.listens_for(engine, "connect")
def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=FULL").close()


def _fill() -> None:
    Base.metadata.create_all(engine)
    metadata = {
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["client_credentials"],
        "scope": "work",
    }
    with Session(engine) as session:
        if session.scalar(select(Client.id).limit(1)) is not None:
            return
        maker = Client()
        maker.set_client_metadata(metadata)
        rows = [
            {
                "client_id": client_id,
                "client_secret": secret,
                "client_id_issued_at": int(time.time()),
                "client_secret_expires_at": 0,
                "client_metadata": maker._client_metadata,  # noqa: SLF001 - the mixin's column
            }
            for client_id, secret in map(
                str.split, Path(os.environ["PEER_CLIENTS"]).read_text("ascii").splitlines()
            )
        ]
        table: Any = Client.__table__
        session.execute(insert(table), rows)
        session.commit()


def _query_client(client_id: str) -> Client | None:
    with Session(engine) as session:
        found: Client | None = session.scalars(select(Client).filter_by(client_id=client_id)).first()
        return found


def _save_token(token: dict[str, Any], request: Any) -> None:
    with Session(engine) as session:
        session.add(Token(client_id=request.client.client_id, **token))
        session.commit()


_fill()
app = Flask(__name__)
server = AuthorizationServer(app, _query_client, _save_token)
server.register_token_generator("default", Generator(ISSUER, alg="ES256"))
server.register_grant(Grant)


@app.post("/oauth/token")
def issue_token() -> Response:
    """Answer a token request."""
    answer: Response = server.create_token_response()
    return answer


@app.get("/ready")
def ready() -> str:
    """Say that the server is ready."""
    return "ready"
