//! The layers a value may come from, and how they are resolved. Pure: what was set goes in as
//! plain maps, a change is another map, and the same maps always give the same values.
//!
//! From the strongest to the weakest, as in Kafka: the topic's or group's own value, the broker's dynamic
//! value, the dynamic default of all brokers, `server.properties`, the table's default. Where a
//! topic property has several broker properties behind it (`log.retention.ms`, `.minutes`,
//! `.hours`), the first name that is set in any layer decides.
//!
//! A stored value that can't be parsed (it was accepted by another version, perhaps) is passed
//! over, as if its layer had not set it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::property::{Level, Property, Synonym};
use super::table;
use super::value::Value;

/// What one layer sets: names and values as they were given.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from, as DescribeConfigs names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Topic,
    Group,
    Broker,
    ClusterDefault,
    File,
    Default,
}

impl Source {
    /// `ConfigSource` of a DescribeConfigs answer.
    pub const fn wire_id(self) -> i8 {
        match self {
            Source::Topic => 1,
            Source::Group => 8,
            Source::Broker => 2,
            Source::ClusterDefault => 3,
            Source::File => 4,
            Source::Default => 5,
        }
    }
}

/// What is set for one broker.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// Set while running, for this broker.
    pub broker: &'a Overrides,
    /// Set while running, for all brokers.
    pub cluster: &'a Overrides,
    /// `server.properties` and the command line.
    pub file: &'a Overrides,
}

impl<'a> Layers<'a> {
    /// Only what the broker was started with.
    pub fn of_file(file: &'a Overrides) -> Layers<'a> {
        static NOTHING: Overrides = Overrides::new();
        Layers {
            broker: &NOTHING,
            cluster: &NOTHING,
            file,
        }
    }

    /// The layers, the strongest first.
    pub fn each(&self) -> [(Source, &'a Overrides); 3] {
        [
            (Source::Broker, self.broker),
            (Source::ClusterDefault, self.cluster),
            (Source::File, self.file),
        ]
    }

    /// Value of a broker property; `None` when it is not set and has no default.
    pub fn broker_value(&self, property: &Property) -> Option<Value> {
        assert_eq!(property.level, Level::Broker, "{}", property.name);
        let set = self.each().into_iter().find_map(|(_, layer)| {
            let text = layer.get(property.name)?;
            property.parse(text).ok()
        });
        set.or_else(|| property.default_value())
    }

    /// Value of a property of topics or groups, given what the topic or group sets itself.
    pub fn own_value(&self, property: &Property, own: &Overrides) -> Option<Value> {
        assert_ne!(property.level, Level::Broker, "{}", property.name);
        let own = own
            .get(property.name)
            .and_then(|text| property.parse(text).ok());
        own.or_else(|| {
            let from_broker = |synonym: &Synonym| {
                let value = self.broker_value(broker_row(synonym.name))?;
                Some(in_topic_units(property, synonym, value))
            };
            property.synonyms.iter().find_map(from_broker)
        })
        .or_else(|| property.default_value())
    }
}

/// A broker property's value as that of the property behind which it stands. Retention knows one 'for ever', -1, where
/// the broker's properties take every negative number for it.
fn in_topic_units(property: &Property, synonym: &Synonym, value: Value) -> Value {
    match value {
        Value::Number(number) if property.name == "retention.ms" && number < 0 => Value::Number(-1),
        Value::Number(number) => Value::Number(number.saturating_mul(synonym.factor)),
        value => value,
    }
}

fn broker_row(name: &str) -> &'static Property {
    match table::broker().get(name) {
        Some(row) => row,
        None => panic!("{name} is not a broker property"),
    }
}

/// Reads values by name and type, to fill the structs that modules are handed. A name or type
/// that the table does not have is a mistake in the code, and panics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub layers: Layers<'a>,
    /// What the topic sets, when topic properties are read.
    pub topic: Option<&'a Overrides>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        match self.topic {
            None => self.layers.broker_value(broker_row(name)),
            Some(topic) => {
                let row = table::topic().get(name);
                let row = row.unwrap_or_else(|| panic!("{name} is not a topic property"));
                self.layers.own_value(row, topic)
            }
        }
    }

    pub fn number_if_set(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Number(number) => Some(number),
            other => panic!("{name} is no number: {other:?}"),
        }
    }

    pub fn number(&self, name: &str) -> i64 {
        let number = self.number_if_set(name);
        number.unwrap_or_else(|| panic!("{name} has no default"))
    }

    /// A number that means none when it is negative.
    pub fn count_unless_negative(&self, name: &str) -> Option<u64> {
        u64::try_from(self.number(name)).ok()
    }

    /// A number that means none when it is negative or zero.
    pub fn count_if_positive(&self, name: &str) -> Option<u64> {
        self.count_unless_negative(name).filter(|count| *count > 0)
    }

    /// A number that the table keeps within the bounds of an unsigned one.
    pub fn count<T: TryFrom<i64>>(&self, name: &str) -> T {
        let number = self.number(name);
        let count = T::try_from(number).ok();
        count.unwrap_or_else(|| panic!("{name} is out of bounds: {number}"))
    }

    pub fn ms(&self, name: &str) -> Duration {
        Duration::from_millis(self.count(name))
    }

    /// The same of a number that the table does not bound below: less than none is none.
    pub fn ms_or_none(&self, name: &str) -> Duration {
        Duration::from_millis(self.count_unless_negative(name).unwrap_or(0))
    }

    /// A number with a fraction.
    pub fn ratio(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(ratio)) => ratio,
            _ => panic!("{name} has a value of its type"),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("{name} is no boolean: {other:?}"),
        }
    }

    pub fn text_if_set(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            other => panic!("{name} is no text: {other:?}"),
        }
    }

    pub fn text(&self, name: &str) -> String {
        let text = self.text_if_set(name);
        text.unwrap_or_else(|| panic!("{name} has no default"))
    }

    pub fn items_if_set(&self, name: &str) -> Option<Vec<String>> {
        match self.value(name)? {
            Value::List(items) => Some(items),
            other => panic!("{name} is no list: {other:?}"),
        }
    }

    pub fn items(&self, name: &str) -> Vec<String> {
        self.items_if_set(name).unwrap_or_default()
    }
}
