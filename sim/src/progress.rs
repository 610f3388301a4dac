/// Which messages of a publisher came through somewhere, as far as each was the newest by then.
#[derive(Debug, Default)]
pub(crate) struct Progress(Vec<Passed>);

/// A message that came through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// Its number.
    pub(crate) number: u64,
    /// The step at which it did.
    pub(crate) step: u64,
    /// Of how many missed messages its receiver had been told by then.
    pub(crate) told: u64,
}

impl Progress {
    /// Takes in what comes through now.
    pub(crate) fn add(&mut self, passed: Passed) {
        if self.0.last().is_none_or(|last| last.number < passed.number) {
            self.0.push(passed);
        }
    }

    /// The first that came through of all with a higher number.
    pub(crate) fn after(&self, number: u64) -> Option<Passed> {
        let at = self.0.partition_point(|passed| passed.number <= number);
        self.0.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_came_later_tells_when_all_before_it_were_there() {
        let mut progress = Progress::default();
        for (step, number) in [(1, 0), (2, 3), (3, 1), (4, 3), (5, 7)] {
            let told = 0;
            progress.add(Passed { number, step, told });
        }
        let step = |number| progress.after(number).map(|passed| passed.step);
        assert_eq!([0, 1, 2, 3, 6].map(step), [2, 2, 2, 5, 5].map(Some));
        assert_eq!(step(7), None);
    }
}
