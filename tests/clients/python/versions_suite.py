"""Every API that the broker advertises, at every version that both sides know, with kafka-python's own encoding of the
messages: requests that mean something, replies that are decoded to the last byte and looked at.

Also the shape of ApiVersions itself, which clients choose their versions from.
"""

import socket
import struct
import time
import uuid

import kafka.protocol.admin
import kafka.protocol.consumer
import kafka.protocol.metadata
import kafka.protocol.producer
from kafka.protocol.admin import *
from kafka.protocol.consumer import *
from kafka.protocol.metadata import *
from kafka.protocol.producer import *

import messages
from checks import Suite, equal, eventually
from messages import *
from raw import batch

suite = Suite("versions")
NO_ID = uuid.UUID(int=0)
MODULES = [kafka.protocol.admin, kafka.protocol.consumer, kafka.protocol.metadata, kafka.protocol.producer, messages]


class Wire:
    def __init__(self):
        self.correlation = 0
        self.connect()

    def connect(self):
        self.socket = socket.create_connection((suite.host, suite.port), 30)

    def call(self, request, version):
        kind = type(request).__name__.replace("Request", "Response")
        response = next(getattr(m, kind) for m in MODULES if hasattr(m, kind))
        request.API_VERSION = version
        self.correlation += 1
        request.with_header(self.correlation, "versions")
        self.socket.sendall(request.encode(version, header=True, framed=True))
        data = self.receive(struct.unpack(">i", self.receive(4))[0])
        reply = response.decode(data, version=version, header=True)
        equal(reply.header.correlation_id, self.correlation, "correlation id")
        # What the reply encodes to again must be as long as what was read: nothing was left over, nothing was missing.
        tagged = response.flexible_version_q(version) and kind != "ApiVersionsResponse"
        again = response.decode(data[5 if tagged else 4 :], version=version)
        again._header = None
        equal(len(again.encode(version)) + (5 if tagged else 4), len(data), f"length of {kind} v{version}")
        return reply

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                self.connect()
                raise AssertionError("the broker closed the connection")
            data += part
        return data


wire = Wire()
advertised = {
    k.api_key: (k.min_version, k.max_version)
    for k in wire.call(ApiVersionsRequest(client_software_name="versions", client_software_version="1"), 3).api_keys
}
covered = set()


def versions(request):
    """Those that both sides know."""
    low, high = advertised[request.API_KEY]
    covered.add(request.API_KEY)
    return range(max(low, request.min_version), min(high, request.max_version) + 1)


def make(partitions=1, name=None):
    name = name or suite.topic("t")
    topic = CreateTopicsRequest.CreatableTopic(
        name=name, num_partitions=partitions, replication_factor=1, assignments=[], configs=[]
    )
    reply = wire.call(CreateTopicsRequest(topics=[topic], timeout_ms=10000, validate_only=False), 7)
    equal(reply.topics[0].error_code, 0, "creation")
    eventually(lambda: metadata(name).error_code == 0, "metadata of the new topic")
    eventually(lambda: offsets(7, name, -1).error_code == 0, "a leader that knows of it")
    return name, metadata(name).topic_id


def metadata(name):
    topic = MetadataRequest.MetadataRequestTopic(topic_id=NO_ID, name=name)
    return wire.call(MetadataRequest(topics=[topic], allow_auto_topic_creation=False), 12).topics[0]


def send(name, topic_id, version, value=b"v", acks=-1):
    data = ProduceRequest.TopicProduceData
    part = data.PartitionProduceData(index=0, records=batch([value], now_ms=int(time.time() * 1000)))
    topic = data(name=name, topic_id=topic_id, partition_data=[part])
    request = ProduceRequest(transactional_id=None, acks=acks, timeout_ms=10000, topic_data=[topic])
    reply = wire.call(request, version)
    return reply.responses[0].partition_responses[0]


@suite
def the_advertised_versions_are_kafkas():
    kafkas = {0: (0, 13), 1: (4, 18), 2: (1, 11), 3: (0, 13), 10: (0, 6), 18: (0, 5), 19: (2, 7), 20: (1, 6), 21: (0, 2),
              22: (0, 6), 23: (2, 4), 32: (1, 4), 33: (0, 2), 35: (1, 5), 37: (0, 3), 43: (0, 2), 44: (0, 1), 55: (0, 2),
              60: (0, 2), 68: (0, 1), 69: (0, 1), 75: (0, 0)}
    for key, (low, high) in kafkas.items():
        assert key in advertised, f"API {key} is not advertised"
        equal(advertised[key][0], low, f"lowest version of API {key}")
        assert advertised[key][1] <= high, f"API {key} up to {advertised[key][1]}"


