"""What one message costs in the router process, with the real engines: CPU and time per stage, on a topic of its own.

Fills a fresh topic with commands, then runs the router's own wiring on it in this process until all are stored. Needs the engines'
CHAT4ALL_* variables. Removes its topics and its database afterwards.

    python bench/router_batch.py --messages 20000 --conversations 500 --batch 500 [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import pstats
import resource
import threading
import time
from collections.abc import Sequence

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public there, not marked as exported
from google.protobuf.timestamp_pb2 import Timestamp

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_router import metrics
from chat4all_router.announcer_kafka import KafkaAnnouncer
from chat4all_router.domain.memory import Memory
from chat4all_router.events import RouterEvents
from chat4all_router.handler import RouterHandler
from chat4all_router.live_redis import RedisLive
from chat4all_router.settings import RouterSettings, Settings
from chat4all_router.store_mongodb import MongoMessageLog
from chat4all_router.usecases import RouteBatch
from chat4all_runtime import mongodb
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.events import EventCodec, IncomingRecord
from chat4all_runtime.ids import new_id
from chat4all_runtime.kafka_consumer import BatchConsumer, Rejected
from chat4all_runtime.kafka_producer import BlockingProducer
from chat4all_runtime.settings import MongoSettings

TEXT = "x" * 200
TENANT = "default"


class Watched:
    """Counts, stops the clock when all are done, and profiles on demand."""

    def __init__(self, handler: RouterHandler, expected: int, profile: bool) -> None:
        self._handler = handler
        self._left = expected
        self._profile = cProfile.Profile() if profile else None
        self.done = threading.Event()
        self.batches = 0
        self.first = 0.0
        self.cpu = 0.0
        self.thread_seconds = 0.0

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Handle and count."""
        if not self.batches:
            self.first, self.cpu = time.perf_counter(), _cpu()
            self.thread_seconds = time.thread_time()
        self.batches += 1
        if self._profile:
            self._profile.enable()
        rejected = self._handler.handle(records)
        if self._profile:
            self._profile.disable()
        self._left -= len(records)
        if self._left <= 0:
            self.cpu, self.first = _cpu() - self.cpu, time.perf_counter() - self.first
            self.thread_seconds = time.thread_time() - self.thread_seconds
            self.done.set()
        return rejected

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Pass on."""
        self._handler.assigned(partitions)

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Pass on."""
        self._handler.revoked(partitions)

    def show_profile(self) -> None:
        """Print it when it was asked for."""
        if self._profile:
            pstats.Stats(self._profile).sort_stats("tottime").print_stats(28)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _fill(settings: Settings, topic: str, messages: int, conversations: int) -> None:
    ids = [new_id() for _ in range(conversations)]
    codec = EventCodec("/bench")
    producer = BlockingProducer(settings.kafka)
    records = []
    for index in range(messages):
        conversation_id = ids[index % conversations]
        accepted = Timestamp()
        accepted.GetCurrentTime()
        event = message_events_pb2.MessageCommand(
            tenant_id=TENANT,
            conversation_id=conversation_id,
            message_id=new_id(),
            from_user_id=ids[0],
            kind="message",
            content=message_pb2.MessageContent(type="text", text=TEXT),
            accept_time=accepted,
            digest="0" * 64,
        )
        records.append(codec.encode(topic, conversation_id, event, TENANT, event_id=event.message_id))
        if len(records) == 5000:
            producer.send_and_wait(records)
            records = []
    producer.send_and_wait(records)


def main() -> None:
    """Fill, run, report."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--messages", type=int, default=20_000)
    arguments.add_argument("--conversations", type=int, default=500)
    arguments.add_argument("--batch", type=int, default=500)
    arguments.add_argument("--profile", action="store_true")
    options = arguments.parse_args()
    mark = new_id()[-12:]
    names = [f"bench.{mark}.{kind}" for kind in ("sent", "stored", "failed")]
    os.environ["CHAT4ALL_MONGO__DATABASE"] = f"bench_{mark}"
    settings = Settings()
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for future in admin.create_topics([NewTopic(name, 12, 1) for name in names]).values():
        future.result(30)
    client, database = mongodb.open_sync(MongoSettings(uri=settings.mongo.uri, database=settings.mongo.database))
    gc.set_threshold(50_000, 20, 50)
    try:
        _fill(settings, names[0], options.messages, options.conversations)
        messages = MongoMessageLog(database, window=1000)
        messages.prepare()
        own = RouterSettings()
        memory = Memory(own.recent_ids, own.known_conversations)
        live = RedisLive(settings.redis.url.get_secret_value(), own.redis_timeout_seconds)
        route = RouteBatch(
            messages,
            live,
            KafkaAnnouncer(BlockingProducer(settings.kafka)),
            RouterEvents(names[1], names[2]),
            memory,
            SystemClock(),
            stale_after_seconds=5.0,
        )
        watched = Watched(RouterHandler(route, memory), options.messages, options.profile)
        consumer = BatchConsumer(
            settings.kafka,
            group=f"bench-{mark}",
            instance=None,
            topics=[names[0]],
            handler=watched,
            on_stopped=lambda error: watched.done.set(),
            max_batch=options.batch,
        )
        consumer.start()
        watched.done.wait(120)
        consumer.request_stop()
        consumer.join(20)
        stored = database["messages"].estimated_document_count()
        count = options.messages
        print(f"{count} messages, {options.conversations} conversations, {watched.batches} batches, stored {stored}")
        print(
            f"{count / watched.first:,.0f}/s; process CPU {watched.cpu / count * 1e6:.1f} us, "
            f"thread CPU {watched.thread_seconds / count * 1e6:.1f} us a message"
        )
        for name in metrics.STAGES:
            total = metrics.stage_seconds.labels(name)._sum.get()
            print(f"  {name:8} {total / count * 1e6:7.1f} us of wall time a message")
        watched.show_profile()
    finally:
        client.drop_database(database.name)
        client.close()
        for future in admin.delete_topics(names).values():
            future.result(30)


if __name__ == "__main__":
    main()
