"""MongoDB clients that lose nothing: majority write concern with the journal, for services (async) and for workers (sync)."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from chat4all_runtime.settings import MongoSettings

Document = dict[str, Any]


def _options(settings: MongoSettings) -> dict[str, Any]:
    milliseconds = int(settings.timeout_seconds * 1000)
    return {
        "timeoutMS": milliseconds,
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": 2000,
        "retryWrites": True,
        "retryReads": True,
        "tz_aware": True,
        "maxPoolSize": 20,
    }


def durable() -> WriteConcern:
    """Acknowledged by a majority and written to the journal."""
    return WriteConcern(w="majority", j=True)


def open_async(settings: MongoSettings) -> tuple[AsyncMongoClient[Document], AsyncDatabase[Document]]:
    """A client and its database; close the client at the end. Connects on first use."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(settings.uri.get_secret_value(), **_options(settings))
    database = client.get_database(settings.database, write_concern=durable(), read_concern=ReadConcern("majority"))
    return client, database


def open_sync(settings: MongoSettings) -> tuple[MongoClient[Document], Database[Document]]:
    """The same for a worker's thread. Reads see what is on the primary: a writer must see its own unfinished past."""
    client: MongoClient[Document] = MongoClient(settings.uri.get_secret_value(), **_options(settings))
    database = client.get_database(settings.database, write_concern=durable(), read_concern=ReadConcern("local"))
    return client, database