@suite
def api_versions():
    for v in versions(ApiVersionsRequest):
        reply = wire.call(ApiVersionsRequest(client_software_name="versions", client_software_version="1"), v)
        equal(reply.error_code, 0)
        equal({k.api_key: (k.min_version, k.max_version) for k in reply.api_keys}, advertised, f"v{v}")


@suite
def topic_metadata():
    name, topic_id = make(3)
    for v in versions(MetadataRequest):
        topic = MetadataRequest.MetadataRequestTopic(topic_id=NO_ID, name=name)
        reply = wire.call(MetadataRequest(topics=[topic], allow_auto_topic_creation=False), v)
        (found,) = reply.topics
        equal((found.error_code, found.name, len(found.partitions)), (0, name, 3), f"v{v}")
        if v >= 10:
            equal(found.topic_id, topic_id, f"id in v{v}")
        if v >= 12:
            topic = MetadataRequest.MetadataRequestTopic(topic_id=topic_id, name=None)
            equal(wire.call(MetadataRequest(topics=[topic]), v).topics[0].name, name, "name by id")
            topic = MetadataRequest.MetadataRequestTopic(topic_id=uuid.uuid4(), name=None)
            equal(wire.call(MetadataRequest(topics=[topic]), v).topics[0].error_code, 100, "an unknown id")
        everything = wire.call(MetadataRequest(topics=[] if v == 0 else None), v)
        assert name in [t.name for t in everything.topics]
        if v > 0:
            equal(list(wire.call(MetadataRequest(topics=[]), v).topics), [], "no topics asked for")


@suite
def produce_and_fetch():
    name, topic_id = make()
    offset = 0
    for v in versions(ProduceRequest):
        if v < 3:
            continue
        for acks in [1, -1]:
            sent = send(name, topic_id, v, b"v%d" % v, acks)
            equal((sent.error_code, sent.base_offset), (0, offset), f"produce v{v}")
            offset += 1
        if v >= 13:
            equal(send(name, uuid.uuid4(), v).error_code, 100, "an unknown topic id")
    for v in versions(FetchRequest):
        reply = read(name, topic_id, v, 0)
        equal((reply.error_code, reply.high_watermark), (0, offset), f"fetch v{v}")
        first, length = struct.unpack(">qi", bytes(reply.records)[:12])
        equal((first, length > 50), (0, True), f"records in v{v}")
        equal(read(name, topic_id, v, offset + 1).error_code, 1, f"out of range in v{v}")
        if v >= 9:
            equal(read(name, topic_id, v, 0, leader_epoch=1000).error_code, 75, f"a future leader epoch in v{v}")
        if v >= 13:
            equal(read(name, uuid.uuid4(), v, 0).error_code, 100, "an unknown topic id")


def fetch(v, topics, session=(0, -1), forgotten=(), through=None):
    return (through or wire).call(
        FetchRequest(replica_id=-1, max_wait_ms=50, min_bytes=1, max_bytes=1 << 20, isolation_level=0,
                     session_id=session[0], session_epoch=session[1], topics=topics,
                     forgotten_topics_data=list(forgotten), rack_id=""), v)


def fetch_topic(name, topic_id, offset, leader_epoch=-1):
    part = FetchRequest.FetchTopic.FetchPartition(
        partition=0, current_leader_epoch=leader_epoch, fetch_offset=offset, last_fetched_epoch=-1, log_start_offset=-1,
        partition_max_bytes=1 << 20)
    return FetchRequest.FetchTopic(topic=name, topic_id=topic_id, partitions=[part])


def read(name, topic_id, v, offset, leader_epoch=-1):
    reply = fetch(v, [fetch_topic(name, topic_id, offset, leader_epoch)])
    return reply.responses[0].partitions[0]


