"""Owners of a partition that die, sleep and wake between any two steps: the log ends as if there had been one.

Random runs over a model of the store with both unique indexes. In every run several processes take batches, die at any point
(inserts half applied included), are overtaken in the middle of a step by a new owner, wake as zombies and go on. Message ids are
few, so that they are sent again, and are used in two conversations of different partitions at once.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict

import pytest
from unit.router.fake_log import Clock, FakeLog, Recorder, Unanswered, make_entry, make_route

from chat4all_router.domain.memory import Memory
from chat4all_router.domain.model import Entry
from chat4all_runtime.kafka_consumer import RetryLater

# More by CHAT4ALL_TEST_SEEDS for a long run.
SEEDS = int(os.environ.get("CHAT4ALL_TEST_SEEDS", "20"))
CONVERSATIONS = {0: ("c0", "c1"), 1: ("c2", "c3")}


class Died(BaseException):
    """kill -9."""


class World:
    """Two partitions, their committed offsets, and the processes that come and go."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.log = FakeLog()
        self.clock = Clock()
        self.announced: list[tuple[str, int, bool]] = []
        self.shown: dict[str, list[bytes]] = defaultdict(list)
        self.committed = {0: 0, 1: 0}
        self.owner: dict[int, object] = {0: None, 1: None}
        self.depth = 0
        self.faults = True
        self.written = {0: 0, 1: 0}  # how far Kafka's partitions are filled
        self.commands: dict[int, list[tuple[str, str, str]]] = {0: [], 1: []}
        ids = [f"m{number:02}" for number in range(24)]
        for partition, names in CONVERSATIONS.items():
            for _ in range(20):
                # Sometimes with other content, which is a conflict.
                digest = "d" if self.random.random() < 0.9 else "other"
                self.commands[partition].append((self.random.choice(ids), self.random.choice(names), digest))

    def chance(self, probability: float) -> bool:
        """Whether something goes wrong now."""
        return self.faults and self.random.random() < probability

    def start(self, partition: int) -> Process:
        """A process that gets the partition now; whoever had it becomes a zombie."""
        process = Process(self, partition)
        self.owner[partition] = process
        return process

    def run(self, partition: int, batches: int) -> None:
        """A fresh owner that works until it dies or has had so many batches."""
        self.written[partition] = min(20, self.written[partition] + self.random.randint(0, 6)) if self.faults else 20
        process = self.start(partition)
        for _ in range(batches):
            if not process.step():
                return


class Process:
    """One router with one partition."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.position = world.committed[partition]
        self.replay_end = world.written[partition]
        self.memory = Memory(1000, 1000)
        self.recorder = Recorder(self.hook)
        self.route = make_route(world.log, self.recorder, self.memory, world.clock, self.hook, self.choose)

    def hook(self, _: str) -> None:
        """Between two operations: nothing, death, or sleep while others work."""
        world = self.world
        if world.chance(0.02):
            raise Died
        if world.chance(0.1):
            world.written[self.partition] = min(20, world.written[self.partition] + 1)
        if world.depth < 3 and world.chance(0.06):
            world.depth += 1
            try:
                if world.chance(0.5):
                    world.run(self.partition, world.random.randint(1, 3))  # overtaken; this one is a zombie from here on
                else:
                    world.run(1 - self.partition, world.random.randint(1, 3))
            finally:
                world.depth -= 1

    def choose(self, count: int) -> set[int] | None:
        """Which documents an insert reaches before its answer is lost; None when all goes well."""
        if not self.world.chance(0.1):
            return None
        return {index for index in range(count) if self.world.random.random() < 0.5}

    def step(self) -> bool:
        """One batch, tried again as the consumer does; False when there is nothing left or the process died."""
        if self.world.owner[self.partition] is not self:
            return False  # the consumer proves its membership before a batch that follows a long sleep
        end = min(self.world.written[self.partition], self.position + self.world.random.randint(1, 8))
        if self.position >= end:
            return False
        try:
            for _ in range(30):
                try:
                    self.route([self.entry(offset) for offset in range(self.position, end)])
                    break
                except (Unanswered, RetryLater):
                    continue
            else:
                return False
        except Died:
            return False
        finally:
            self.world.announced += self.recorder.stored()
            self.recorder.records.clear()
        self.position = end
        if self.world.owner[self.partition] is self:  # the group takes no commit from anybody else
            self.world.committed[self.partition] = end
        return True

    def entry(self, offset: int) -> Entry:
        """The entry of the record at this offset."""
        message_id, conversation_id, digest = self.world.commands[self.partition][offset]
        return make_entry(
            message_id,
            conversation_id,
            offset=offset,
            partition=self.partition,
            digest=digest,
            redelivered=offset < self.replay_end,
        )


@pytest.mark.parametrize("block", range(20))
def test_one_log_whatever_happens_to_its_owners(block: int) -> None:
    """No loss, no hole, no double, the order of the log, every entry announced, and never under another number."""
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        world = World(seed)
        for _ in range(12):
            world.run(world.random.choice((0, 1)), world.random.randint(1, 4))
            world.clock.turn(world.random.choice((0, 1, 600)))
        world.faults = False
        for partition in (0, 1):
            world.run(partition, 1000)
        check(world, seed)


def check(world: World, seed: int) -> None:
    first_uses: dict[str, list[str]] = {}
    for partition, names in CONVERSATIONS.items():
        for name in names:
            numbers = world.log.numbers(name)
            assert numbers == list(range(1, len(numbers) + 1)), f"seed {seed}: hole in {name}: {numbers}"
            wanted = []
            for message_id, conversation_id, digest in world.commands[partition]:
                row = world.log.rows[message_id]
                if (
                    (row["conversation_id"], row["digest"]) == (name, digest)
                    and conversation_id == name
                    and message_id not in wanted
                ):
                    wanted.append(message_id)
            first_uses[name] = wanted
            assert world.log.order(name) == wanted, f"seed {seed}: order of {name}"
    sent = {command[0] for commands in world.commands.values() for command in commands}
    assert set(world.log.rows) == sent, f"seed {seed}: lost"
    numbers_told = defaultdict(set)
    for message_id, number, _ in world.announced:
        numbers_told[message_id].add(number)
    for message_id, row in world.log.rows.items():
        assert numbers_told[message_id] == {row["sequence_number"]}, (
            f"seed {seed}: {message_id} was told {numbers_told[message_id]}"
        )
