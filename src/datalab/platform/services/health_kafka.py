"""Whether a Kafka broker answers who the members of its cluster are."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from datalab.platform.services.health import TIMEOUT


def kafka(address: str) -> str:
    """Empty where the cluster shows a broker, else what is wrong."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": int(TIMEOUT * 1000)})
    try:
        found = client.list_topics(timeout=TIMEOUT)
    except KafkaException as error:
        return f"{address} does not answer: {error.args[0].str()}"
    return "" if found.brokers else f"{address} knows no broker yet"