@suite
def fetch_sessions():
    name, topic_id = make()
    other, other_id = make()
    for v in [v for v in versions(FetchRequest) if v >= 7]:
        high = read(name, topic_id, v, 0).high_watermark
        made = fetch(v, [fetch_topic(name, topic_id, high), fetch_topic(other, other_id, 0)], (0, 0))
        equal((made.error_code, len(made.responses)), (0, 2), f"a new session in v{v}")
        assert made.session_id > 0
        equal(len(fetch(v, [], (made.session_id, 1)).responses), 0, "nothing new")
        send(name, topic_id, 13)
        news = fetch(v, [], (made.session_id, 2))
        equal([len(t.partitions) for t in news.responses], [1], "only what changed")
        equal(news.responses[0].partitions[0].high_watermark, high + 1)
        send(name, topic_id, 13)
        elsewhere = fetch(v, [], (made.session_id, 3), through=Wire())
        equal(elsewhere.responses[0].partitions[0].high_watermark, high + 2, "from another connection")
        equal(fetch(v, [], (made.session_id, 9)).error_code, 71, "a wrong epoch")
        equal(fetch(v, [], (made.session_id + 1, 1)).error_code, 70, "an unknown session")
        equal(fetch(v, [], (made.session_id, -1)).session_id, 0, "the session's end")


@suite
def a_session_of_topic_ids_knows_its_topics_by_name():
    for v in [v for v in versions(FetchRequest) if v >= 13]:
        name, old_id = make()
        session = fetch(v, [fetch_topic(name, old_id, 0)], (0, 0)).session_id
        epoch = 0

        def error():
            nonlocal epoch
            epoch += 1
            news = fetch(v, [], (session, epoch)).responses
            return news[0].partitions[0].error_code if news else 0

        state = DeleteTopicsRequest.DeleteTopicState(name=name, topic_id=NO_ID)
        wire.call(DeleteTopicsRequest(timeout_ms=10000, topics=[state]), 6)
        eventually(lambda: error() == 3, f"UNKNOWN_TOPIC_OR_PARTITION in v{v}")
        make(name=name)
        eventually(lambda: error() == 103, f"INCONSISTENT_TOPIC_ID in v{v}")
        equal(read(name, old_id, v, 0).error_code, 100, f"without a session in v{v}")


@suite
def list_offsets():
    name, topic_id = make()
    send(name, topic_id, 13)
    for v in versions(ListOffsetsRequest):
        kinds = {-1: 1, -2: 0, 0: 0, 2**60: -1}
        if v >= 7:
            kinds[-3] = 0
        if v >= 8:
            kinds[-4] = 0
        for at, wanted in kinds.items():
            reply = offsets(v, name, at)
            equal((reply.error_code, reply.offset), (0, wanted), f"offset at {at} in v{v}")
        if v >= 4:
            equal(offsets(v, name, -1, leader_epoch=1000).error_code, 75, f"a future leader epoch in v{v}")
        equal(offsets(v, suite.topic("no"), -1).error_code, 3, "an unknown topic")


def offsets(v, name, at, leader_epoch=-1):
    topic = ListOffsetsRequest.ListOffsetsTopic
    part = topic.ListOffsetsPartition(partition_index=0, current_leader_epoch=leader_epoch, timestamp=at)
    request = ListOffsetsRequest(
        replica_id=-1, isolation_level=0, topics=[topic(name=name, partitions=[part])], timeout_ms=5000)
    return wire.call(request, v).topics[0].partitions[0]


@suite
def offset_for_leader_epoch():
    name, topic_id = make()
    send(name, topic_id, 13)
    epoch = metadata(name).partitions[0].leader_epoch
    topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
    for v in versions(OffsetForLeaderEpochRequest):
        for asked, current, wanted in [(epoch, epoch, (0, epoch, 1)), (1000, -1, (0, -1, -1)), (0, 1000, (75, -1, -1))]:
            part = topic.OffsetForLeaderPartition(partition=0, current_leader_epoch=current, leader_epoch=asked)
            reply = wire.call(OffsetForLeaderEpochRequest(replica_id=-1, topics=[topic(topic=name, partitions=[part])]), v)
            found = reply.topics[0].partitions[0]
            equal((found.error_code, found.leader_epoch, found.end_offset), wanted, f"epoch {asked} in v{v}")


