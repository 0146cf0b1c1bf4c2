//! Which values a property may take, checked and described in Kafka's words.

use std::fmt;

use super::error::ConfigError;
use super::value::Value;

#[derive(Debug, Clone, Copy)]
pub enum Valid {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Lowest and highest of a DOUBLE.
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
    NonEmpty,
    List(ListRule),
    /// gzip's levels: 1 to 9, or -1 for the library's default.
    GzipLevel,
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
    /// `host:port` entries.
    HostPorts,
    /// `id@host:port` entries.
    Voters,
    /// Where share groups begin.
    OffsetReset,
}

/// Lists never hold an empty item.
#[derive(Debug, Clone, Copy)]
pub struct ListRule {
    /// Every item when empty.
    pub items: &'static [&'static str],
    pub may_be_empty: bool,
}

impl Valid {
    pub(super) const ITEMS: Valid = Valid::List(ListRule {
        items: &[],
        may_be_empty: true,
    });
    pub(super) const AT_LEAST_ONE_ITEM: Valid = Valid::List(ListRule {
        items: &[],
        may_be_empty: false,
    });

    pub(super) const fn items_of(items: &'static [&'static str], may_be_empty: bool) -> Valid {
        Valid::List(ListRule {
            items,
            may_be_empty,
        })
    }

    pub(super) fn check(&self, name: &str, value: &Value) -> Result<(), ConfigError> {
        let invalid = |value: &str, why: String| {
            Err(ConfigError::Invalid {
                name: name.to_owned(),
                value: value.to_owned(),
                why,
            })
        };
        match (self, value) {
            (Valid::AtLeast(min) | Valid::Between(min, _), Value::Number(number))
                if number < min =>
            {
                invalid(&value.to_string(), format!("Value must be at least {min}"))
            }
            (Valid::Between(_, max), Value::Number(number)) if number > max => invalid(
                &value.to_string(),
                format!("Value must be no more than {max}"),
            ),
            (Valid::Ratio(min, _), Value::Double(number)) if number < min => {
                invalid(&value.to_string(), format!("Value must be at least {min}"))
            }
            (Valid::Ratio(_, max), Value::Double(number)) if number > max || number.is_nan() => {
                invalid(
                    &value.to_string(),
                    format!("Value must be no more than {max}"),
                )
            }
            (Valid::OneOf(allowed), Value::Text(text)) if !allowed.contains(&text.as_str()) => {
                invalid(
                    text,
                    format!("String must be one of: {}", allowed.join(", ")),
                )
            }
            (Valid::OneOfAnyCase(allowed), Value::Text(text))
                if !allowed.iter().any(|item| item.eq_ignore_ascii_case(text)) =>
            {
                let allowed = allowed.join(", ");
                invalid(
                    text,
                    format!("String must be one of (case insensitive): {allowed}"),
                )
            }
            (Valid::NonEmpty, Value::Text(text)) if text.is_empty() => {
                invalid(text, "String must be non-empty".to_owned())
            }
            (Valid::GzipLevel, Value::Number(number)) if !matches!(number, -1 | 1..=9) => invalid(
                &value.to_string(),
                "Value must be between 1 and 9 or equal to -1".to_owned(),
            ),
            (Valid::List(rule), Value::List(items)) => rule.check(name, items),
            (Valid::ThrottledReplicas, Value::List(items)) if !are_throttled_replicas(items) => {
                invalid(
                    &format!("[{}]", items.join(", ")),
                    format!(
                        "{name} must be the literal '*' or a list of replicas in the following \
                         format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                    ),
                )
            }
            (Valid::HostPorts, Value::List(items)) => {
                match items.iter().find(|item| !is_host_port(item)) {
                    None => Ok(()),
                    Some(item) => Err(ConfigError::Refused(format!(
                        "Failed to parse host name from {item} for the configuration {name}. Each \
                         entry should be in the form \"{{host}}:{{port}}\""
                    ))),
                }
            }
            (Valid::Voters, Value::List(items)) => {
                match items.iter().find(|item| !is_voter(item)) {
                    None => Ok(()),
                    Some(item) => Err(ConfigError::Refused(format!(
                        "Failed to parse host name from entry {item} for the configuration \
                         {name}. Each entry should be in the form `{{id}}@{{host}}:{{port}}`."
                    ))),
                }
            }
            (Valid::OffsetReset, Value::Text(text)) if !is_offset_reset(text) => invalid(
                text,
                format!(
                    "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' \
                     or of the format 'by_duration:<PnDTnHnMn.nS>'."
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// Of the duration, only the beginning is looked at: nothing here reads it.
fn is_offset_reset(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    matches!(&*text, "earliest" | "latest") || text.starts_with("by_duration:p")
}

impl ListRule {
    fn check(&self, name: &str, items: &[String]) -> Result<(), ConfigError> {
        let list = |why: String| {
            Err(ConfigError::List {
                name: name.to_owned(),
                why,
            })
        };
        if items.is_empty() && !self.may_be_empty {
            let allowed = match self.items {
                [] => "any non-empty value".to_owned(),
                items => format!("[{}]", items.join(", ")),
            };
            return list(format!(
                "must not be empty. Valid values include: {allowed}"
            ));
        }
        for item in items {
            if item.is_empty() {
                return list("values must not be empty.".to_owned());
            }
            if !self.items.is_empty() && !self.items.contains(&item.as_str()) {
                return Err(ConfigError::Invalid {
                    name: name.to_owned(),
                    value: item.clone(),
                    why: format!("String must be one of: {}", self.items.join(", ")),
                });
            }
        }
        Ok(())
    }
}

/// The range as Kafka's documentation writes it; empty when there is none.
impl fmt::Display for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Valid::Any => Ok(()),
            Valid::AtLeast(min) => write!(f, "[{min},...]"),
            Valid::Between(min, max) => write!(f, "[{min},...,{max}]"),
            Valid::Ratio(min, max) => write!(f, "[{min},...,{max}]"),
            Valid::OneOf(allowed) => write!(f, "[{}]", allowed.join(", ")),
            Valid::OneOfAnyCase(allowed) => {
                write!(f, "(case insensitive) [{}]", allowed.join(", "))
            }
            Valid::NonEmpty => f.write_str("non-empty string"),
            Valid::List(rule) if !rule.items.is_empty() => {
                write!(f, "[{}]", rule.items.join(", "))
            }
            Valid::List(rule) if !rule.may_be_empty => f.write_str("non-empty list"),
            Valid::List(_) => Ok(()),
            Valid::GzipLevel => f.write_str("[1,...,9] or -1"),
            Valid::ThrottledReplicas => {
                f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],...")
            }
            Valid::HostPorts => f.write_str("host:port,..."),
            Valid::Voters => f.write_str("id@host:port,..."),
            Valid::OffsetReset => f.write_str("[latest, earliest, by_duration:PnDTnHnMn.nS]"),
        }
    }
}

fn are_throttled_replicas(items: &[String]) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match items {
        [] => true,
        [first, ..] if first.is_empty() || first == "*" => true,
        items => items.iter().all(|item| {
            let pair = item.split_once(':');
            item.is_empty() || pair.is_some_and(|(p, b)| is_number(p) && is_number(b))
        }),
    }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn is_voter(text: &str) -> bool {
    text.split_once('@')
        .is_some_and(|(id, address)| id.parse::<i32>().is_ok() && is_host_port(address))
}
