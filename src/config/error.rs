//! Why a configuration is refused. The texts are Kafka's: they go out to clients as they are.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A value that is not of the property's type or range.
    Invalid {
        name: String,
        value: String,
        why: String,
    },
    /// A list that is empty, or has empty or repeated items.
    List {
        name: String,
        why: String,
    },
    UnknownTopicProperty(String),
    UnknownGroupProperty(String),
    /// A value that is wrong in its own grammar, or beside other values.
    Refused(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Invalid { name, value, why } => {
                write!(f, "Invalid value {value} for configuration {name}: {why}")
            }
            ConfigError::List { name, why } => write!(f, "Configuration '{name}' {why}"),
            ConfigError::UnknownTopicProperty(name) => {
                write!(f, "Unknown topic config name: {name}")
            }
            ConfigError::UnknownGroupProperty(name) => {
                write!(f, "Unknown group config name: {name}")
            }
            ConfigError::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConfigError {}