@suite
def create_and_delete_topics():
    topic = CreateTopicsRequest.CreatableTopic
    for v in versions(CreateTopicsRequest):
        name = suite.topic("create")
        config = topic.CreatableTopicConfig(name="retention.ms", value="1000000")
        made = topic(name=name, num_partitions=2, replication_factor=1, assignments=[], configs=[config])
        wanted = [0, 0, 36]
        for only_validate, error in zip([True, False, False], wanted):
            reply = wire.call(CreateTopicsRequest(topics=[made], timeout_ms=10000, validate_only=only_validate), v)
            equal(reply.topics[0].error_code, error, f"creation in v{v}")
            if error == 0 and v >= 5:
                equal((reply.topics[0].num_partitions, reply.topics[0].replication_factor), (2, 1))
                assert len(reply.topics[0].configs) > 20
        eventually(lambda: metadata(name).error_code == 0, "metadata of the new topic")
    state = DeleteTopicsRequest.DeleteTopicState
    for v in versions(DeleteTopicsRequest):
        name, topic_id = make()
        if v >= 6:
            ways = [state(name=None, topic_id=topic_id)], [state(name=None, topic_id=topic_id)]
        else:
            ways = [[name], [name]]
        for way, error in zip(ways, [0, 100 if v >= 6 else 3]):
            key = {"topics": way} if v >= 6 else {"topic_names": way}
            reply = wire.call(DeleteTopicsRequest(timeout_ms=10000, **key), v)
            equal(reply.responses[0].error_code, error, f"deletion in v{v}")


@suite
def create_partitions():
    topic = CreatePartitionsRequest.CreatePartitionsTopic
    for v in versions(CreatePartitionsRequest):
        name, _ = make()
        for count, error in [(3, 0), (2, 37)]:
            more = topic(name=name, count=count, assignments=None)
            reply = wire.call(CreatePartitionsRequest(topics=[more], timeout_ms=10000, validate_only=False), v)
            equal(reply.results[0].error_code, error, f"v{v}")


@suite
def delete_records():
    topic = DeleteRecordsRequest.DeleteRecordsTopic
    for v in versions(DeleteRecordsRequest):
        name, topic_id = make()
        send(name, topic_id, 13)
        for offset, wanted in [(1, (0, 1)), (5, (1, -1)), (-1, (0, 1))]:
            part = topic.DeleteRecordsPartition(partition_index=0, offset=offset)
            reply = wire.call(DeleteRecordsRequest(topics=[topic(name=name, partitions=[part])], timeout_ms=10000), v)
            found = reply.topics[0].partitions[0]
            equal((found.error_code, found.low_watermark), wanted, f"v{v}")


@suite
def configs():
    name, _ = make()
    asked = DescribeConfigsRequest.DescribeConfigsResource
    old = AlterConfigsRequest.AlterConfigsResource
    new = IncrementalAlterConfigsRequest.AlterConfigsResource

    def described(v, key):
        resource = asked(resource_type=2, resource_name=name, configuration_keys=[key])
        reply = wire.call(DescribeConfigsRequest(resources=[resource], include_synonyms=True, include_documentation=True), v)
        equal(reply.results[0].error_code, 0, f"describe v{v}")
        (entry,) = reply.results[0].configs
        return entry

    for v in versions(DescribeConfigsRequest):
        equal(described(v, "segment.bytes").value, "1073741824", f"v{v}")
        if v >= 3:
            assert described(v, "segment.bytes").documentation, "documentation"
    for v in versions(AlterConfigsRequest):
        entry = old.AlterableConfig(name="retention.ms", value=f"70000{v}")
        resource = old(resource_type=2, resource_name=name, configs=[entry])
        equal(wire.call(AlterConfigsRequest(resources=[resource], validate_only=False), v).responses[0].error_code, 0)
        eventually(lambda: described(4, "retention.ms").value == f"70000{v}", f"altered by v{v}")
    for v in versions(IncrementalAlterConfigsRequest):
        entry = new.AlterableConfig(name="retention.ms", config_operation=0, value=f"80000{v}")
        resource = new(resource_type=2, resource_name=name, configs=[entry])
        reply = wire.call(IncrementalAlterConfigsRequest(resources=[resource], validate_only=True), v)
        equal(reply.responses[0].error_code, 0, "only validated")
        reply = wire.call(IncrementalAlterConfigsRequest(resources=[resource], validate_only=False), v)
        equal(reply.responses[0].error_code, 0, "altered")
        eventually(lambda: described(4, "retention.ms").value == f"80000{v}", f"altered by v{v}")


