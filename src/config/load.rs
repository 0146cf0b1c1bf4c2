//! From `server.properties` and the command line's overrides to the layer the broker starts with:
//! every value checked against the table, everything that will have no effect named.

use std::fmt;

use super::layers::Overrides;
use super::properties_file::{self, MalformedEscape};
use super::property::Status;
use super::table;
use super::valid::Valid;

/// What a broker is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub settings: Overrides,
    /// Known, to have an effect one day.
    pub not_yet: Vec<String>,
    /// Known, about things that Corelog has not.
    pub moot: Vec<String>,
    pub unknown: Vec<String>,
    /// Given more than once in the file; the last one counts.
    pub repeated: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    Syntax(MalformedEscape),
    /// An override without a name or without `=`.
    Override(String),
    /// Every value that is refused.
    Values(Vec<String>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Syntax(error) => write!(f, "{error}"),
            LoadError::Override(text) => {
                write!(f, "--override {text}: expected the form name=value")
            }
            LoadError::Values(refused) => f.write_str(&refused.join("\n")),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads the file's bytes (none when there is no file), then the overrides, which go before it.
pub fn load(file: &[u8], overrides: &[String]) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    for entry in properties_file::parse(file).map_err(LoadError::Syntax)? {
        let name = entry.name.clone();
        let earlier = loaded.settings.insert(entry.name, entry.value);
        if earlier.is_some() && !loaded.repeated.contains(&name) {
            loaded.repeated.push(name);
        }
    }
    for text in overrides {
        let parts = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value));
        let Some((name, value)) = parts.filter(|(name, _)| !name.is_empty()) else {
            return Err(LoadError::Override(text.clone()));
        };
        loaded
            .settings
            .insert(name.to_owned(), value.trim().to_owned());
    }
    let mut refused = check_values(&loaded.settings);
    refused.extend(agree_on_node_id(&mut loaded.settings).err());
    if !refused.is_empty() {
        return Err(LoadError::Values(refused));
    }
    for name in loaded.settings.keys() {
        let row = table::broker().get(base_name(name));
        let list = match row.map(|row| row.status) {
            None => &mut loaded.unknown,
            Some(Status::NotYet) => &mut loaded.not_yet,
            Some(Status::Moot) => &mut loaded.moot,
            Some(Status::Honoured) if name != base_name(name) => &mut loaded.not_yet,
            Some(Status::Honoured) => continue,
        };
        list.push(name.clone());
    }
    Ok(loaded)
}

impl Loaded {
    /// What should be said at the start, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut without_effect = Vec::new();
        if !self.not_yet.is_empty() {
            without_effect.push(format!("not available yet: {}", self.not_yet.join(", ")));
        }
        if !self.moot.is_empty() {
            without_effect.push(format!("not needed here: {}", self.moot.join(", ")));
        }
        if !without_effect.is_empty() {
            let list = without_effect.join("; ");
            lines.push(format!("properties without effect: {list}"));
        }
        if !self.unknown.is_empty() {
            lines.push(format!("unknown properties: {}", self.unknown.join(", ")));
        }
        if !self.repeated.is_empty() {
            let list = self.repeated.join(", ");
            lines.push(format!(
                "properties given more than once, the last one counts: {list}"
            ));
        }
        let authorizer = self.settings.get("authorizer.class.name");
        if authorizer.is_some_and(|class| !class.trim().is_empty()) {
            lines.push(
                "authorizer.class.name is set, but permissions are not checked yet: every client \
                 may do everything"
                    .to_owned(),
            );
        }
        lines
    }
}

/// Kafka's message for each value that is refused, with the range.
fn check_values(settings: &Overrides) -> Vec<String> {
    let refused = settings.iter().filter_map(|(name, value)| {
        let row = table::broker().get(base_name(name))?;
        let error = row.parse(value).err()?;
        Some(match row.valid {
            // The other messages say themselves what would be valid.
            Valid::AtLeast(_) | Valid::Between(..) | Valid::Ratio(..) => {
                format!("{error} (valid: {})", row.valid)
            }
            _ => error.to_string(),
        })
    });
    refused.collect()
}

/// `node.id` and its older name `broker.id` stand for each other; as in Kafka both are always set.
fn agree_on_node_id(settings: &mut Overrides) -> Result<(), String> {
    let node = settings.get("node.id").map(|id| id.trim());
    let broker = settings.get("broker.id").map(|id| id.trim());
    if node.is_some() && broker.is_some() && node != broker {
        return Err("You must set `node.id` to the same value as `broker.id`.".to_owned());
    }
    let default = table::broker()["node.id"].default;
    let id = node.or(broker).or(default).map(str::to_owned);
    for name in ["node.id", "broker.id"] {
        settings.extend(id.clone().map(|id| (name.to_owned(), id)));
    }
    Ok(())
}

/// The property that `listener.name.NAME.property` sets for one listener.
pub(super) fn base_name(name: &str) -> &str {
    let rest = name.strip_prefix("listener.name.");
    let base = rest.and_then(|rest| rest.split_once('.'));
    match base {
        Some((listener, base)) if !listener.is_empty() => base,
        _ => name,
    }
}
