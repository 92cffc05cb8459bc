"""Settings: what is read, and what is said of a missing or malformed one."""

import pytest

from shared.platform.errors import InvalidSetting
from shared.platform.settings import load, variables
from tests.unit.facts import ENVIRONMENT, OTHER_WORKSPACE, WORKSPACE, settings


def test_the_environment_is_read() -> None:
    found = settings(RESTART_POLICY="Window", RESTART_GRACE_HOURS="0.5", HISTORY_DAYS="7")
    assert found.scope.workspaces == (WORKSPACE, OTHER_WORKSPACE)
    assert found.services.key_vault == "https://kv-mirrors.vault.azure.net"
    assert (found.restart.policy, found.restart.grace_hours, found.health.history_days) == ("window", 0.5, 7)
    assert (found.scope.tag_prefix, found.scope.replicas) == ("fabric-mirror", True)


def test_a_setting_is_taken_in_the_forms_that_people_write() -> None:
    tenant = "{0A1B2C3D-0000-0000-0000-0000000000FF}"
    found = settings(AZURE_TENANT_ID=tenant, ALLOW_REPLICAS="FALSE", AZURE_CLOUD="azurecloud", RETENTION_DAYS=" 7 ")
    assert found.identity.tenant == "0a1b2c3d-0000-0000-0000-0000000000ff"
    assert (found.scope.replicas, found.services.cloud, found.fabric.retention_days) == (False, "AzureCloud", 7)


def test_no_two_settings_share_a_variable_and_each_lower_bound_is_told() -> None:
    names = [field.encode_name for field in variables()]
    assert len(names) == len(set(names))


def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidSetting) as raised:
        load({})
    for name in ("AZURE_TENANT_ID", "IDENTITY_OBJECT_ID", "STORAGE_TABLE_ENDPOINT", "ALLOWED_WORKSPACES"):
        assert f"{name} is not set" in raised.value.message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AZURE_TENANT_ID", "x", "AZURE_TENANT_ID is 'x', but a GUID was expected"),
        ("ALLOWED_SUBSCRIPTIONS", "x,y", "ALLOWED_SUBSCRIPTIONS is 'x,y', but 'x' is not a GUID"),
        ("RESTART_POLICY", "soon", "RESTART_POLICY is 'soon', but one of auto, now, window, approval was expected"),
        ("POLL_SECONDS", "fast", "POLL_SECONDS is 'fast', but a number greater than zero was expected"),
        ("POLL_SECONDS", "0", "a number greater than zero was expected"),
        ("POLL_SECONDS", "nan", "a number greater than zero was expected"),
        ("HISTORY_DAYS", "1.5", "a whole number greater than zero was expected"),
        ("KEY_VAULT_URL", "http://kv", "an https:// address was expected"),
        ("FABRIC_ROLE", "azure_x", "not beginning with pg_ or azure"),
        ("FABRIC_ROLE", "PG_x", "not beginning with pg_ or azure"),
        (
            "FABRIC_ROLE",
            'x"y',
            "1 to 63 letters, digits, '_', '-', '.' and spaces, not beginning with pg_ or azure_, was expected",
        ),
        ("FABRIC_ROLE", "x" * 64, "1 to 63 letters"),
        ("FABRIC_CREDENTIALS", "Windows", "one of Basic, ServicePrincipal, WorkspaceIdentity was expected"),
        ("FABRIC_CREDENTIALS", "ServicePrincipal", "FABRIC_PRINCIPAL_OBJECT_ID, FABRIC_PRINCIPAL_SECRET not set"),
        ("FABRIC_PRINCIPAL_SECRET", "a/b", "the name of a Key Vault secret was expected"),
        ("MIRROR_NAME", "{server}", "a template that contains {database} was expected"),
        ("TAG_PREFIX", "a b", "letters, digits"),
        ("ALLOW_REPLICAS", "perhaps", "ALLOW_REPLICAS is 'perhaps', but one of true, false was expected"),
        ("RETENTION_DAYS", "31", "a number of 1 to 30 days was expected"),
        ("POLL_SECONDS", "1000000", "a number greater than zero was expected"),
        ("NOTICE_TOPIC_ENDPOINT", "topic", "an https:// address was expected"),
        ("DEFAULT_WORKSPACE", "00000000-0000-0000-0000-0000000000ff", "is not on ALLOWED_WORKSPACES"),
    ],
)
def test_a_malformed_one_names_itself_and_what_was_expected(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        load({**ENVIRONMENT, name: value})
    assert message in raised.value.message
