use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use super::{LogLimit, UNWRITTEN};

/// Where lines of the log are handed over. Writing never waits and never fails: a thread of its own
/// writes them out, and what it cannot write, or not fast enough, is counted.
#[derive(Debug, Clone)]
pub struct LogWriter {
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl LogWriter {
    /// Starts to write to `out`. The same thread says from time to time what `limit` has left out.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(out: impl Write + Send + 'static, limit: LogLimit) -> io::Result<Self> {
        let (lines, to_write) = sync_channel(LINES_WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_out(out, &to_write, &written, &limit))?;
        Ok(Self { lines, waiting })
    }

    /// Waits until all is written, but no longer than this.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.waiting.load(Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Write for LogWriter {
    /// Takes it all, as one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.waiting.fetch_add(1, AcqRel);
        if self.lines.try_send(line.to_vec()).is_err() {
            self.waiting.fetch_sub(1, AcqRel);
            UNWRITTEN.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_out(
    mut out: impl Write,
    lines: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
    limit: &LogLimit,
) {
    let mut tell_at = Instant::now() + TELL_INTERVAL;
    loop {
        match lines.recv_timeout(tell_at.duration_since(Instant::now())) {
            Ok(line) => {
                if out.write_all(&line).is_err() {
                    UNWRITTEN.fetch_add(1, Relaxed);
                }
                waiting.fetch_sub(1, AcqRel);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= tell_at {
            limit.tell(false);
            tell_at = Instant::now() + TELL_INTERVAL;
        }
    }
}

/// Lines that may wait to be written. More are lost.
const LINES_WAITING_MAX: usize = 1024;
/// How often it is looked at what was left out.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;
    use crate::log::LostLines;

    /// Fails until it is told to work, and stands still while there is nobody to take what it writes.
    struct Out(SyncSender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_in_order_and_a_log_that_stands_still_or_breaks_holds_up_nobody() {
        let (out, written) = sync_channel(0);
        let mut log = LogWriter::start(Out(out), LogLimit::default()).unwrap();
        log.write_all(b"one").unwrap();
        log.write_all(b"two").unwrap();
        assert_eq!(written.recv().unwrap(), b"one");
        assert_eq!(written.recv().unwrap(), b"two");

        // Nobody reads now. All these calls return.
        let before = LostLines::now().unwritten;
        for _ in 0..2 * LINES_WAITING_MAX {
            log.write_all(b"more").unwrap();
        }
        let lost = LostLines::now().unwritten - before;
        assert!(lost >= LINES_WAITING_MAX as u64 - 1, "{lost}");

        drop(written);
        LogWriter::flush(&log, Duration::from_secs(20));
        let lost = LostLines::now().unwritten - before;
        assert_eq!(lost, 2 * LINES_WAITING_MAX as u64, "each line is counted");
    }

    #[test]
    fn waiting_for_a_log_that_stands_still_has_an_end() {
        let (out, _written): (_, Receiver<_>) = sync_channel(0);
        let mut log = LogWriter::start(Out(out), LogLimit::default()).unwrap();
        log.write_all(b"one").unwrap();
        let (done, is_done): (Sender<()>, _) = std::sync::mpsc::channel();
        thread::spawn(move || {
            LogWriter::flush(&log, Duration::from_millis(50));
            drop(done);
        });
        let ended = is_done.recv_timeout(Duration::from_secs(20));
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }
}
