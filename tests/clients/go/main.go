// franz-go against any broker: a client written from the protocol alone, which uses the newest versions of the messages.
// Prints a line for each check, then the count that tests/clients.rs reads.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap = os.Args[1]
	admin     *kadm.Client
	baseMs    = time.Now().Add(-time.Hour).Truncate(time.Second)
)

type check struct {
	name string
	run  func(ctx context.Context) error
}

var checks = []check{
	{"cluster is described", clusterIsDescribed},
	{"topics are administered", topicsAreAdministered},
	{"configs are altered", configsAreAltered},
	{"records come back identical through each codec", recordsThroughEachCodec},
	{"acks of each kind", acksOfEachKind},
	{"a record too large is refused", recordTooLarge},
	{"offsets are found by time and by kind", offsetsAreFound},
	{"reading from the middle and out of range", readingFromTheMiddle},
	{"records are deleted up to an offset", recordsAreDeleted},
	{"leader epochs are told", leaderEpochsAreTold},
	{"log dirs are described", logDirsAreDescribed},
	{"many partitions, written and read by two clients", manyPartitions},
}

func main() {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		panic(err)
	}
	admin = kadm.NewClient(client)
	passed, failed := 0, 0
	for _, c := range checks {
		if len(os.Args) > 2 && !strings.Contains(c.name, os.Args[2]) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		begin := time.Now()
		if err := c.run(ctx); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", c.name, err)
		} else {
			passed++
			fmt.Printf("ok %s (%.1f s)\n", c.name, time.Since(begin).Seconds())
		}
		cancel()
	}
	fmt.Printf("franz-go: %d passed, %d failed, 0 skipped\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func topicName(label string) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	return "franz-go-" + label + "-" + hex.EncodeToString(random)
}

func create(ctx context.Context, label string, partitions int32, configs map[string]*string) (string, error) {
	name := topicName(label)
	if _, err := admin.CreateTopic(ctx, partitions, 1, configs, name); err != nil {
		return "", err
	}
	return name, eventually("metadata of "+name, func() (bool, error) {
		topics, err := admin.ListTopics(ctx, name)
		return err == nil && topics[name].Err == nil && len(topics[name].Partitions) == int(partitions), err
	})
}