@suite
def config_resources():
    name, _ = make()
    for v in versions(ListConfigResourcesRequest):
        reply = wire.call(ListConfigResourcesRequest(resource_types=[2] if v >= 1 else []), v)
        equal(reply.error_code, 0, f"v{v}")
        # The first version knows nothing but client metrics.
        equal(name in [r.resource_name for r in reply.config_resources], v >= 1, f"v{v}")


@suite
def config_resources():
    name, _ = make()
    for v in versions(ListConfigResourcesRequest):
        key = {"resource_types": [2]} if v >= 1 else {}
        reply = wire.call(ListConfigResourcesRequest(**key), v)
        equal(reply.error_code, 0, f"v{v}")
        assert v == 0 or name in [r.resource_name for r in reply.config_resources]


@suite
def producer_ids():
    seen = set()
    for v in versions(InitProducerIdRequest):
        request = InitProducerIdRequest(
            transactional_id=None, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1)

        def got():
            reply = wire.call(request, v)
            # Apache Kafka says COORDINATOR_LOAD_IN_PROGRESS until it has fetched its first block of ids.
            assert reply.error_code in [0, 14], reply.error_code
            return reply if reply.error_code == 0 else None

        reply = eventually(got, "a producer id")
        equal(reply.producer_epoch, 0, f"epoch in v{v}")
        assert reply.producer_id not in seen
        seen.add(reply.producer_id)


@suite
def cluster_quorum_and_log_dirs():
    name, topic_id = make()
    send(name, topic_id, 13)
    for v in versions(DescribeClusterRequest):
        reply = wire.call(DescribeClusterRequest(include_cluster_authorized_operations=False, endpoint_type=1), v)
        equal((reply.error_code, [(b.host, b.port) for b in reply.brokers]), (0, [(suite.host, suite.port)]), f"v{v}")
        node = reply.controller_id
    topic = DescribeQuorumRequest.TopicData
    for v in versions(DescribeQuorumRequest):
        asked = topic(topic_name="__cluster_metadata", partitions=[topic.PartitionData(partition_index=0)])
        found = wire.call(DescribeQuorumRequest(topics=[asked]), v).topics[0].partitions[0]
        equal((found.error_code, found.leader_id, [r.replica_id for r in found.current_voters]), (0, node, [node]), f"v{v}")
    for v in versions(DescribeLogDirsRequest):
        reply = wire.call(DescribeLogDirsRequest(topics=None), v)
        (folder,) = reply.results
        (found,) = [t for t in folder.topics if t.name == name]
        assert found.partitions[0].partition_size > 60, found
        if v >= 4:
            assert folder.total_bytes > folder.usable_bytes > 0
    for v in versions(AlterReplicaLogDirsRequest):
        request = AlterReplicaLogDirsRequest
        dirs = [
            request.AlterReplicaLogDir(
                path=path, topics=[request.AlterReplicaLogDir.AlterReplicaLogDirTopic(name=name, partitions=[partition])])
            for path, partition in [(folder.log_dir, 0), ("/nowhere", 1), (folder.log_dir, 9)]
        ]
        (found,) = wire.call(request(dirs=dirs), v).results
        equal((found.topic_name, [p.error_code for p in found.partitions]), (name, [0, 57, 3]), f"v{v}")
    for v in versions(DescribeTopicPartitionsRequest):
        request = DescribeTopicPartitionsRequest
        reply = wire.call(
            request(topics=[request.TopicRequest(name=name)], response_partition_limit=10, cursor=None), v)
        equal((reply.topics[0].error_code, reply.topics[0].topic_id, reply.next_cursor), (0, topic_id, None))


@suite
def elections():
    name, _ = make()
    for v in versions(ElectLeadersRequest):
        asked = ElectLeadersRequest.TopicPartitions(topic=name, partitions=[0, 9])
        reply = wire.call(ElectLeadersRequest(election_type=0, topic_partitions=[asked], timeout_ms=10000), v)
        found = [p.error_code for p in reply.replica_election_results[0].partition_result]
        equal(found, [84, 3], f"v{v}")


