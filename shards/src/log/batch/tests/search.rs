use super::{CODECS, run, with_append_time};
use crate::log::batch::iter::Batch;
use crate::log::batch::lookup::{RecordSearch, TimestampOffset};
use crate::log::batch::{BatchBuilder, Budget};

const TIMESTAMPS: [i64; 6] = [100, 300, 200, 300, 150, 250];

fn found(mut search: RecordSearch<'_>) -> Option<(i64, i64)> {
    let (result, _) = run(Budget::of_us(1), |budget| search.step(budget));
    result
        .unwrap()
        .map(|TimestampOffset { timestamp, offset }| (timestamp, offset))
}

#[test]
fn times_lead_to_offsets() {
    for codec in CODECS {
        let mut builder = BatchBuilder::new(codec).unwrap().at(1_000, 0);
        for timestamp in TIMESTAMPS {
            builder
                .append(timestamp, None, Some(&[b'v'; 20_000]))
                .unwrap();
        }
        let bytes = builder.finish().unwrap();
        let batch = Batch::first(&bytes).unwrap();
        let not_older =
            |timestamp, from| found(RecordSearch::not_older(&batch, timestamp, from).unwrap());
        assert_eq!(not_older(i64::MIN, 0), Some((100, 1_000)));
        assert_eq!(not_older(101, 0), Some((300, 1_001)));
        assert_eq!(not_older(101, 1_002), Some((200, 1_002)));
        assert_eq!(not_older(300, 1_002), Some((300, 1_003)));
        assert_eq!(not_older(300, 1_004), None);
        assert_eq!(not_older(301, 0), None);
        assert_eq!(
            found(RecordSearch::newest(&batch).unwrap()),
            Some((300, 1_001))
        );
    }
}

#[test]
fn with_log_append_time_the_first_record_has_the_time_of_all() {
    let mut builder = BatchBuilder::uncompressed().at(50, 0);
    for timestamp in TIMESTAMPS {
        builder.append(timestamp, None, None).unwrap();
    }
    let bytes = with_append_time(&builder.finish().unwrap(), 7_000);
    let batch = Batch::first(&bytes).unwrap();
    assert_eq!(
        found(RecordSearch::newest(&batch).unwrap()),
        Some((7_000, 50))
    );
    assert_eq!(
        found(RecordSearch::not_older(&batch, 400, 52).unwrap()),
        Some((7_000, 52))
    );
    assert_eq!(
        found(RecordSearch::not_older(&batch, 7_001, 0).unwrap()),
        None
    );
}
