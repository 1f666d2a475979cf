//! Small tables, JSON lines and whole texts on standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::text::for_terminal;

/// A column: its head, and one cell a row.
#[derive(Debug)]
pub struct Column {
    pub head: &'static str,
    pub cells: Vec<String>,
}

pub fn print_table(columns: &[Column]) -> io::Result<()> {
    write_table(&mut anstream::stdout(), columns)
}

/// Lines of text. On a terminal none of them steers it.
pub fn print_lines(lines: &[String], terminal: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout());
    for line in lines {
        let line = match terminal {
            true => for_terminal(line),
            false => line.into(),
        };
        writeln!(out, "{line}")?;
    }
    out.flush()
}

pub fn print_json_line(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// A text for people, line by line.
pub fn print_report(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    for line in text.lines() {
        writeln!(out, "{}", for_terminal(line))?;
    }
    Ok(())
}

/// A text as it is.
pub fn print_text(text: &str) -> io::Result<()> {
    print_bytes(text.as_bytes())
}

/// Bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    io::stdout().write_all(bytes)
}

fn write_table(out: &mut impl Write, columns: &[Column]) -> io::Result<()> {
    let rows = columns
        .iter()
        .map(|column| column.cells.len())
        .max()
        .unwrap_or(0);
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| {
            let cells = column.cells.iter().map(|cell| cell.chars().count());
            cells.chain([column.head.len()]).max().unwrap_or(0)
        })
        .collect();
    let head = columns
        .iter()
        .map(|column| column.head.to_owned())
        .collect();
    let body = (0..rows).map(|row| {
        columns
            .iter()
            .map(|column| column.cells.get(row).cloned().unwrap_or_default())
            .collect()
    });
    for row in std::iter::once(head).chain(body) {
        let row: Vec<String> = row;
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{:<width$}  ", for_terminal(cell)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let columns = [
            Column {
                head: "ID",
                cells: vec!["local".into(), "b".into()],
            },
            Column {
                head: "STATE",
                cells: vec!["ready".into(), String::new()],
            },
        ];
        let mut out = Vec::new();
        write_table(&mut out, &columns).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ID     STATE\nlocal  ready\nb\n"
        );
    }
}
