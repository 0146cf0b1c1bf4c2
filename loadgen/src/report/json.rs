//! The report as JSON, and back.

use super::figures::Figures;

/// As JSON, with line breaks.
pub fn write(figures: &Figures) -> String {
    let mut text = serde_json::to_string_pretty(figures).expect("numbers and text");
    text.push('\n');
    text
}

/// From what [`write()`] made, to compare with a later run.
pub fn read(text: &str) -> Result<Figures, serde_json::Error> {
    serde_json::from_str(text)
}
