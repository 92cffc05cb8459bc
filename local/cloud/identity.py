"""The managed identity endpoint that App Service gives an app (api-version 2019-08-01).

Whoever knows a principal's identity header is that principal. Here it serves people and tools too, so that
every client can use the same unchanged credential.
"""

from __future__ import annotations

import uuid

from local import topology
from local.cloud import tokens, web
from local.cloud.web import Answer, Call, Operation, Refusal, Service
from local.topology import Principal, Topology

API_VERSION = "2019-08-01"
NOT_ASSIGNED = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
SELECTORS = ("client_id", "principal_id", "object_id", "mi_res_id")


class Identity:
    """Gives tokens of the stack's principals, each for one of the audiences that exist here."""

    def __init__(self, stack: Topology):
        self.stack = stack

    async def token(self, call: Call) -> Answer:
        """A token for `resource`, in the shape that App Service answers with."""
        who = self._asker(call)
        if call.query.get("api-version") != API_VERSION:
            given = call.query.get("api-version")
            raise Refusal(400, "", f"The api-version must be {API_VERSION}, not {given!r}.")
        resource = call.query.get("resource", "")
        if resource.rstrip("/") not in tokens.AUDIENCES:
            # What Entra ID says of a resource that the tenant doesn't have.
            raise Refusal(
                400, "", f"AADSTS500011: The resource principal named {resource} was not found in the tenant."
            )
        self._refuse_others(call, who)
        token, expires = tokens.mint(self.stack, who, resource.rstrip("/"))
        body = {"access_token": token, "expires_on": str(expires), "resource": resource, "token_type": "Bearer"}
        return Answer(body=body | {"client_id": who.client_id})

    def _asker(self, call: Call) -> Principal:
        header = next((value for name, value in call.headers.items() if name.lower() == "x-identity-header"), "")
        for principal in self.stack.principals.values():
            if header == principal.header:
                return principal
        raise Refusal(401, "", "The header X-IDENTITY-HEADER is missing or wrong.")

    def _refuse_others(self, call: Call, who: Principal) -> None:
        resource_id = (
            f"/subscriptions/{self.stack.subscription}/resourceGroups/{self.stack.resource_group}"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{who.name}"
        )
        own = {who.client_id, who.object_id, resource_id.lower()}
        if any(call.query[name].lower() not in own for name in SELECTORS if name in call.query):
            raise Refusal(400, "", NOT_ASSIGNED)


def _error(refusal: Refusal) -> dict[str, object]:
    return {"statusCode": refusal.status, "message": refusal.message, "correlationId": str(uuid.uuid4())}


async def main() -> None:
    """Serve until asked to stop. No token is asked for: the identity header takes its place."""
    stack = topology.load()
    operations = [Operation("GET", "/msi/token", "ManagedIdentity_GetToken", Identity(stack).token)]
    await web.serve(Service("identity", stack, operations, audiences=(), error_body=_error), secure=False)


if __name__ == "__main__":
    web.run(main())
