"""Settings: what is read, and what is said of a missing or malformed one."""

import pytest

from shared.platform.errors import InvalidSetting
from shared.platform.settings import load
from tests.unit.facts import ENVIRONMENT, OTHER_WORKSPACE, WORKSPACE, settings


def test_the_environment_is_read() -> None:
    found = settings(RESTART_POLICY="Window", RESTART_GRACE_HOURS="0.5", HISTORY_DAYS="7")
    assert found.allowed_workspaces == (WORKSPACE, OTHER_WORKSPACE)
    assert found.key_vault_url == "https://kv-mirrors.vault.azure.net"
    assert (found.restart_policy, found.restart_grace_hours, found.history_days) == ("window", 0.5, 7)
    assert found.tag_prefix == "fabric-mirror"


def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidSetting) as raised:
        load({})
    for name in ("AZURE_TENANT_ID", "IDENTITY_OBJECT_ID", "STORAGE_TABLE_ENDPOINT", "ALLOWED_WORKSPACES"):
        assert f"{name} is not set" in raised.value.message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AZURE_TENANT_ID", "x", "AZURE_TENANT_ID is 'x', but 'x' is not a GUID"),
        ("ALLOWED_SUBSCRIPTIONS", "x,y", "ALLOWED_SUBSCRIPTIONS is 'x,y', but 'x' is not a GUID"),
        ("RESTART_POLICY", "soon", "RESTART_POLICY is 'soon', but one of auto, now, window, approval was expected"),
        ("POLL_SECONDS", "fast", "POLL_SECONDS is 'fast', but a number was expected"),
        ("POLL_SECONDS", "0", "a number greater than zero was expected"),
        ("POLL_SECONDS", "nan", "a number greater than zero was expected"),
        ("HISTORY_DAYS", "1.5", "a number was expected"),
        ("KEY_VAULT_URL", "http://kv", "an https:// address was expected"),
        ("FABRIC_ROLE", "azure_x", "not beginning with pg_ or azure"),
        ("FABRIC_ROLE", "PG_x", "not beginning with pg_ or azure"),
        ("FABRIC_ROLE", 'x"y', "1 to 63 letters, digits, '_', '-', '.' and spaces were expected"),
        ("FABRIC_ROLE", "x" * 64, "1 to 63 letters"),
        ("FABRIC_CREDENTIALS", "Windows", "one of Basic, ServicePrincipal, WorkspaceIdentity was expected"),
        ("FABRIC_CREDENTIALS", "ServicePrincipal", "FABRIC_PRINCIPAL_OBJECT_ID, FABRIC_PRINCIPAL_SECRET not set"),
        ("FABRIC_PRINCIPAL_SECRET", "a/b", "the name of a Key Vault secret was expected"),
        ("MIRROR_NAME", "{server}", "a template that contains {database} was expected"),
        ("TAG_PREFIX", "a b", "letters, digits"),
        ("DEFAULT_WORKSPACE", "00000000-0000-0000-0000-0000000000ff", "is not on ALLOWED_WORKSPACES"),
    ],
)
def test_a_malformed_one_names_itself_and_what_was_expected(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        load({**ENVIRONMENT, name: value})
    assert message in raised.value.message
