"""`python -m chat4all_native.apply_topics`: brings any Kafka cluster to what `infrastructure/kafka/topics.yaml` says.

Reads CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS and CHAT4ALL_TOPICS__* from the environment; there are no arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from chat4all_native import topics
from chat4all_native.errors import StartFailed
from chat4all_native.layout import checkout


def main(arguments: Sequence[str]) -> int:
    """Apply the file; prints what was done. Returns 0, 1 when it did not work, 2 when it was called wrongly."""
    servers = os.environ.get("CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS")
    if arguments or not servers:
        sys.stderr.write(f"{__doc__}\nset CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS\n")
        return 2
    try:
        file = topics.read_topics(checkout() / topics.FILE)
        report = topics.apply(AdminClient({"bootstrap.servers": servers}), file, topics.TopicSettings())
    except ValidationError as error:
        names = ", ".join("CHAT4ALL_TOPICS__" + "__".join(map(str, problem["loc"])).upper() for problem in error.errors())
        sys.stderr.write(f"not a valid setting: {names}\n")
        return 2
    except StartFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{str(report) or 'nothing to change'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
