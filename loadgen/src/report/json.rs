//! The report as JSON.

use super::figures::Figures;

/// As JSON, with line breaks.
pub fn write(figures: &Figures) -> String {
    let mut text = serde_json::to_string_pretty(figures).expect("numbers and text");
    text.push('\n');
    text
}
