/// The numbers of one node's `/metrics`, as they were at one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads the Prometheus text format. Lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
            .collect();
        Self { samples }
    }

    /// The sum over all series of this name whatever their labels; 0 where there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.select(name).map(|(_, value)| value).sum()
    }

    /// The sum over the series of this name that carry the label, written as `label="value"`.
    pub fn with_label(&self, name: &str, label: &str) -> f64 {
        let carries = |labels: &str| labels.split(',').any(|one| one == label);
        self.select(name)
            .filter(|(labels, _)| carries(labels))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether there is any series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.select(name).next().is_some()
    }

    /// Labels (without braces) and values of the series of a name.
    fn select<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.samples.iter().filter_map(move |(series, value)| {
            let (series, labels) = series.split_once('{').unwrap_or((series, ""));
            (series == name).then(|| (labels.trim_end_matches('}'), *value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let metrics = Metrics::parse(
            "# TYPE drops counter\ndrops_total{reason=\"a\",lane=\"1\"} 2\n\
             drops_total{reason=\"b\"} 3\ndrops_total_other 9\nup 1\n# EOF\n",
        );
        assert_eq!(metrics.sum("drops_total"), 5.0);
        assert_eq!(metrics.with_label("drops_total", "reason=\"a\""), 2.0);
        assert_eq!(metrics.sum("up"), 1.0);
        assert_eq!(metrics.sum("down"), 0.0);
        assert!(metrics.has("up") && !metrics.has("down"));
    }
}
