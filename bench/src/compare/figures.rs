//! What is measured, in which unit, and what is wanted of it.

/// What a figure of Corelog must be for its target to be met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// At least this many times Kafka's.
    TimesKafkaMin(f64),
    /// At most this part of Kafka's.
    TimesKafkaMax(f64),
    /// At most this, whatever Kafka does.
    Max(f64),
    /// At least this part of another figure of the same product.
    PartOfMin(&'static str, f64),
    Nothing,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The workload and the quantity, like '1 KiB, 1 partition, 16 in flight: requests/s'.
    pub name: String,
    pub wanted: Wanted,
}

/// One figure measured once.
#[derive(Clone, Debug)]
pub struct Reading {
    pub figure: Figure,
    pub value: f64,
    /// Something that a reader must know about it, like that the client was the limit.
    pub note: Option<String>,
}

impl Reading {
    pub fn new(workload: &str, quantity: &str, value: f64) -> Self {
        let figure = Figure {
            name: format!("{workload}: {quantity}"),
            wanted: Wanted::Nothing,
        };
        Self {
            figure,
            value,
            note: None,
        }
    }

    pub fn wanted(mut self, wanted: Wanted) -> Self {
        self.figure.wanted = wanted;
        self
    }

    pub fn noted(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }
}
