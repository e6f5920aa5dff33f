"""Bundled look-ups of ids."""

from __future__ import annotations

import asyncio

from unit.message.doubles import Store, draft, settle

from chat4all_message.id_lookup import IdLookup
from chat4all_runtime.ids import new_id


async def test_one_tick_is_one_query_and_so_is_what_arrives_meanwhile() -> None:
    """Questions are bundled by a tick of the loop and by the query under way, never by a timer."""
    store = Store()
    store.gate.clear()
    async with IdLookup(store) as lookup:
        first = [lookup.find([new_id()]) for _ in range(10)]
        await settle()
        second = [lookup.find([new_id(), new_id()]) for _ in range(10)]
        await settle()
        assert [len(query) for query in store.queries] == [10]
        store.gate.set()
        await asyncio.gather(*first, *second)
        assert [len(query) for query in store.queries] == [10, 20]


async def test_a_crowd_gets_more_queries_but_few() -> None:
    """Many waiting ids start a second and a third query beside the first, not more, each bounded in size."""
    store = Store()
    store.gate.clear()
    async with IdLookup(store, max_ids=50, crowd=20) as lookup:
        answers = []
        for _ in range(6):
            answers += [lookup.find([new_id()]) for _ in range(100)]
            await settle()
        assert [len(query) for query in store.queries] == [50, 50, 50]
        store.gate.set()
        await asyncio.gather(*answers)
        assert sum(len(query) for query in store.queries) == 600
        assert max(len(query) for query in store.queries) == 50


async def test_away_is_answered_at_once_and_probed() -> None:
    """After a failure nobody waits; the log's return is found out by itself."""
    store = Store()
    store.away = True
    async with IdLookup(store) as lookup:
        assert await lookup.find([new_id()]) is None
        assert lookup.find([new_id()]).done()
        assert len(store.queries) == 1
        lookup._probe_at = 0.0
        probe = lookup.find([new_id()])
        assert not probe.done()
        assert lookup.find([new_id()]).done()
        assert await probe is None
        assert len(store.queries) == 2
        store.away = False
        lookup._probe_at = 0.0
        known = draft(new_id(), new_id())
        store.put(known)
        assert await lookup.find([known.message_id]) == store.stored
        assert await lookup.find([new_id()]) == {}


async def test_answers_in_bounded_time() -> None:
    """A query that hangs is given up by those who wait, also by those who never got into a query."""
    store = Store()
    store.gate.clear()
    async with IdLookup(store, wait_seconds=0.05) as lookup:
        first = lookup.find([new_id()])
        await settle()
        second = lookup.find([new_id()])
        async with asyncio.timeout(2):
            assert await first is None
            assert await second is None


async def test_who_gives_up_harms_nobody() -> None:
    """A cancelled question leaves the others of its bundle alone."""
    store = Store()
    store.gate.clear()
    async with IdLookup(store) as lookup:
        first, second = lookup.find([new_id()]), lookup.find([new_id()])
        await settle()
        first.cancel()
        store.gate.set()
        assert await second == {}
