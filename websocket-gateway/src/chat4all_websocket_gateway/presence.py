"""Who is connected here, told to the presence service; and changes of others' presence, shown to those who watch them.

A device is what a client calls itself; several sockets of one device are one. It is reported when it comes, when it changes
between in use and away, every 20 s while it is there, and once more when it has been gone for a moment. Devices that leave
because this gateway stops are not reported as gone: they come back elsewhere, and the presence service forgets them by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from chat4all.presence.v1 import presence_service_pb2 as presence_pb
from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway import metrics
from chat4all_websocket_gateway.connection import Connection
from chat4all_websocket_gateway.redis_subscriber import Handler
from chat4all_websocket_gateway.settings import PresenceSettings
from chat4all_websocket_gateway.wire import text_frame

log = structlog.get_logger()

UPDATES = b"presence:updates"
_GATHER_SECONDS = 0.1
_PER_CALL = 1000

Device = tuple[str, str, str]
Record = Callable[[Sequence[presence_pb.Heartbeat]], Awaitable[None]]


class Presence:
    """Devices of this gateway: tenant, user and device id → their sockets."""

    def __init__(self, settings: PresenceSettings, record: Record) -> None:
        self._settings = settings
        self._record = record
        self._devices: dict[Device, list[Connection]] = {}
        # Devices to report; their state is looked up when the report is made. Bounded by the devices that were ever here
        # and not yet reported as gone.
        self._dirty: dict[Device, None] = {}
        self._wake = asyncio.Event()
        self._leaving = False

    def leave_all(self) -> None:
        """This gateway stops: who goes from now on comes back elsewhere and is not reported as gone."""
        self._leaving = True

    def came(self, connection: Connection) -> None:
        """A socket was signed in."""
        device = _device(connection)
        self._devices.setdefault(device, []).append(connection)
        self._report(device)

    def changed(self, connection: Connection, *, away: bool) -> None:
        """The socket's device is in use, or no longer."""
        connection.away = away
        self._report(_device(connection))

    def left(self, connection: Connection) -> None:
        """The socket is gone."""
        device = _device(connection)
        sockets = self._devices.get(device)
        if sockets is None or connection not in sockets:
            return
        sockets.remove(connection)
        if sockets:
            self._report(device)
            return
        del self._devices[device]
        if not self._leaving:
            asyncio.get_running_loop().call_later(self._settings.offline_grace_seconds, self._report, device)

    def _report(self, device: Device) -> None:
        self._dirty[device] = None
        self._wake.set()

    def _state(self, device: Device) -> presence_pb.PresenceState:
        sockets = self._devices.get(device)
        if not sockets:
            return presence_pb.PRESENCE_STATE_OFFLINE
        if all(connection.away for connection in sockets):
            return presence_pb.PRESENCE_STATE_AWAY
        return presence_pb.PRESENCE_STATE_ONLINE

    async def run(self, stop: asyncio.Event) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report_changes(stop))
            tasks.create_task(self._report_all(stop))

    async def _report_all(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self._settings.heartbeat_seconds)
            for device in self._devices:
                self._dirty[device] = None
            self._wake.set()

    async def _report_changes(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            wait = 0.5
            while self._dirty and not await self._tell():
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def _tell(self) -> bool:
        devices = list(self._dirty)[:_PER_CALL]
        for device in devices:
            del self._dirty[device]
        heartbeats = [
            presence_pb.Heartbeat(tenant_id=device[0], user_id=device[1], device_id=device[2], state=self._state(device))
            for device in devices
        ]
        try:
            await self._record(heartbeats)
        except DomainError as error:
            log.warning("presence_not_reported", reason=error.reason, devices=len(devices))
            for device in devices:
                self._dirty.setdefault(device, None)
            return False
        return True


class Watchers:
    """Shows changes of presence to sockets that asked for them.

    Follows one channel while anybody watches. A line's fourth field, when it is not empty, is the tenant the user belongs to,
    and only sockets of that tenant are shown it.
    """

    def __init__(self, subscribe: Callable[[bytes, Handler], None], unsubscribe: Callable[[bytes], None]) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._watchers: dict[str, set[Connection]] = {}

    def watch(self, connection: Connection, user_ids: frozenset[str]) -> None:
        """Follow exactly these users from now on."""
        watched_any = bool(self._watchers)
        for user_id in connection.watching - user_ids:
            self._drop(connection, user_id)
        for user_id in user_ids:
            self._watchers.setdefault(user_id, set()).add(connection)
        connection.watching = user_ids
        if self._watchers and not watched_any:
            self._subscribe(UPDATES, self._receive)
        elif watched_any and not self._watchers:
            self._unsubscribe(UPDATES)

    def _drop(self, connection: Connection, user_id: str) -> None:
        watchers = self._watchers.get(user_id)
        if watchers is not None:
            watchers.discard(connection)
            if not watchers:
                del self._watchers[user_id]

    def _receive(self, payload: bytes) -> None:
        for line in payload.split(b"\n"):
            _, _, user_id, tenant_id, frame = line.split(b"\t", 4)
            watchers = self._watchers.get(user_id.decode())
            if not watchers:
                continue
            wire = text_frame(frame)
            for connection in watchers:
                user = connection.user
                if user is not None and (not tenant_id or user.tenant_id.encode() == tenant_id):
                    connection.write(wire)
                    metrics.deliveries.inc()


def _device(connection: Connection) -> Device:
    user = connection.owner
    return (user.tenant_id, user.user_id, connection.device_id)