@suite
def reassignments():
    name, _ = make()
    (node,) = [b.node_id for b in wire.call(MetadataRequest(topics=[]), 5).brokers]
    for v in versions(AlterPartitionReassignmentsRequest):
        topic = AlterPartitionReassignmentsRequest.ReassignableTopic
        wanted = [(0, [node]), (0, [node + 1]), (0, None), (9, [node])]
        partitions = [topic.ReassignablePartition(partition_index=index, replicas=replicas) for index, replicas in wanted]
        asked = AlterPartitionReassignmentsRequest(topics=[topic(name=name, partitions=partitions)], timeout_ms=10000)
        reply = wire.call(asked, v)
        found = [p.error_code for p in reply.responses[0].partitions]
        equal((reply.error_code, found), (0, [0, 39, 85, 3]), f"v{v}")
    for v in versions(ListPartitionReassignmentsRequest):
        reply = wire.call(ListPartitionReassignmentsRequest(topics=None, timeout_ms=10000), v)
        equal((reply.error_code, reply.topics), (0, []), f"v{v}")


def with_coordinator(group):
    """The first group of all may find nobody yet."""
    def is_found():
        reply = wire.call(FindCoordinatorRequest(key_type=0, coordinator_keys=[group]), 4)
        return reply.coordinators[0].error_code == 0
    eventually(is_found, "a coordinator")
    # It may still be loading.
    eventually(lambda: committed(2, group, "nothing") is not None, "a coordinator that answers")
    return group


@suite
def coordinators():
    with_coordinator("g")
    for v in versions(FindCoordinatorRequest):
        key = {"coordinator_keys": ["g"]} if v >= 4 else {"key": "g"}
        reply = wire.call(FindCoordinatorRequest(key_type=0, **key), v)
        found = reply.coordinators[0] if v >= 4 else reply
        equal((found.error_code, found.port), (0, suite.port), f"v{v}")


def named(v, name):
    """How requests about offsets name a topic: from version 10 on by its id, which is made up if there is none."""
    if v < 10:
        return {"name": name}
    topic_id = metadata(name).topic_id
    return {"topic_id": uuid.uuid4() if topic_id == NO_ID else topic_id}


def commit(v, group, name, offset, member="", generation=-1):
    topic = OffsetCommitRequest.OffsetCommitRequestTopic
    part = topic.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_leader_epoch=-1, committed_metadata="note")
    request = OffsetCommitRequest(
        group_id=group, generation_id_or_member_epoch=generation, member_id=member, group_instance_id=None,
        retention_time_ms=-1, topics=[topic(partitions=[part], **named(v, name))])
    return wire.call(request, v).topics[0].partitions[0].error_code


def committed(v, group, name):
    """The offset of partition 0, -1 if there is none; nothing when the coordinator can't tell."""
    topic = {"partition_indexes": [0], **named(v, name)}
    if v >= 8:
        of_group = OffsetFetchRequest.OffsetFetchRequestGroup
        topics = [of_group.OffsetFetchRequestTopics(**topic)]
        asked = {"groups": [of_group(group_id=group, member_id=None, member_epoch=-1, topics=topics)]}
    else:
        asked = {"group_id": group, "topics": [OffsetFetchRequest.OffsetFetchRequestTopic(**topic)]}
    reply = wire.call(OffsetFetchRequest(require_stable=True, **asked), v)
    found = reply.groups[0] if v >= 8 else reply
    if v >= 2 and found.error_code != 0:
        return None
    return found.topics[0].partitions[0].committed_offset


@suite
def offsets_of_groups():
    name, _ = make()
    group = with_coordinator(suite.topic("offsets"))
    for v in versions(OffsetCommitRequest):
        equal(commit(v, group, name, 100 + v), 0, f"commit v{v}")
        equal(committed(5, group, name), 100 + v, f"commit v{v}")
        equal(commit(v, group, "nothing", 1), 100 if v >= 10 else 3, f"unknown topic in v{v}")
        missing = 69 if v >= 9 else 22
        equal(commit(v, suite.topic("missing"), name, 1, "m", 1), missing, f"unknown group in v{v}")
    equal(commit(8, group, name, 5), 0)
    for v in versions(OffsetFetchRequest):
        equal(committed(v, group, name), 5, f"fetch v{v}")
        equal(committed(v, suite.topic("missing"), name), -1, f"unknown group in v{v}")
    for v in versions(OffsetDeleteRequest):
        topic = OffsetDeleteRequest.OffsetDeleteRequestTopic
        parts = [topic.OffsetDeleteRequestPartition(partition_index=p) for p in [0, 1]]
        reply = wire.call(OffsetDeleteRequest(group_id=group, topics=[topic(name=name, partitions=parts)]), v)
        found = {p.partition_index: p.error_code for p in reply.topics[0].partitions}
        equal((reply.error_code, found), (0, {0: 0, 1: 3}), f"delete v{v}")
        equal(committed(5, group, name), -1, f"deleted in v{v}")


