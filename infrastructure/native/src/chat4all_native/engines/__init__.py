"""The real servers Chat4All stands on, one module each."""

from __future__ import annotations

from collections.abc import Mapping

from chat4all_native.engines.etcd import Etcd
from chat4all_native.engines.kafka import Kafka
from chat4all_native.engines.mongodb import Mongodb
from chat4all_native.engines.postgres import Postgres
from chat4all_native.engines.redis import Redis
from chat4all_native.engines.s3 import S3
from chat4all_native.layout import Layout
from chat4all_native.parts import Engine
from chat4all_native.ports import PortBlock

ENGINE_TYPES: tuple[type[Engine], ...] = (Kafka, Postgres, Mongodb, Redis, Etcd, S3)


def make_engines(layout: Layout, ports: PortBlock, settings: Mapping[str, Mapping[str, str]]) -> list[Engine]:
    """One object per engine; `settings` adds environment variables by engine name."""
    return [engine(layout, ports, settings.get(engine.name, {})) for engine in ENGINE_TYPES]