func eventually(what string, condition func() (bool, error)) error {
	for i := 0; i < 400; i++ {
		holds, err := condition()
		if err != nil {
			return err
		}
		if holds {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("never: %s", what)
}

func refused(err error, wanted error) error {
	if !errors.Is(err, wanted) {
		return fmt.Errorf("expected %v, saw %v", wanted, err)
	}
	return nil
}

func equal(what string, seen, wanted any) error {
	if s, w := fmt.Sprint(seen), fmt.Sprint(wanted); s != w {
		return fmt.Errorf("%s: expected %.300s, saw %.300s", what, w, s)
	}
	return nil
}

// Null and empty keys and values, repeated and random-looking bytes, headers with null values.
func sample(topic string, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for i := range records {
		noise := make([]byte, i%211)
		for j := range noise {
			noise[j] = byte(i*31 + j*17)
		}
		records[i] = &kgo.Record{
			Topic:     topic,
			Timestamp: baseMs.Add(time.Duration(i*10) * time.Millisecond),
			Key:       [][]byte{nil, {}, fmt.Appendf(nil, "key-%d", i), fmt.Appendf(nil, "schlüssel-%d", i)}[i%4],
			Value:     [][]byte{fmt.Appendf(nil, "value %d", i), nil, {}, bytes.Repeat([]byte("x"), i%977), noise}[i%5],
		}
		switch i % 3 {
		case 1:
			records[i].Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}
		case 2:
			records[i].Headers = []kgo.RecordHeader{{Key: "empty", Value: []byte{}}, {Key: "nothing"}}
		}
	}
	return records
}

func write(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) error {
	options = append(options, kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func read(ctx context.Context, topic string, partition int32, from int64, count int) ([]*kgo.Record, error) {
	at := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumePartitions(at), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

func same(seen, wanted []*kgo.Record) error {
	if err := equal("records", len(seen), len(wanted)); err != nil {
		return err
	}
	for i, s := range seen {
		w := wanted[i]
		nils := fmt.Sprint(s.Key == nil, s.Value == nil) == fmt.Sprint(w.Key == nil, w.Value == nil)
		if s.Offset != int64(i) || !bytes.Equal(s.Key, w.Key) || !bytes.Equal(s.Value, w.Value) || !nils ||
			!s.Timestamp.Equal(w.Timestamp) || fmt.Sprint(s.Headers) != fmt.Sprint(w.Headers) {
			return fmt.Errorf("record %d: expected %+v, saw %+v", i, w, s)
		}
	}
	return nil
}

func clusterIsDescribed(ctx context.Context) error {
	metadata, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if err := equal("brokers", len(metadata.Brokers), 1); err != nil {
		return err
	}
	broker := metadata.Brokers[0]
	if err := equal("address", fmt.Sprintf("%s:%d", broker.Host, broker.Port), bootstrap); err != nil {
		return err
	}
	if err := equal("controller", metadata.Controller, broker.NodeID); err != nil {
		return err
	}
	return equal("length of the cluster id", len(metadata.Cluster), 22)
}

func topicsAreAdministered(ctx context.Context) error {
	name, err := create(ctx, "admin", 2, nil)
	if err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, 2, 1, nil, name)
	if err := refused(err, kerr.TopicAlreadyExists); err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, 2, 1, nil, "bad name")
	if err := refused(err, kerr.InvalidTopicException); err != nil {
		return err
	}
	grown, err := admin.CreatePartitions(ctx, 3, name)
	if err != nil || grown.Error() != nil {
		return errors.Join(err, grown.Error())
	}
	err = eventually("five partitions", func() (bool, error) {
		topics, err := admin.ListTopics(ctx, name)
		return err == nil && len(topics[name].Partitions) == 5, err
	})
	if err != nil {
		return err
	}
	if _, err = admin.DeleteTopic(ctx, name); err != nil {
		return err
	}
	err = eventually("topic gone", func() (bool, error) {
		topics, err := admin.ListTopics(ctx)
		return err == nil && !topics.Has(name), err
	})
	if err != nil {
		return err
	}
	_, err = admin.DeleteTopic(ctx, name)
	return refused(err, kerr.UnknownTopicOrPartition)
}

func configsAreAltered(ctx context.Context) error {
	name, err := create(ctx, "config", 1, map[string]*string{"retention.ms": kadm.StringPtr("5000000")})
	if err != nil {
		return err
	}
	value := func(key string) (string, error) {
		configs, err := admin.DescribeTopicConfigs(ctx, name)
		if err != nil || configs[0].Err != nil {
			return "", errors.Join(err, configs[0].Err)
		}
		for _, c := range configs[0].Configs {
			if c.Key == key {
				return c.MaybeValue(), nil
			}
		}
		return "", fmt.Errorf("no config %s", key)
	}
	seen, err := value("retention.ms")
	if err := errors.Join(err, equal("retention.ms", seen, "5000000")); err != nil {
		return err
	}
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("6000000")}}, name)
	if err != nil || altered[0].Err != nil {
		return errors.Join(err, altered[0].Err)
	}
	err = eventually("altered", func() (bool, error) {
		seen, err := value("retention.ms")
		return seen == "6000000", err
	})
	if err != nil {
		return err
	}
	altered, err = admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("?")}}, name)
	if err != nil {
		return err
	}
	return refused(altered[0].Err, kerr.InvalidConfig)
}

func recordsThroughEachCodec(ctx context.Context) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for label, codec := range codecs {
		name, err := create(ctx, label, 1, nil)
		if err != nil {
			return err
		}
		if err := write(ctx, sample(name, 2000), kgo.ProducerBatchCompression(codec)); err != nil {
			return err
		}
		seen, err := read(ctx, name, 0, 0, 2000)
		if err != nil {
			return err
		}
		if err := same(seen, sample(name, 2000)); err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
	}
	return nil
}

func acksOfEachKind(ctx context.Context) error {
	for _, acks := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck(), kgo.AllISRAcks()} {
		name, err := create(ctx, "acks", 1, nil)
		if err != nil {
			return err
		}
		if err := write(ctx, sample(name, 100), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()); err != nil {
			return err
		}
		seen, err := read(ctx, name, 0, 0, 100)
		if err != nil {
			return err
		}
		if err := same(seen, sample(name, 100)); err != nil {
			return err
		}
	}
	return nil
}

func recordTooLarge(ctx context.Context) error {
	name, err := create(ctx, "large", 1, map[string]*string{"max.message.bytes": kadm.StringPtr("50000")})
	if err != nil {
		return err
	}
	raw := kgo.ProducerBatchCompression(kgo.NoCompression())
	if err := write(ctx, []*kgo.Record{{Topic: name, Value: make([]byte, 49000)}}, raw); err != nil {
		return err
	}
	err = write(ctx, []*kgo.Record{{Topic: name, Value: make([]byte, 51000)}}, raw)
	return refused(err, kerr.MessageTooLarge)
}

