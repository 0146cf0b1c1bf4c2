//! One row of the table of properties: what is known of a property, and how it is built.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::error::ConfigError;
use super::valid::Valid;
use super::value::{Kind, Value};

/// What a property belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Broker,
    Topic,
    Group,
}

/// When a broker property takes effect. Those of topics and groups always do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In `server.properties` only, until the next start.
    ReadOnly,
    /// While running, for one broker.
    PerBroker,
    /// While running, for one broker or as the default of all.
    ClusterWide,
    /// While running and not in `server.properties`.
    RuntimeOnly,
}

/// What Corelog does with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Honoured,
    /// Accepted, checked and described; has no effect yet.
    NotYet,
    /// About something Corelog has no counterpart for; has no effect.
    Moot,
}

/// Unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    None,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Bytes,
    BytesPerSecond,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Minutes => "min",
            Unit::Hours => "h",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "bytes/s",
        }
    }
}

/// A broker property that gives a property of topics or groups its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// One unit of the broker property in units of the other one.
    pub factor: i64,
}

/// A property of the broker, of a topic or of a group.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    pub level: Level,
    pub kind: Kind,
    /// As text; `None` is Java's null: not set, and something else decides.
    pub default: Option<&'static str>,
    pub valid: Valid,
    pub unit: Unit,
    pub scope: Scope,
    pub status: Status,
    /// For tests of Kafka itself: accepted, but neither described nor documented.
    pub internal: bool,
    /// Broker properties behind one of topics or groups, the strongest first.
    pub synonyms: &'static [Synonym],
    pub doc: &'static str,
}

impl Property {
    /// A value of this property, checked; or Kafka's message why it is not one.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = self.kind.parse(text).map_err(|why| ConfigError::Invalid {
            name: self.name.to_owned(),
            value: if self.is_sensitive() {
                "[hidden]"
            } else {
                text.trim()
            }
            .to_owned(),
            why,
        })?;
        let value = match (self.valid, value) {
            // Kafka takes what is there twice for once, in lists that it checks as such.
            (Valid::List(_), Value::List(items)) => Value::List(each_once(items)),
            (_, value) => value,
        };
        self.valid.check(self.name, &value)?;
        Ok(value)
    }

    /// What it does, and whether it does so here.
    pub fn documentation(&self) -> Cow<'static, str> {
        match self.status {
            Status::Honoured => Cow::Borrowed(self.doc),
            Status::NotYet => Cow::Owned(format!("{} It has no effect yet.", self.doc)),
            Status::Moot => Cow::Owned(format!("{} It has no effect here.", self.doc)),
        }
    }

    /// The default, parsed.
    pub fn default_value(&self) -> Option<Value> {
        let text = self.default?;
        let value = self.kind.parse(text);
        Some(value.unwrap_or_else(|why| panic!("default of {}: {why}", self.name)))
    }

    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// Whether it may change while the broker runs.
    pub const fn is_dynamic(&self) -> bool {
        !matches!(self.scope, Scope::ReadOnly)
    }
}

/// The items of a list without those that were there before.
fn each_once(items: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let is_new = |item: &String| seen.insert(item.clone());
    items.into_iter().filter(is_new).collect()
}

// How rows of the table are written.

pub(super) const fn broker(name: &'static str, kind: Kind, default: &'static str) -> Property {
    Property {
        name,
        level: Level::Broker,
        kind,
        default: Some(default),
        valid: Valid::Any,
        unit: Unit::None,
        scope: Scope::ReadOnly,
        status: Status::NotYet,
        internal: false,
        synonyms: &[],
        doc: "",
    }
}

pub(super) const fn broker_unset(name: &'static str, kind: Kind) -> Property {
    Property {
        default: None,
        ..broker(name, kind, "")
    }
}

pub(super) const fn topic(name: &'static str, kind: Kind, default: &'static str) -> Property {
    Property {
        level: Level::Topic,
        scope: Scope::ClusterWide,
        ..broker(name, kind, default)
    }
}

pub(super) const fn group(name: &'static str, kind: Kind, default: &'static str) -> Property {
    Property {
        level: Level::Group,
        ..topic(name, kind, default)
    }
}

impl Property {
    pub(super) const fn valid(self, valid: Valid) -> Property {
        Property { valid, ..self }
    }

    pub(super) const fn at_least(self, min: i64) -> Property {
        self.valid(Valid::AtLeast(min))
    }

    pub(super) const fn between(self, min: i64, max: i64) -> Property {
        self.valid(Valid::Between(min, max))
    }

    pub(super) const fn one_of(self, allowed: &'static [&'static str]) -> Property {
        self.valid(Valid::OneOf(allowed))
    }

    pub(super) const fn unit(self, unit: Unit) -> Property {
        Property { unit, ..self }
    }

    pub(super) const fn ms(self) -> Property {
        self.unit(Unit::Milliseconds)
    }

    pub(super) const fn bytes(self) -> Property {
        self.unit(Unit::Bytes)
    }

    pub(super) const fn dynamic(self, scope: Scope) -> Property {
        Property { scope, ..self }
    }

    pub(super) const fn internal(self) -> Property {
        Property {
            internal: true,
            ..self
        }
    }

    pub(super) const fn from(self, synonyms: &'static [Synonym]) -> Property {
        Property { synonyms, ..self }
    }

    pub(super) const fn honoured(self, doc: &'static str) -> Property {
        Property {
            status: Status::Honoured,
            doc,
            ..self
        }
    }

    pub(super) const fn not_yet(self, doc: &'static str) -> Property {
        Property {
            status: Status::NotYet,
            doc,
            ..self
        }
    }

    pub(super) const fn moot(self, doc: &'static str) -> Property {
        Property {
            status: Status::Moot,
            doc,
            ..self
        }
    }
}
