/// Lays out rows under a heading in columns as wide as they need to be.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(heading, widths);
    for row in rows {
        text += &line(row.each_ref().map(String::as_str), widths);
    }
    text
}

fn line<const N: usize>(cells: [&str; N], widths: [usize; N]) -> String {
    let padded: Vec<_> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    format!("{}\n", padded.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = table(["NODE", "N"], &[row("n1", "1"), row("worker", "23")]);
        assert_eq!(text, "NODE    N\nn1      1\nworker  23\n");
        assert_eq!(table(["A", "B"], &[]), "A  B\n");
    }
}
