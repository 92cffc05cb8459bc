"""What a failed login means, told from the text that libpq gives for it."""

from __future__ import annotations

import psycopg
import pytest

from shared.platform.errors import Blocked, MirrorError, NotFound, Unavailable
from shared.source import connection

SERVER = 'connection failed: connection to server at "10.0.0.4", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (SERVER + 'FATAL:  password authentication failed for user "me"', Blocked, "LoginRefused"),
        (SERVER + 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me"', Blocked, "LoginRefused"),
        (SERVER + "FATAL:  The access token has expired", Blocked, "LoginRefused"),
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
