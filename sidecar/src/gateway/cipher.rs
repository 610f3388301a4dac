use std::io::{self, BufRead, ErrorKind, IoSlice, Write};

use bytes::BytesMut;
use tokio_rustls::rustls::ServerConnection;

use super::socket::Socket;

/// The TLS of one connection after its handshake.
///
/// It holds no plaintext: what has been decrypted is handed over at once, so that a socket with
/// nothing to read means that there is nothing. Of what was written it holds so much ciphertext that
/// a client that does not read costs little more than one without TLS.
#[derive(Debug)]
pub(super) struct Cipher(ServerConnection);

/// How much of what was encrypted may wait for the socket, in bytes, beside one record.
const BEHIND_BYTES: usize = 16 << 10;
/// How many times the socket is asked in one reading. Each gives up to 4 KiB, as rustls reads.
const READS: usize = 16;

impl Cipher {
    pub(super) fn new(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(BEHIND_BYTES));
        Self(connection)
    }

    /// Appends what has come and been decrypted, and may be more than there is room for by a few
    /// records. 0 is the end.
    pub(super) fn read(&mut self, socket: &Socket, input: &mut BytesMut) -> io::Result<usize> {
        let (before, room) = (input.len(), input.capacity() - input.len());
        for _ in 0..READS {
            let is_over = self.take(input)?;
            let bytes = input.len() - before;
            if is_over || bytes >= room.max(1) {
                return Ok(bytes);
            }
            let received = match self.0.read_tls(&mut &*socket) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock && bytes > 0 => {
                    return Ok(bytes);
                }
                Err(error) => return Err(error),
            };
            if let Err(error) = self.0.process_new_packets() {
                // The client is told what is wrong, if it is there to hear it.
                let _ = self.0.write_tls(&mut &*socket);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            if received == 0 {
                let is_over = self.take(input)?;
                let bytes = input.len() - before;
                return match bytes {
                    0 if !is_over => Err(ErrorKind::UnexpectedEof.into()),
                    bytes => Ok(bytes),
                };
            }
        }
        self.take(input)?;
        match input.len() - before {
            // Records without content. Others have their turn before there may be more of them.
            0 => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }

    /// Takes all that is decrypted, and says whether the client has ended the stream.
    fn take(&mut self, input: &mut BytesMut) -> io::Result<bool> {
        let mut reader = self.0.reader();
        loop {
            let bytes = match reader.fill_buf() {
                Ok([]) => return Ok(true),
                Ok(plain) => {
                    input.extend_from_slice(plain);
                    plain.len()
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            reader.consume(bytes);
        }
    }

    /// Encrypts as much of this as may wait, and writes what the socket takes now. Nothing is
    /// encrypted while something waits, so what is not taken stays with the caller.
    pub(super) fn write(&mut self, socket: &Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        if parts.iter().all(|part| part.is_empty()) {
            return Ok(0);
        }
        let taken = self.0.writer().write_vectored(parts)?;
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn end(&mut self) {
        self.0.send_close_notify();
    }

    /// Writes what waits for the socket.
    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.0.wants_write() {
            if self.0.write_tls(&mut &*socket)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Whether something waits for the socket.
    pub(super) fn is_behind(&self) -> bool {
        self.0.wants_write()
    }
}
