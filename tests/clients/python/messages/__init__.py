"""Messages that kafka-python does not have, as it would have them: with the fields that Apache Kafka 4.3 defines."""

from kafka.protocol.api_message import ApiMessage


class ConsumerGroupHeartbeatRequest(ApiMessage, load_json=__name__): pass
class ConsumerGroupHeartbeatResponse(ApiMessage, load_json=__name__): pass

class ConsumerGroupDescribeRequest(ApiMessage, load_json=__name__): pass
class ConsumerGroupDescribeResponse(ApiMessage, load_json=__name__): pass


__all__ = [
    'ConsumerGroupHeartbeatRequest', 'ConsumerGroupHeartbeatResponse',
    'ConsumerGroupDescribeRequest', 'ConsumerGroupDescribeResponse',
]
