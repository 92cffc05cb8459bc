"""Two databases that others wrote, task queues full of functions and triggers: they come back as they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from psycopg import sql

from shared.platform.errors import Blocked
from tests.component.rights.conftest import Shop

SAMPLES = Path(__file__).with_name("samples")


@pytest.mark.parametrize("sample", ["procrastinate", "graphile_worker"])
async def test_a_database_of_others_is_prepared_and_released_in_every_way(
    sample: str, new_shop: Callable[..., Awaitable[Shop]]
) -> None:
    shop = await new_shop(18)
    owner = sql.Identifier(shop.app.owner)
    shop.as_superuser("DROP SCHEMA parts CASCADE", sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owner))
    with shop.app.connect(shop.app.owner) as link:
        for script in (SAMPLES / f"{sample}.sql").read_text().split("-- next file\n"):
            link.execute(script.encode())
    before = shop.dump()
    await shop.ensure("membership")
    assert [line for line in shop.dump() ^ before if shop.app.fabric not in line] == []
    await shop.ensure("ownership")
    assert shop.dump() != before
    await shop.release()
    assert shop.dump() == before
    shop.character("ownership")
    if sample == "procrastinate":  # triggers fire in its ON DELETE actions
        with pytest.raises(Blocked) as refused:
            await shop.ensure()
        assert refused.value.code == "OwnershipWouldHarm"
    else:
        await shop.ensure()
        assert (await shop.row()).rights == "ownership"
    await shop.release()
    assert shop.dump() == before