func offsetsAreFound(ctx context.Context) error {
	name, err := create(ctx, "offsets", 2, nil)
	if err != nil {
		return err
	}
	if err := write(ctx, sample(name, 100)); err != nil {
		return err
	}
	at := baseMs.UnixMilli() + 455
	for _, q := range []struct {
		what   string
		list   func() (kadm.ListedOffsets, error)
		offset int64
		empty  int64
	}{
		{"start", func() (kadm.ListedOffsets, error) { return admin.ListStartOffsets(ctx, name) }, 0, 0},
		{"end", func() (kadm.ListedOffsets, error) { return admin.ListEndOffsets(ctx, name) }, 100, 0},
		{"committed", func() (kadm.ListedOffsets, error) { return admin.ListCommittedOffsets(ctx, name) }, 100, 0},
		{"by time", func() (kadm.ListedOffsets, error) { return admin.ListOffsetsAfterMilli(ctx, at, name) }, 46, 0},
		{"max timestamp", func() (kadm.ListedOffsets, error) { return admin.ListMaxTimestampOffsets(ctx, name) }, 99, -1},
	} {
		listed, err := q.list()
		if err := errors.Join(err, listed.Error()); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
		if err := equal(q.what, listed[name][0].Offset, q.offset); err != nil {
			return err
		}
		if err := equal(q.what+" of none", listed[name][1].Offset, q.empty); err != nil {
			return err
		}
	}
	return nil
}

func readingFromTheMiddle(ctx context.Context) error {
	name, err := create(ctx, "middle", 1, nil)
	if err != nil {
		return err
	}
	if err := write(ctx, sample(name, 500)); err != nil {
		return err
	}
	seen, err := read(ctx, name, 0, 321, 179)
	if err != nil {
		return err
	}
	if err := equal("first", seen[0].Offset, 321); err != nil {
		return err
	}
	_, err = read(ctx, name, 0, 501, 1)
	return refused(err, kerr.OffsetOutOfRange)
}

func recordsAreDeleted(ctx context.Context) error {
	name, err := create(ctx, "trim", 1, nil)
	if err != nil {
		return err
	}
	if err := write(ctx, sample(name, 100)); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(name, 0, 64, -1)
	deleted, err := admin.DeleteRecords(ctx, offsets)
	if err := errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	if err := equal("low watermark", deleted[name][0].LowWatermark, 64); err != nil {
		return err
	}
	_, err = read(ctx, name, 0, 63, 1)
	if err := refused(err, kerr.OffsetOutOfRange); err != nil {
		return err
	}
	seen, err := read(ctx, name, 0, 64, 36)
	return errors.Join(err, equal("records", len(seen), 36))
}

func leaderEpochsAreTold(ctx context.Context) error {
	name, err := create(ctx, "epochs", 1, nil)
	if err != nil {
		return err
	}
	if err := write(ctx, sample(name, 10)); err != nil {
		return err
	}
	topics, err := admin.ListTopics(ctx, name)
	if err != nil {
		return err
	}
	epoch := topics[name].Partitions[0].LeaderEpoch
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(name, 0, epoch)
	told, err := admin.OffetForLeaderEpoch(ctx, request)
	if err != nil {
		return err
	}
	partition := told[name][0]
	return errors.Join(partition.Err, equal("end of the epoch", partition.EndOffset, 10), equal("epoch", partition.LeaderEpoch, epoch))
}

func logDirsAreDescribed(ctx context.Context) error {
	name, err := create(ctx, "dirs", 1, nil)
	if err != nil {
		return err
	}
	if err := write(ctx, sample(name, 500)); err != nil {
		return err
	}
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return err
	}
	size := int64(0)
	dirs.Each(func(d kadm.DescribedLogDir) {
		err = errors.Join(err, d.Err)
		if p, there := d.Topics[name][0]; there {
			size += p.Size
		}
	})
	if err == nil && size < 5000 {
		err = fmt.Errorf("size %d", size)
	}
	return err
}

func manyPartitions(ctx context.Context) error {
	const partitions = 150
	name, err := create(ctx, "many", partitions, nil)
	if err != nil {
		return err
	}
	at := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		at[p] = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: at}))
	if err != nil {
		return err
	}
	defer reader.Close()
	const each = 50
	written := make(chan error, 1)
	go func() {
		var records []*kgo.Record
		for i := range partitions * each {
			records = append(records, &kgo.Record{Topic: name, Partition: int32(i % partitions), Value: fmt.Appendf(nil, "%d", i/partitions)})
		}
		written <- write(ctx, records)
	}()
	next := map[int32]int{}
	for total := 0; total < partitions*each; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			if err := equal("record", string(r.Value), next[r.Partition]); err != nil {
				return err
			}
			next[r.Partition]++
			total++
		}
	}
	return <-written
}
