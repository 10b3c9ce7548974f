//! The line to the supervisor: never waits, in neither direction. What cannot be sent yet is buffered; a supervisor
//! that reads nothing for too long loses the connection, and learns all of it anew with its next hello.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::wire::{MAX_LINE, Order, Report};

/// More than a full welcome of thousands of attempts.
const MAX_UNSENT: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Conn {
    stream: UnixStream,
    pub(crate) peer_pid: i32,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) orders: Vec<Order>,
    pub(crate) closed: bool,
}

impl Conn {
    /// Takes a fresh connection, if it comes from the same user (or root).
    pub(crate) fn accept(stream: UnixStream) -> io::Result<Self> {
        let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
        if peer.uid() != 0 && peer.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, peer_pid: peer.pid(), received: Vec::new(), unsent: Vec::new() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(crate) fn receive(&mut self) -> Received {
        let mut result = Received::default();
        let mut buffer = [0_u8; 16 << 10];
        let before = self.received.len();
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => result.closed = true,
                Ok(length) => {
                    self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    // Many lines may come at once; what is still in the socket wakes us again.
                    if length == buffer.len() && self.received.len() <= MAX_LINE {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => result.closed = true,
            }
            break;
        }
        // No line ends in what was there before.
        let fresh = self.received.get(before..).unwrap_or_default();
        let whole = match fresh.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                let rest = self.received.split_off(before + last + 1);
                std::mem::replace(&mut self.received, rest)
            }
            None => Vec::new(),
        };
        result.closed |= self.received.len() > MAX_LINE;
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(order) => result.orders.push(order),
                // Not ours, or of a version that the hello would have refused.
                Err(_) => result.closed = true,
            }
        }
        result
    }

    /// What was said is still heard; whoever goes on speaking finds the line broken.
    pub(crate) fn hear_no_more(&self) {
        self.stream.shutdown(Shutdown::Read).ok();
    }

    /// Queues a report for the next flush; false when the other side has not read for too long.
    pub(crate) fn send(&mut self, report: &Report) -> bool {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            self.unsent.extend_from_slice(&line);
        }
        self.unsent.len() <= MAX_UNSENT
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what goes without waiting. Where that fails the line is over, once all is read that was said last, a goodbye
    /// perhaps.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => {
                    self.unsent.drain(..sent);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.unsent.clear();
                    self.stream.shutdown(Shutdown::Both).ok();
                }
            }
        }
        if self.unsent.is_empty() && self.unsent.capacity() > 64 << 10 {
            self.unsent = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_one_who_has_gone_are_heard_whatever_could_not_be_told_him() {
        let (mut supervisor, keeper) = UnixStream::pair().unwrap();
        let mut conn = Conn::accept(keeper).unwrap();
        // What he has not read makes it a reset instead of an end.
        conn.send(&Report::Gone { key: "a#1".into() });
        conn.flush();
        serde_json::to_writer(&mut supervisor, &Order::Goodbye).unwrap();
        supervisor.write_all(b"\n").unwrap();
        drop(supervisor);
        conn.send(&Report::Gone { key: "a#2".into() });
        conn.flush();
        assert!(!conn.wants_write());
        assert_eq!(conn.receive().orders, [Order::Goodbye]);
        assert!(conn.receive().closed);
    }

    #[test]
    fn long_lines_may_follow_one_another_and_one_without_an_end_closes() {
        let (mut supervisor, keeper) = UnixStream::pair().unwrap();
        let mut conn = Conn::accept(keeper).unwrap();
        let long = Order::Input { key: "a#1".into(), text: "x".repeat(MAX_LINE - 100) };
        let line = serde_json::to_vec(&long).unwrap();
        let says = std::thread::spawn(move || {
            for _ in 0..2 {
                supervisor.write_all(&line).unwrap();
                supervisor.write_all(b"\n").unwrap();
            }
            // The other side closes in the middle of it.
            supervisor.write_all(&vec![b'x'; MAX_LINE + 2]).ok();
        });
        let mut orders = Vec::new();
        let closed = loop {
            let mut ready = [nix::poll::PollFd::new(conn.fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut ready, nix::poll::PollTimeout::NONE).unwrap();
            let received = conn.receive();
            orders.extend(received.orders);
            if received.closed {
                break orders.len();
            }
        };
        drop(conn);
        says.join().unwrap();
        assert_eq!(closed, 2);
        assert!(orders.iter().all(|order| *order == long));
    }
}
