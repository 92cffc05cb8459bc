"""Key Vault's secrets, as its data plane serves them: versions, tags, attributes, and soft delete with recovery.

Secrets are in memory only; on restart the vault is empty.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec

from local import topology
from local.cloud import tokens, web
from local.cloud.web import Answer, Call, Operation, Refusal, Service
from local.topology import Topology

# https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
VALUE_LIMIT = 25_600
TAG_LIMIT = 15
PAGE = 25
RETENTION_DAYS = 90


class Version(msgspec.Struct):
    """One version of a secret. Times are seconds since the epoch, as the service counts them."""

    version: str
    value: str
    attributes: dict[str, Any]
    tags: dict[str, str]
    content_type: str | None


class Secret(msgspec.Struct):
    """A secret: its versions, the current one last; `deleted` is when it was deleted, or None."""

    name: str
    versions: list[Version]
    deleted: int | None = None

    @property
    def current(self) -> Version:
        return self.versions[-1]


class SetRequest(msgspec.Struct, rename="camel"):
    """The body of a PUT."""

    value: str
    attributes: dict[str, Any] | None = None
    tags: dict[str, str] | None = None
    content_type: str | None = None


class UpdateRequest(msgspec.Struct, rename="camel"):
    """The body of a PATCH: what is absent stays as it is."""

    attributes: dict[str, Any] | None = None
    tags: dict[str, str] | None = None
    content_type: str | None = None


class Vault:
    """The secrets of one vault."""

    def __init__(self, url: str):
        self.url = url
        self.secrets: dict[str, Secret] = {}

    def operations(self) -> list[Operation]:
        return [
            Operation("GET", "/secrets", "GetSecrets", self.list),
            Operation("PUT", "/secrets/{name}", "SetSecret", self.set),
            Operation("GET", "/secrets/{name}", "GetSecret", self.get),
            Operation("PATCH", "/secrets/{name}", "UpdateSecret", self.update),
            Operation("DELETE", "/secrets/{name}", "DeleteSecret", self.delete),
            Operation("GET", "/secrets/{name}/versions", "GetSecretVersions", self.list_versions),
            Operation("GET", "/secrets/{name}/{version}", "GetSecret", self.get),
            Operation("PATCH", "/secrets/{name}/{version}", "UpdateSecret", self.update),
            Operation("GET", "/deletedsecrets", "GetDeletedSecrets", self.list_deleted),
            Operation("GET", "/deletedsecrets/{name}", "GetDeletedSecret", self.get_deleted),
            Operation("DELETE", "/deletedsecrets/{name}", "PurgeDeletedSecret", self.purge),
            Operation("POST", "/deletedsecrets/{name}/recover", "RecoverDeletedSecret", self.recover),
        ]

    async def set(self, call: Call) -> Answer:
        """Add a version; the name of a deleted secret stays taken until it is purged."""
        name, body = _name(call), _decode(call, SetRequest)
        _check(body.value, body.tags)
        secret = self.secrets.setdefault(name.lower(), Secret(name, []))
        if secret.deleted:
            raise Refusal(
                409, "Conflict",
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; "
                "in this state, the secret can only be recovered or purged.",
                inner="ObjectIsDeletedButRecoverable",
            )  # fmt: skip
        now = int(time.time())
        attributes = {"enabled": True} | _times(body.attributes) | {"created": now, "updated": now}
        version = Version(uuid.uuid4().hex, body.value, attributes, body.tags or {}, body.content_type)
        secret.versions.append(version)
        return Answer(body={"value": version.value} | self._item(secret, version))

    async def get(self, call: Call) -> Answer:
        secret, version = self._find(call)
        if not version.attributes["enabled"]:
            raise Refusal(
                403, "Forbidden", "Operation get is not allowed on a disabled secret.", inner="SecretDisabled"
            )
        return Answer(body={"value": version.value} | self._item(secret, version))

    async def update(self, call: Call) -> Answer:
        """Change the properties of a version, never its value."""
        secret, version = self._find(call)
        body = _decode(call, UpdateRequest)
        _check("", body.tags)
        version.attributes |= _times(body.attributes) | {"updated": int(time.time())}
        if body.tags is not None:
            version.tags = body.tags
        if body.content_type is not None:
            version.content_type = body.content_type
        return Answer(body=self._item(secret, version))

    async def list(self, call: Call) -> Answer:
        living = (secret for _, secret in sorted(self.secrets.items()) if not secret.deleted)
        return self._page(call, (self._item(secret, secret.current, versioned=False) for secret in living))

    async def list_versions(self, call: Call) -> Answer:
        """Every version; for a secret that doesn't exist the service answers with an empty page."""
        secret = self.secrets.get(_name(call).lower())
        versions = secret.versions if secret and not secret.deleted else []
        return self._page(call, (self._item(secret, version) for version in versions if secret))

    async def delete(self, call: Call) -> Answer:
        secret, _ = self._find(call)
        secret.deleted = int(time.time())
        return Answer(body=self._deleted_item(secret))

    async def list_deleted(self, call: Call) -> Answer:
        dead = (secret for _, secret in sorted(self.secrets.items()) if secret.deleted)
        return self._page(call, (self._deleted_item(secret) for secret in dead))

    async def get_deleted(self, call: Call) -> Answer:
        return Answer(body=self._deleted_item(self._find_deleted(call)))

    async def purge(self, call: Call) -> Answer:
        del self.secrets[self._find_deleted(call).name.lower()]
        return Answer(204)

    async def recover(self, call: Call) -> Answer:
        secret = self._find_deleted(call)
        secret.deleted = None
        return Answer(body=self._item(secret, secret.current, versioned=False))

    def _find(self, call: Call) -> tuple[Secret, Version]:
        secret = self.secrets.get(_name(call).lower())
        if secret and not secret.deleted:
            version_id = call.parameters.get("version") or secret.current.version
            for version in secret.versions:
                if version.version == version_id:
                    return secret, version
        raise _not_found("secret", call)

    def _find_deleted(self, call: Call) -> Secret:
        secret = self.secrets.get(_name(call).lower())
        if secret is None or not secret.deleted:
            raise _not_found("deleted secret", call)
        return secret

    def _item(self, secret: Secret, version: Version, versioned: bool = True) -> dict[str, Any]:
        recovery = {"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": RETENTION_DAYS}
        item = {
            "id": f"{self.url}/secrets/{secret.name}" + (f"/{version.version}" if versioned else ""),
            "attributes": version.attributes | recovery,
            "tags": version.tags,
        }
        return item | ({"contentType": version.content_type} if version.content_type else {})

    def _deleted_item(self, secret: Secret) -> dict[str, Any]:
        deleted = secret.deleted or 0
        return self._item(secret, secret.current) | {
            "recoveryId": f"{self.url}/deletedsecrets/{secret.name}",
            "deletedDate": deleted,
            "scheduledPurgeDate": deleted + RETENTION_DAYS * 86_400,
        }

    def _page(self, call: Call, items: Iterable[dict[str, Any]]) -> Answer:
        try:
            size, start = int(call.query.get("maxresults", PAGE)), int(call.query.get("$skiptoken", 0))
        except ValueError:
            size = start = -1
        if not 1 <= size <= PAGE or start < 0:
            raise Refusal(400, "BadParameter", f"maxresults must be a number from 1 to {PAGE}.")
        every = list(items)
        more = start + size < len(every)
        link = f"{self.url}{call.path}?api-version=7.6&maxresults={size}&$skiptoken={start + size}" if more else None
        return Answer(body={"value": every[start : start + size], "nextLink": link})


