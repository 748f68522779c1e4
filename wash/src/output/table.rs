//! Tables: two spaces between columns, no lines, so that `awk` reads them too.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::{Paint, Style};

/// A table under construction.
pub struct Rows {
    table: Table,
    empty: String,
}

impl Rows {
    /// A table with these headings; `empty` is said when there is no row.
    pub fn new<const N: usize>(style: &Style, headings: [&str; N], empty: &str) -> Self {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty();
        table.set_header(headings.map(|heading| style.paint(Paint::Strong, heading)));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self {
            table,
            empty: empty.to_owned(),
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) -> &mut Self {
        self.table.add_row(cells);
        self
    }

    /// The finished text, or the sentence for none.
    pub fn finish(&self) -> String {
        if self.table.is_empty() {
            return self.empty.clone();
        }
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// `k=v, k=v`, or a dash for none.
pub fn pairs<'a>(of: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    or_dash(
        of.into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// A dash where there is nothing.
pub fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_without_spaces() {
        let mut rows = Rows::new(&Style::new(false), ["HOST", "ZONE"], "none");
        assert_eq!(rows.finish(), "none");
        rows.row(["a-long-name".into(), "x".into()])
            .row(["b".into(), "".into()]);
        assert_eq!(rows.finish(), "HOST         ZONE\na-long-name  x\nb");
    }
}
