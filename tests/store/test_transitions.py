"""Properties of the store on a real server: any order of arrival, the same end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given

from tests.store.histories import Step, histories, many, play

if TYPE_CHECKING:
    from tests.conftest import RedisServer


def test_every_history_leaves_the_store_as_the_reference_says(store: RedisServer) -> None:
    with store.client() as client:

        @many(300)
        @given(histories)
        def property_holds(history: list[Step]) -> None:
            play(client, history)

        property_holds()