def join(v, group, member=""):
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="p", metadata=b"meta")
    request = JoinGroupRequest(
        group_id=group, session_timeout_ms=30000, rebalance_timeout_ms=30000, member_id=member, group_instance_id=None,
        protocol_type="test", protocols=[protocol], reason="because")
    return wire.call(request, v)


def joined(v, group):
    reply = join(v, group)
    if v >= 4:
        # A member has to come back with the id that it was given.
        equal(reply.error_code, 79, f"join v{v}")
        reply = join(v, group, reply.member_id)
    equal((reply.error_code, reply.leader, len(reply.members)), (0, reply.member_id, 1), f"join v{v}")
    return reply.member_id, reply.generation_id


def synced(v, group, member, generation):
    assignment = SyncGroupRequest.SyncGroupRequestAssignment(member_id=member, assignment=b"all")
    request = SyncGroupRequest(
        group_id=group, generation_id=generation, member_id=member, group_instance_id=None, protocol_type="test",
        protocol_name="p", assignments=[assignment])
    reply = wire.call(request, v)
    equal((reply.error_code, bytes(reply.assignment)), (0, b"all"), f"sync v{v}")


def left(v, group, member):
    leaving = LeaveGroupRequest.MemberIdentity(member_id=member, group_instance_id=None, reason=None)
    asked = {"members": [leaving]} if v >= 3 else {"member_id": member}
    reply = wire.call(LeaveGroupRequest(group_id=group, **asked), v)
    return reply.members[0].error_code if v >= 3 and reply.error_code == 0 else reply.error_code


@suite
def members_of_groups():
    name, _ = make()
    for v in versions(JoinGroupRequest):
        group = with_coordinator(suite.topic(f"join-{v}"))
        member, generation = joined(v, group)
        synced(3, group, member, generation)
        equal(left(3, group, member), 0)
    group = with_coordinator(suite.topic("member"))
    member, generation = joined(9, group)
    for v in versions(SyncGroupRequest):
        synced(v, group, member, generation)
    for v in versions(HeartbeatRequest):
        beat = HeartbeatRequest(group_id=group, generation_id=generation, member_id=member, group_instance_id=None)
        equal(wire.call(beat, v).error_code, 0, f"heartbeat v{v}")
        beat = HeartbeatRequest(group_id=group, generation_id=generation, member_id="nobody", group_instance_id=None)
        equal(wire.call(beat, v).error_code, 25, f"heartbeat of nobody in v{v}")
    for v in [v for v in versions(OffsetCommitRequest) if v < 10]:
        equal(commit(v, group, name, v, member, generation), 0, f"commit v{v}")
        equal(commit(v, group, name, v, member, generation + 1), 22, f"commit of another generation in v{v}")
        equal(commit(v, group, name, v), 25, f"commit of nobody in v{v}")
    equal(left(3, group, member), 0)
    for v in versions(LeaveGroupRequest):
        member, _ = joined(5, group)
        equal(left(v, group, member), 0, f"leave v{v}")
        equal(left(v, group, member), 25, f"leave twice in v{v}")


