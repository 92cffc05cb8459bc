"""What a failed login means, told from the text that libpq gives for it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest
from azure.core.credentials import AccessToken

from shared.platform.clouds import CLOUDS
from shared.platform.errors import Blocked, MirrorError, NotFound, Unavailable
from shared.platform.identity import NoToken
from shared.source import connection, locks
from tests.unit.facts import settings

SERVER = 'connection failed: connection to server at "10.0.0.4", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (SERVER + 'FATAL:  password authentication failed for user "me"', Blocked, "LoginRefused"),
        (SERVER + 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me"', Blocked, "LoginRefused"),
        (SERVER + "FATAL:  The access token has expired", Unavailable, "TokenRefused"),
        (SERVER + "FATAL:  Access token is invalid", Unavailable, "TokenRefused"),
        (SERVER + "FATAL:  Azure AD token not for the right tenant", Unavailable, "TokenRefused"),
        (SERVER + 'FATAL:  password authentication failed for user "token"', Blocked, "LoginRefused"),
        (
            SERVER + 'FATAL:  permission denied for database "shop"\nDETAIL:  User does not have CONNECT privilege.',
            Blocked,
            "LoginRefused",
        ),
        (SERVER + 'FATAL:  database "shop" does not exist', NotFound, "NotFound"),
        (SERVER + "FATAL:  the database system is starting up", Unavailable, "Unavailable"),
        (SERVER + "FATAL:  sorry, too many clients already", Unavailable, "Unavailable"),
        (SERVER + "FATAL:  remaining connection slots are reserved for roles", Unavailable, "Unavailable"),
        (SERVER + "Connection refused\n\tIs the server running on that host?", Unavailable, "Unavailable"),
        ("connection timeout expired", Unavailable, "Unavailable"),
        ("", Unavailable, "Unavailable"),
        (SERVER + "SSL error: certificate verify failed", Blocked, "CertificateNotTrusted"),
    ],
)
async def test_a_failed_login_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, text: str, kind: type[MirrorError], code: str
) -> None:
    async def refuse(**_: object) -> None:
        raise psycopg.OperationalError(text)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", refuse)
    with pytest.raises(kind) as caught:
        async with connection.connect_as("pg.example", "shop", "me", "geheim"):
            pass
    assert caught.value.code == code
    assert "pg.example" in caught.value.message
    assert "geheim" not in f"{caught.value.message}{caught.value.remedy}"
    assert isinstance(caught.value, Unavailable) or caught.value.remedy
    assert code != "TokenRefused" or "dministrator" not in caught.value.remedy


class Session:
    """A connection that was opened with a password or a token."""

    closed = False
    info = SimpleNamespace(server_version=160000)

    def __init__(self, secret: str):
        self.secret = secret

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class Identity:
    """A credential whose tokens have numbers."""

    number = 1

    def renew(self) -> None:
        self.number += 1

    async def get_token(self, _: str) -> AccessToken:
        return AccessToken(f"t{self.number}", 1 << 40)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Identity:
    identity = Identity()
    monkeypatch.setattr(connection, "credential", lambda: identity)
    monkeypatch.setattr(connection, "settings", settings)
    monkeypatch.setattr(connection, "cloud", lambda: CLOUDS["AzureCloud"])
    return identity


def opening(monkeypatch: pytest.MonkeyPatch, good: str, text: str) -> list[str]:
    """PostgreSQL lets in who has the good token, and refuses others with a text; the tokens that it is given."""
    given: list[str] = []

    async def connect(*, password: str, **_: object) -> Session:
        given.append(password)
        if password != good:
            raise psycopg.OperationalError(text)
        return Session(password)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    return given


EXPIRED = SERVER + "FATAL:  The access token has expired. Acquire a new token and retry."


async def test_a_token_that_is_refused_is_replaced_by_a_new_one(app: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    given = opening(monkeypatch, "t2", EXPIRED)
    async with connection.connect("pg.example", "shop") as session:
        assert session.secret == "t2"  # type: ignore[attr-defined]
    assert given == ["t1", "t2"]
    given = opening(monkeypatch, "none", EXPIRED)
    with pytest.raises(Unavailable, match="the app's token, and a new one") as refused:
        async with connection.connect("pg.example", "shop"):
            pass
    assert (refused.value.code, len(given)) == ("TokenRefused", 2)


async def test_a_login_that_is_refused_for_another_reason_gets_no_new_token(
    app: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = opening(monkeypatch, "none", SERVER + 'FATAL:  role "id" does not exist')
    with pytest.raises(Blocked) as refused:
        async with connection.connect("pg.example", "shop"):
            pass
    assert (refused.value.code, given) == ("LoginRefused", ["t1"])
    assert "administrator" in refused.value.remedy


async def test_a_missing_token_is_no_refused_login(app: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_: str) -> AccessToken:
        raise NoToken("no endpoint")

    given = opening(monkeypatch, "t1", EXPIRED)
    monkeypatch.setattr(app, "get_token", none)
    with pytest.raises(Unavailable, match="got no token for PostgreSQL: no endpoint") as missing:
        async with connection.connect("pg.example", "shop"):
            pass
    assert (missing.value.code, given) == ("TokenMissing", [])


def test_who_holds_a_lock_is_told_with_since_when() -> None:
    error = Unavailable("Taking table s.t has to wait: canceling statement due to lock timeout", retry_after=3)
    since = datetime(2026, 3, 1, 12, 30, 5, 123, tzinfo=UTC)
    holders = [
        locks.Holder(17, "billing", "app", "idle in transaction", since),
        locks.Holder(18, "", "", "", None),
    ]
    told = locks.explained_by(error, holders)
    assert (told.code, told.retry_after) == ("TableLocked", 3)
    assert told.message == (
        "Taking table s.t has to wait: canceling statement due to lock timeout. The lock is held by session 17 of "
        "'billing' (role 'app', idle in transaction), since 2026-03-01T12:30:05+00:00; session 18 of an application "
        "without a name."
    )
    assert "pg_terminate_backend(17)" in told.remedy
    assert locks.explained_by(error, []) is error
    many = locks.explained_by(error, holders * 9)
    assert "and 13 more" in many.message
    assert many.message.count("session") == locks.MOST_NAMED
