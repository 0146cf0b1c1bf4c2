//! The medians of all rounds side by side, with ratios and targets.

use std::fmt;

use serde_json::{Value, json};

use super::figures::{Figure, Reading, Wanted};

/// What one product showed for a figure.
#[derive(Debug)]
struct Cell {
    values: Vec<f64>,
    note: Option<String>,
}

impl Cell {
    fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[half]
        } else {
            (sorted[half - 1] + sorted[half]) / 2.0
        }
    }
}

#[derive(Debug)]
struct Row {
    figure: Figure,
    /// One for each product, in the order of [`Table::products`].
    cells: Vec<Option<Cell>>,
}

#[derive(Debug)]
pub struct Table {
    products: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(rounds: &[(&'static str, Vec<Reading>)]) -> Self {
        let mut products: Vec<&'static str> = Vec::new();
        for (product, _) in rounds {
            if !products.contains(product) {
                products.push(product);
            }
        }
        let mut rows: Vec<Row> = Vec::new();
        for (product, readings) in rounds {
            let column = products
                .iter()
                .position(|it| it == product)
                .expect("it was just added");
            for reading in readings {
                let at = rows
                    .iter()
                    .position(|row| row.figure == reading.figure)
                    .unwrap_or_else(|| {
                        let cells = products.iter().map(|_| None).collect();
                        rows.push(Row {
                            figure: reading.figure.clone(),
                            cells,
                        });
                        rows.len() - 1
                    });
                let cell = rows[at].cells[column].get_or_insert_with(|| Cell {
                    values: Vec::new(),
                    note: None,
                });
                cell.values.push(reading.value);
                cell.note = cell.note.take().or_else(|| reading.note.clone());
            }
        }
        Self { products, rows }
    }

    fn median(&self, row: &Row, product: &str) -> Option<f64> {
        let column = self.products.iter().position(|it| *it == product)?;
        row.cells[column].as_ref().map(Cell::median)
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        Some(self.median(row, "Corelog")? / self.median(row, "Apache Kafka")?)
    }

    /// What is wanted of Corelog, in words, and whether it is so where that can be told.
    fn verdict(&self, row: &Row) -> Option<(String, Option<bool>)> {
        let own = self.median(row, "Corelog");
        Some(match row.figure.wanted {
            Wanted::Nothing => return None,
            Wanted::TimesKafkaMin(times) => (
                format!(">= {times} x"),
                self.ratio(row).map(|ratio| ratio >= times),
            ),
            Wanted::TimesKafkaMax(times) => (
                format!("<= {times} x"),
                self.ratio(row).map(|ratio| ratio <= times),
            ),
            Wanted::Max(max) => (format!("<= {max}"), own.map(|own| own <= max)),
            Wanted::PartOfMin(other, part) => {
                let other = self.rows.iter().find(|row| row.figure.name == other);
                let other = other.and_then(|row| self.median(row, "Corelog"));
                let met = own.zip(other).map(|(own, other)| own >= other * part);
                (format!(">= {part:.2} x of 1 partition"), met)
            }
        })
    }

    pub fn json(&self) -> Value {
        self.rows
            .iter()
            .map(|row| {
                let verdict = self.verdict(row);
                let cells = self.products.iter().zip(&row.cells).filter_map(|(product, cell)| {
                    let cell = cell.as_ref()?;
                    let value = json!({ "median": cell.median(), "rounds": cell.values, "note": cell.note });
                    Some(((*product).to_owned(), value))
                });
                json!({
                    "figure": row.figure.name,
                    "products": cells.collect::<serde_json::Map<_, _>>(),
                    "ratio": self.ratio(row),
                    "wanted": verdict.as_ref().map(|(wanted, _)| wanted),
                    "met": verdict.and_then(|(_, met)| met),
                })
            })
            .collect()
    }
}

/// As Markdown, which a terminal shows well enough.
impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines =
            vec![["figure", "Apache Kafka", "Corelog", "ratio", "wanted", ""].map(str::to_owned)];
        for row in &self.rows {
            let verdict = self.verdict(row);
            let notes: Vec<_> = self
                .products
                .iter()
                .zip(&row.cells)
                .filter_map(note)
                .collect();
            let met = verdict
                .as_ref()
                .and_then(|(_, met)| *met)
                .map(|met| if met { "met" } else { "MISSED" });
            let remark: Vec<_> = met.map(str::to_owned).into_iter().chain(notes).collect();
            lines.push([
                row.figure.name.clone(),
                self.median(row, "Apache Kafka")
                    .map(shown)
                    .unwrap_or_default(),
                self.median(row, "Corelog").map(shown).unwrap_or_default(),
                self.ratio(row)
                    .map(|ratio| format!("{ratio:.2}"))
                    .unwrap_or_default(),
                verdict.map(|(wanted, _)| wanted).unwrap_or_default(),
                remark.join("; "),
            ]);
        }
        let widths: Vec<usize> = (0..6)
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (index, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                write!(out, "| {cell:width$} ")?;
            }
            writeln!(out, "|")?;
            if index == 0 {
                widths
                    .iter()
                    .try_for_each(|width| write!(out, "|{}", "-".repeat(width + 2)))?;
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }
}

fn note((product, cell): (&&'static str, &Option<Cell>)) -> Option<String> {
    Some(format!("{product}: {}", cell.as_ref()?.note.as_ref()?))
}

/// Three digits, or whole numbers where there are more.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(quantity: &str, value: f64, wanted: Wanted) -> Reading {
        Reading::new("work", quantity, value).wanted(wanted)
    }

    #[test]
    fn medians_ratios_and_verdicts() {
        let wanted = Wanted::TimesKafkaMin(2.0);
        let part = Wanted::PartOfMin("work: rate", 0.5);
        let rounds = [
            (
                "Apache Kafka",
                vec![
                    reading("rate", 10.0, wanted),
                    reading("idle", 400.0, Wanted::Max(30.0)),
                ],
            ),
            (
                "Corelog",
                vec![
                    reading("rate", 19.0, wanted),
                    reading("idle", 20.0, Wanted::Max(30.0)),
                ],
            ),
            ("Apache Kafka", vec![reading("rate", 12.0, wanted)]),
            (
                "Corelog",
                vec![reading("rate", 23.0, wanted), reading("many", 10.0, part)],
            ),
        ];
        let table = Table::new(&rounds);
        let json = table.json();
        assert_eq!(json[0]["products"]["Corelog"]["median"], 21.0);
        assert_eq!(json[0]["ratio"], 21.0 / 11.0);
        assert_eq!(
            (&json[0]["met"], &json[1]["met"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(json[2]["met"], false, "10 is less than half of 21");
        let text = table.to_string();
        assert!(
            text.contains("| work: rate | 11.0         | 21.0    | 1.91  | >= 2 x"),
            "{text}"
        );
        assert!(text.contains("MISSED") && text.contains("| met "), "{text}");
    }
}
