//! Series put together: one value for each set of labels, one family for each name.

use corelog_shards::metrics::{Counter as Count, Histogram as Durations, Snapshot};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::metrics::monitor::Counted;

#[derive(Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

impl Families {
    pub(super) fn count_of_each(
        &mut self,
        name: &str,
        help: &str,
        shards: &[(usize, Counted)],
        count: fn(&Counted) -> &Count,
    ) {
        let counted = shards.iter();
        let counted = counted.map(|(id, shard)| (of_shard(*id), count(shard).get() as f64));
        self.counters(name, help, counted);
    }

    pub(super) fn durations_of_each(
        &mut self,
        name: &str,
        help: &str,
        shards: &[(usize, Counted)],
        durations: fn(&Counted) -> &Durations,
    ) {
        let snapshots = shards.iter();
        let snapshots = snapshots.map(|(id, shard)| (of_shard(*id), durations(shard).snapshot()));
        self.histograms(name, help, snapshots);
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        snapshots: impl IntoIterator<Item = (Vec<LabelPair>, Snapshot)>,
    ) {
        let metrics = snapshots.into_iter().map(|(labels, snapshot)| {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(snapshot.count());
            histogram.set_sample_sum(snapshot.sum().as_secs_f64());
            let buckets = snapshot.cumulative().map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound.as_secs_f64());
                bucket.set_cumulative_count(count);
                bucket
            });
            histogram.set_bucket(buckets.collect());
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram);
            metric
        });
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// A family without a value is left out: the encoder refuses those.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

pub(super) fn of_shard(id: usize) -> Vec<LabelPair> {
    labels([("shard", id.to_string())])
}

pub(super) fn labels<const N: usize>(pairs: [(&str, String); N]) -> Vec<LabelPair> {
    let label = |(name, value): (&str, String)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value);
        label
    };
    pairs.into_iter().map(label).collect()
}
