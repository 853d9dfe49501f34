//! Tables: aligned text, CSV, Markdown.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement};

use super::args::Format;
use super::out::{Out, printable};

/// Rows under named columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    headers: Vec<String>,
    numeric: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A name with a leading `>` is a column of numbers, aligned to the right.
    pub(crate) fn new(headers: &[&str]) -> Self {
        let is_numeric = |h: &&str| h.starts_with('>');
        Self {
            numeric: (0..headers.len())
                .filter(|i| headers.get(*i).is_some_and(is_numeric))
                .collect(),
            headers: headers.iter().map(|h| h.trim_start_matches('>').to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// `empty` is said instead of a table without rows; CSV and Markdown keep their header.
    pub(crate) fn write(&self, format: Format, empty: &str, out: &mut Out) -> io::Result<()> {
        match format {
            Format::Csv => self.csv(out),
            Format::Markdown => self.markdown(out),
            Format::Table | Format::Json if self.is_empty() => out.line(empty),
            Format::Table | Format::Json => self.text(out),
        }
    }

    fn text(&self, out: &mut Out) -> io::Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        if out.terminal {
            table.set_width(u16::try_from(out.columns).unwrap_or(u16::MAX));
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(self.headers.iter().map(|h| h.to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(|c| printable(c)));
        }
        let last = self.headers.len().saturating_sub(1);
        for i in 0..self.headers.len() {
            let Some(column) = table.column_mut(i) else { continue };
            if self.numeric.contains(&i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            column.set_padding((0, if i == last { 0 } else { 2 }));
        }
        for line in table.lines() {
            out.line(line.trim_end())?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut Out) -> io::Result<()> {
        for row in std::iter::once(&self.headers).chain(&self.rows) {
            out.line(&csv_line(row.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    fn markdown(&self, out: &mut Out) -> io::Result<()> {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells
                .iter()
                .map(|c| printable(c).replace('\\', "\\\\").replace('|', "\\|"))
                .collect();
            format!("| {} |", cells.join(" | "))
        };
        out.line(&line(&self.headers))?;
        let rule: Vec<&str> = (0..self.headers.len())
            .map(|i| if self.numeric.contains(&i) { "---:" } else { "---" })
            .collect();
        writeln!(out, "| {} |", rule.join(" | "))?;
        for row in &self.rows {
            out.line(&line(row))?;
        }
        Ok(())
    }
}

/// One record by RFC 4180, without the line's end.
pub(crate) fn csv_line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells
        .into_iter()
        .map(|c| {
            if c.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", c.replace('"', "\"\""))
            } else {
                c.to_owned()
            }
        })
        .collect();
    cells.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::testing::memory;

    fn shown(format: Format) -> String {
        let mut table = Table::new(&["name", ">value"]);
        table.row(["cpu_percent".to_owned(), "23.5".to_owned()]);
        table.row(["a|b, \"c\"\u{7}".to_owned(), "1".to_owned()]);
        let (mut out, written) = memory();
        table.write(format, "nothing", &mut out).unwrap();
        written.text()
    }

    #[test]
    fn the_three_forms() {
        insta::assert_snapshot!(shown(Format::Table), @r#"
        NAME           VALUE
        cpu_percent     23.5
        a|b, "c"\u{7}      1
        "#);
        assert_eq!(shown(Format::Csv), "name,value\ncpu_percent,23.5\n\"a|b, \"\"c\"\"\u{7}\",1\n");
        insta::assert_snapshot!(shown(Format::Markdown), @r#"
        | name | value |
        | --- | ---: |
        | cpu_percent | 23.5 |
        | a\|b, "c"\\u{7} | 1 |
        "#);
    }

    #[test]
    fn an_empty_table_says_so() {
        let (mut out, written) = memory();
        Table::new(&["a"]).write(Format::Table, "no alerts", &mut out).unwrap();
        assert_eq!(written.text(), "no alerts\n");
    }
}
