//! The nine types of Kafka's properties: text to value and back, in Kafka's own way.
//!
//! Parsing and error texts follow `ConfigDef.parseType`, so that a client sees the words it
//! knows. Rendering follows `ConfigDef.convertToString`: what DescribeConfigs answers.

use std::fmt;

/// Type of a property, as DescribeConfigs names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// Kafka's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    /// `ConfigType` of a DescribeConfigs answer (0 is 'unknown').
    pub const fn wire_id(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Reads a value, or says why not (the last part of Kafka's message).
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let not_a_number = || format!("Not a number of type {}", self.name());
        match self {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
            Kind::String | Kind::Class | Kind::Password => Ok(Value::Text(text.to_owned())),
            Kind::Int => {
                let number = text.parse::<i32>().map_err(|_| not_a_number())?;
                Ok(Value::Number(number.into()))
            }
            Kind::Short => {
                let number = text.parse::<i16>().map_err(|_| not_a_number())?;
                Ok(Value::Number(number.into()))
            }
            Kind::Long => Ok(Value::Number(text.parse().map_err(|_| not_a_number())?)),
            Kind::Double => Ok(Value::Double(parse_double(text).ok_or_else(not_a_number)?)),
            Kind::List if text.is_empty() => Ok(Value::List(Vec::new())),
            Kind::List => {
                let items = text.split(',').map(|item| item.trim().to_owned());
                Ok(Value::List(items.collect()))
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A parsed value. Int, Short and Long share one variant; their ranges were checked on the way in.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Number(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Double(value) => f.write_str(&render_double(*value)),
            Value::Text(value) => f.write_str(value),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// Java's `Double.parseDouble`, without hexadecimal forms.
fn parse_double(text: &str) -> Option<f64> {
    let sign_and_digits = text.trim_start_matches(['+', '-']);
    if matches!(sign_and_digits, "NaN" | "Infinity") {
        return text.parse().ok();
    }
    if !sign_and_digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.strip_suffix(['f', 'F', 'd', 'D'])
        .unwrap_or(text)
        .parse()
        .ok()
}

/// Java's `Double.toString`: plain between a thousandth and ten million, else with an exponent.
fn render_double(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            value if value.is_nan() => "NaN".to_owned(),
            value if value > 0.0 => "Infinity".to_owned(),
            _ => "-Infinity".to_owned(),
        };
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_java_reads_them() {
        assert_eq!(Kind::Int.parse(" +1 "), Ok(Value::Number(1)));
        assert_eq!(Kind::Long.parse("-5"), Ok(Value::Number(-5)));
        let refused = |kind: Kind, text| kind.parse(text).unwrap_err();
        assert_eq!(
            refused(Kind::Int, "99999999999"),
            "Not a number of type INT"
        );
        assert_eq!(refused(Kind::Short, "99999"), "Not a number of type SHORT");
        assert_eq!(refused(Kind::Long, ""), "Not a number of type LONG");
        assert_eq!(refused(Kind::Int, "0x10"), "Not a number of type INT");
        assert_eq!(Kind::Double.parse("1e3f"), Ok(Value::Double(1000.0)));
        assert_eq!(
            Kind::Double.parse("inf").unwrap_err(),
            "Not a number of type DOUBLE"
        );
    }

    #[test]
    fn booleans_in_any_case_and_nothing_else() {
        assert_eq!(Kind::Boolean.parse(" TRUE "), Ok(Value::Boolean(true)));
        assert!(Kind::Boolean.parse("yes").is_err());
        assert!(Kind::Boolean.parse("").is_err());
    }

    #[test]
    fn lists_split_at_commas_and_keep_empty_items() {
        let list = |items: &[&str]| Value::List(items.iter().map(|&item| item.into()).collect());
        assert_eq!(Kind::List.parse(" a , b"), Ok(list(&["a", "b"])));
        assert_eq!(Kind::List.parse("a,,b"), Ok(list(&["a", "", "b"])));
        assert_eq!(Kind::List.parse("a,a"), Ok(list(&["a", "a"])));
        assert_eq!(Kind::List.parse("  "), Ok(list(&[])));
        assert_eq!(list(&["a", "b"]).to_string(), "a,b");
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let cases = [
            (0.5, "0.5"),
            (2.0, "2.0"),
            (0.0, "0.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e10, "1.0E10"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
        ];
        for (value, text) in cases {
            assert_eq!(render_double(value), text);
        }
    }
}