@suite
def groups_are_described_listed_and_deleted():
    group = with_coordinator(suite.topic("seen"))
    member, generation = joined(9, group)
    synced(5, group, member, generation)
    for v in versions(DescribeGroupsRequest):
        asked = DescribeGroupsRequest(groups=[group, "missing"], include_authorized_operations=True)
        found, missing = sorted(wire.call(asked, v).groups, key=lambda g: g.group_id != group)
        seen = (found.error_code, found.group_state, found.protocol_type, found.protocol_data)
        equal(seen, (0, "Stable", "test", "p"), f"describe v{v}")
        (described,) = found.members
        seen = (described.member_id, described.client_id, bytes(described.member_metadata),
                bytes(described.member_assignment))
        equal(seen, (member, "versions", b"meta", b"all"), f"member in v{v}")
        equal((missing.error_code, missing.group_state), (69 if v >= 6 else 0, "Dead"), f"missing in v{v}")
    for v in versions(ListGroupsRequest):
        filters = [(["stable"], ["Classic"], True), (["Empty"], [], False), ([], ["consumer"], False)]
        for states, types, is_in in filters[: 1 if v < 4 else 2 if v < 5 else 3]:
            listed = wire.call(ListGroupsRequest(states_filter=states, types_filter=types), v)
            found = [g for g in listed.groups if g.group_id == group]
            equal((listed.error_code, len(found)), (0, int(is_in)), f"list v{v}")
            if found and v >= 4:
                equal(found[0].group_state, "Stable")
            if found and v >= 5:
                equal(found[0].group_type, "classic")
    for v in versions(DeleteGroupsRequest):
        deleted = lambda: wire.call(DeleteGroupsRequest(groups_names=[group]), v).results[0].error_code
        equal(deleted(), 68, f"delete of a group with members in v{v}")
        equal(left(3, group, member), 0)
        equal(deleted(), 0, f"delete v{v}")
        equal(deleted(), 69, f"delete twice in v{v}")
        member, generation = joined(9, group)


@suite
def members_of_the_consumer_protocol():
    name, topic_id = make(2)

    def beat(v, group, member, epoch, **more):
        asked = ConsumerGroupHeartbeatRequest(group_id=group, member_id=member, member_epoch=epoch, **more)
        return wire.call(asked, v)

    for v in versions(ConsumerGroupHeartbeatRequest):
        group = with_coordinator(suite.topic("modern"))
        joins = dict(rebalance_timeout_ms=60000, subscribed_topic_names=[name], server_assignor="range", rack_id="r",
                     topic_partitions=[])
        # Only from version 1 on are ids the members' own.
        member = "me" if v else ""
        reply = beat(v, group, member, 0, **joins)
        equal((reply.error_code, reply.error_message), (0, None), f"join v{v}")
        member = reply.member_id
        assert member and reply.heartbeat_interval_ms > 0, reply
        has = lambda assignment: [(t.topic_id, sorted(t.partitions)) for t in assignment.topic_partitions]
        equal(has(reply.assignment), [(topic_id, [0, 1])], f"assignment v{v}")
        epoch = reply.member_epoch
        reply = beat(v, group, member, epoch)
        equal((reply.error_code, reply.member_epoch, reply.assignment), (0, epoch, None), f"heartbeat v{v}")
        reply = beat(v, group, member, epoch + 1)
        equal(reply.error_code, 110, f"a later epoch v{v}")
        assert "greater member epoch" in reply.error_message, reply
        equal(beat(v, group, "nobody", 1).error_code, 25, f"nobody v{v}")
        if v >= 1:
            equal(beat(v, group, member, epoch, subscribed_topic_regex="(").error_code, 128, "a pattern that is none")
        for d in versions(ConsumerGroupDescribeRequest):
            reply = wire.call(ConsumerGroupDescribeRequest(group_ids=[group, "missing"], include_authorized_operations=False), d)
            found, missing = sorted(reply.groups, key=lambda g: g.group_id != group)
            seen = (found.error_code, found.group_state, found.group_epoch, found.assignment_epoch, found.assignor_name)
            equal(seen, (0, "Stable", epoch, epoch, "range"), f"describe v{d}")
            (described,) = found.members
            seen = (described.member_id, described.instance_id, described.rack_id, described.member_epoch,
                    described.client_id, described.client_host, described.subscribed_topic_names)
            equal(seen, (member, None, "r", epoch, "versions", "/127.0.0.1", [name]), f"member in v{d}")
            for assignment in (described.assignment, described.target_assignment):
                seen = [(t.topic_name, t.topic_id, sorted(t.partitions)) for t in assignment.topic_partitions]
                equal(seen, [(name, topic_id, [0, 1])], f"assignment in v{d}")
            if d >= 1:
                equal(described.member_type, 1, "type of the member")
            equal((missing.error_code, missing.group_id), (69, "missing"), f"missing in v{d}")
        reply = beat(v, group, member, -1)
        equal((reply.error_code, reply.member_epoch), (0, -1), f"leave v{v}")
        equal(beat(v, group, member, epoch).error_code, 25, f"heartbeat after a leave v{v}")


@suite
def nothing_advertised_was_left_out():
    if len(advertised) < 40:
        equal(set(advertised) - covered, set(), "APIs without a check")


suite.run()
