use std::time::{Duration, UNIX_EPOCH};

/// A moment, as JSON has it.
pub(super) fn moment(unix: Duration) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + unix).to_string()
}

/// A time, as the NATS server writes it: `2d3h4m5s`, without parts that are 0 at the front.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let (s, m, h) = (seconds % 60, minutes % 60, hours % 24);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m{s}s"),
        (0, _, _) => format!("{h}h{m}m{s}s"),
        (days, _, _) => format!("{days}d{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_nats_server_does() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3_725, "1h2m5s"),
            (86_400, "1d0h0m0s"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            moment(Duration::from_millis(1_500)),
            "1970-01-01T00:00:01.500000000Z"
        );
    }
}
