use std::time::Duration;

/// A duration in milliseconds, for printing.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Measured durations of one kind.
#[derive(Debug, Default)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// Adds one measurement.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
        self.0.sort();
    }

    /// The one in the middle.
    ///
    /// # Panics
    /// When nothing was measured.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// The longest.
    ///
    /// # Panics
    /// When nothing was measured.
    pub fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }

    /// Prints what was measured, for whoever reads the output of the tests.
    pub fn print(&self, what: &str) {
        println!(
            "figure: {what}: median {} ms, longest {} ms of {}",
            millis(self.median()),
            millis(self.max()),
            self.0.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_longest_do_not_depend_on_the_order_of_measuring() {
        let mut figures = Figures::default();
        for ms in [5, 1, 9, 3, 7] {
            figures.add(Duration::from_millis(ms));
        }
        assert_eq!(figures.median(), Duration::from_millis(5));
        assert_eq!(figures.max(), Duration::from_millis(9));
    }
}
