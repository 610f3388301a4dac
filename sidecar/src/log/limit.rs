use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, warn};
use tracing_subscriber::layer::{Context, Filter};

use super::LIMITED;

/// A filter that lets a few lines of each kind through in a minute, and counts the others. A kind
/// is one place in the code, so there are no more of them than the code has. What is below `info`
/// is not limited: who asks for it wants it all.
#[derive(Debug, Clone, Default)]
pub struct LogLimit {
    kinds: Arc<Mutex<HashMap<Identifier, Kind>>>,
}

/// The lines that one place in the code has made in this minute.
#[derive(Debug)]
struct Kind {
    since: Instant,
    passed: u32,
    left_out: u64,
    /// What its first line said, so that people know which kind it is.
    example: String,
}

/// Lines of one kind that were left out.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    count: u64,
    example: String,
}

impl LogLimit {
    /// Says in the log how many lines of each kind were left out in the minutes that are over, or
    /// up to now.
    pub fn tell(&self, up_to_now: bool) {
        for LeftOut { count, example } in self.left_out(Instant::now(), up_to_now) {
            warn!(left_out = count, like = %example, "left out lines of one kind");
        }
    }

    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut kinds = self.lock();
        let kind = kinds
            .entry(event.metadata().callsite())
            .or_insert_with(|| Kind {
                since: now,
                passed: 0,
                left_out: 0,
                example: Example::of(event),
            });
        if kind.left_out == 0 && now.duration_since(kind.since) >= MINUTE {
            (kind.since, kind.passed) = (now, 0);
        }
        if kind.passed < LINES_MAX {
            kind.passed += 1;
            return true;
        }
        kind.left_out += 1;
        LIMITED.fetch_add(1, Relaxed);
        false
    }

    fn left_out(&self, now: Instant, up_to_now: bool) -> Vec<LeftOut> {
        let mut kinds = self.lock();
        let over = |kind: &&mut Kind| up_to_now || now.duration_since(kind.since) >= MINUTE;
        let some = kinds.values_mut().filter(over).filter(|k| k.left_out > 0);
        some.map(|kind| {
            (kind.since, kind.passed) = (now, 0);
            LeftOut {
                count: std::mem::take(&mut kind.left_out),
                example: kind.example.clone(),
            }
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for LogLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_own = metadata.target() == module_path!();
        is_own || *metadata.level() > Level::INFO || self.passes(event, Instant::now())
    }
}

/// The message of a line, as far as it fits.
struct Example(String);

impl Example {
    fn of(event: &Event<'_>) -> String {
        let mut example = Self(String::new());
        event.record(&mut example);
        let Self(mut text) = example;
        text.truncate(text.floor_char_boundary(EXAMPLE_BYTES_MAX));
        text
    }
}

impl Visit for Example {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").expect("a string takes all that is written");
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Lines of one kind in a minute.
const LINES_MAX: u32 = 10;
const EXAMPLE_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use tracing::{debug, info};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Does this with a log that is limited, and returns its lines.
    fn lines(limit: &LogLimit, act: impl FnOnce()) -> Vec<String> {
        struct Sink(std::sync::mpsc::Sender<String>);
        impl<S: tracing::Subscriber> Layer<S> for Sink {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.send(Example::of(event)).unwrap();
            }
        }
        let (sender, receiver): (_, Receiver<String>) = channel();
        let layer = Sink(sender).with_filter(limit.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, act);
        receiver.into_iter().collect()
    }

    #[test]
    fn a_kind_of_line_comes_a_few_times_and_then_as_a_number() {
        let limit = LogLimit::default();
        let told = lines(&limit, || {
            for number in 0..1000 {
                info!(number, "somebody knocks");
                debug!("in detail");
            }
            info!("something else");
        });
        let count = |text: &str| told.iter().filter(|line| *line == text).count();
        assert_eq!(count("somebody knocks"), LINES_MAX as usize);
        assert_eq!(count("something else"), 1);
        assert_eq!(count("in detail"), 1000);

        assert_eq!(
            limit.left_out(Instant::now(), false),
            [],
            "not in the minute"
        );
        let later = Instant::now() + MINUTE;
        let expected = LeftOut {
            count: 1000 - u64::from(LINES_MAX),
            example: "somebody knocks".into(),
        };
        assert_eq!(limit.left_out(later, false), [expected]);
        assert_eq!(limit.left_out(later, true), [], "told once");
    }

    #[test]
    fn what_was_left_out_is_said_in_the_log() {
        let limit = LogLimit::default();
        let told = lines(&limit, || {
            // More kinds than lines of one: telling of them is not limited itself.
            macro_rules! kinds { ($($kind:literal)*) => { $((0..20).for_each(|_| info!($kind));)* } }
            kinds!("a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l");
            limit.tell(true);
        });
        let telling = told.iter().filter(|line| line.starts_with("left out"));
        assert_eq!(telling.count(), 12);
    }
}
