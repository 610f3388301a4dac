//! The report for people: a line for each contender, and one for how they compare.

use std::fmt::Write;

use crate::summary::{Ratios, Summary};

/// What stands over all lines.
pub(crate) fn head() -> String {
    line(
        "",
        &[
            "published",
            "delivered",
            "lost",
            "cut",
            "s",
            "pub/s",
            "msg/s",
            "MB/s",
            "MiB",
            "cpu s",
            "us/msg",
            "p50 ms",
            "p99 ms",
            "max ms",
            "lost",
        ]
        .map(str::to_owned),
    )
}

/// What the columns mean.
pub(crate) const LEGEND: &str = "\
cut: subscribers cut off, the one that is slow on purpose aside · pub/s: published · msg/s, MB/s: delivered ·
MiB: memory peak of the server that took most · cpu s, us/msg: time of processors of all servers, and for each
message delivered · p50, p99, max, lost: what a bystander notices, a pair of clients on a topic of its own ·
published, delivered, lost, cut: of all rounds together; all else: medians of the rounds, but for max";

/// The line of a contender, and its remarks below.
pub(crate) fn contender(name: &str, summary: &Summary) -> String {
    let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let mut text = line(
        name,
        &[
            short(summary.published as f64),
            short(summary.delivered as f64),
            short(summary.lost as f64),
            summary.cut_off.to_string(),
            format!("{:.2}", summary.seconds),
            short(summary.published_per_second),
            short(summary.delivered_per_second),
            short(summary.megabytes_per_second),
            short(summary.memory_peak_mib),
            format!("{:.2}", summary.cpu_seconds),
            some(summary.cpu_micros),
            some(summary.bystander_p50_ms),
            some(summary.bystander_p99_ms),
            some(summary.bystander_max_ms),
            short(summary.bystander_lost as f64),
        ],
    );
    if let Some(kib) = summary.kib_per_idle_client {
        text += &format!("      {} KiB for each idle client\n", short(kib));
    }
    for remark in &summary.remarks {
        let _ = writeln!(text, "      {remark}");
    }
    text
}

/// The line of the ratios.
pub(crate) fn ratios(ratios: &Ratios) -> String {
    let some = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
    let mut cells = vec![String::new(); 6];
    cells.push(some(ratios.delivered_per_second));
    cells.push(String::new());
    cells.push(some(ratios.memory_peak));
    cells.push(String::new());
    cells.push(some(ratios.cpu_per_message));
    cells.push(some(ratios.bystander_p50));
    cells.push(some(ratios.bystander_p99));
    cells.push(some(ratios.bystander_max));
    let mut text = line("ratio", &cells);
    if let Some(ratio) = ratios.kib_per_idle_client {
        let _ = writeln!(
            text,
            "      {ratio:.2} times the memory for each idle client"
        );
    }
    text
}

fn line(name: &str, cells: &[String]) -> String {
    let mut text = format!("  {name:<11}");
    for (cell, width) in cells
        .iter()
        .zip([9, 9, 7, 3, 6, 7, 7, 7, 7, 6, 7, 7, 7, 7, 6])
    {
        let _ = write!(text, " {cell:>width$}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A number in three digits or a little more, with k or M.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 999_500.0 => (value / 1e6, "M"),
        value if value >= 9_999.5 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = match value {
        value if value.fract() == 0.0 && unit.is_empty() => 0,
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.123, "0.12"),
            (7.0, "7"),
            (12.34, "12.3"),
            (123.4, "123"),
            (9_999.0, "9999"),
            (12_345.0, "12.3k"),
            (999_499.0, "999k"),
            (999_600.0, "1.00M"),
            (12_345_678.0, "12.3M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let (head, row) = (head(), contender("nats-server", &Summary::default()));
        let ends = |text: &str, at: usize| {
            let after = text[at + 1..].chars().next();
            !text[..=at].ends_with(' ') && after.is_none_or(|c| c == ' ')
        };
        let (head, row) = (head.trim_end(), row.trim_end());
        assert_eq!(head.len(), row.len());
        for at in (13..row.len()).filter(|at| ends(row, *at)) {
            assert!(ends(head, at), "column {at}");
        }
    }
}