def _name(call: Call) -> str:
    name = call.parameters["name"]
    if not NAME.fullmatch(name):
        raise Refusal(400, "BadParameter", f"The request URI contains an invalid name: {name}")
    return name


def _decode[Body](call: Call, form: type[Body]) -> Body:
    try:
        return msgspec.convert(call.body, form)
    except msgspec.ValidationError as error:
        raise Refusal(400, "BadParameter", f"Property has invalid value: {error}") from None


def _check(value: str, tags: dict[str, str] | None) -> None:
    if len(value.encode()) > VALUE_LIMIT:
        raise Refusal(400, "BadParameter", f"The secret's value is longer than {VALUE_LIMIT} bytes.")
    if len(tags or {}) > TAG_LIMIT or any(max(len(key), len(text)) > 256 for key, text in (tags or {}).items()):
        raise Refusal(400, "BadParameter", f"A secret has at most {TAG_LIMIT} tags of at most 256 characters each.")


def _times(attributes: dict[str, Any] | None) -> dict[str, Any]:
    """The attributes that a caller may set."""
    return {key: value for key, value in (attributes or {}).items() if key in ("enabled", "nbf", "exp")}


def _not_found(what: str, call: Call) -> Refusal:
    name = "/".join(call.parameters[part] for part in ("name", "version") if call.parameters.get(part))
    return Refusal(404, "SecretNotFound", f"A {what} with (name/id) {name} was not found in this key vault.")


def _error(refusal: Refusal) -> dict[str, Any]:
    inner = {"innererror": {"code": refusal.more["inner"]}} if "inner" in refusal.more else {}
    return {"error": {"code": refusal.code, "message": refusal.message} | inner}


def service(stack: Topology) -> Service:
    """The stand-in. The challenge tells the SDK for which tenant and resource it needs a token."""
    challenge = (
        f'Bearer authorization="https://login.microsoftonline.com/{stack.tenant}", resource="{tokens.KEY_VAULT}"'
    )
    vault = Vault(stack.vault_url)
    return Service("keyvault", stack, vault.operations(), (tokens.KEY_VAULT,), _error, challenge)


async def main() -> None:
    """Serve until asked to stop."""
    await web.serve(service(topology.load()))


if __name__ == "__main__":
    web.run(main())
