//! What there is to set, for people.

use super::settings::Input;
use super::{NAMED, SETTINGS, Workload};

/// All named workloads and all settings of a workload, with flag, default, range and meaning, as Markdown that reads
/// well on a terminal too.
pub fn reference() -> String {
    let mut text = String::from("# Workloads\n\n## Named workloads\n\n");
    for named in NAMED {
        text.push_str(&format!("- `{}`: {}\n", named.name, named.purpose));
    }
    text.push_str("\n## Settings\n\nBy their key in a workload file and their flag.\n");
    let defaults = Workload::default();
    let mut table = None;
    for setting in SETTINGS {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if table != Some(of) {
            let heading = match of {
                "" => "Outside of all tables".into(),
                of => format!("`[{of}]`"),
            };
            text.push_str(&format!("\n### {heading}\n\n"));
            table = Some(of);
        }
        let default = match setting.show(&defaults) {
            Some(Input::Text(value)) => format!(", default `{value}`"),
            Some(Input::List(values)) => format!(", default `{}`", values.join(",")),
            None => String::new(),
        };
        text.push_str(&format!(
            "- `{name}` (`--{}`){default}: {}. Must be {}.\n",
            setting.flag,
            setting.meaning,
            setting.allowed()
        ));
    }
    text
}
