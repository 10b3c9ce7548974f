//! Who connects, until it has said who it is.

use std::io;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::conn::Conn;
use super::serve::{CALLER, CONN, Keeper, add};

impl Keeper {
    pub(super) fn accept(&mut self) {
        loop {
            let stream = match self.door.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // He waits; there is nobody to tell.
                Err(_) => return self.look_soon(),
            };
            let Ok(caller) = Conn::accept(stream) else { continue };
            if add(&self.epoll, caller.fd(), CALLER).is_ok() {
                // The one before may have said hello by now.
                self.on_caller();
                self.caller = Some(caller);
            }
        }
    }

    pub(super) fn on_caller(&mut self) {
        let Some(caller) = &mut self.caller else { return };
        let received = caller.receive();
        let mut orders = received.orders.into_iter();
        let Some(first) = orders.next() else {
            if received.closed {
                self.caller = None;
            }
            return;
        };
        let Some(mut caller) = self.caller.take() else { return };
        let peer = caller.peer_pid;
        let hello = match self.hello_of(first, peer) {
            Ok(hello) => hello,
            Err(refused) => {
                // It is told once; whether it still listens is its own affair.
                if caller.send(&refused) {
                    caller.flush();
                }
                return;
            }
        };
        // The last words of the one before.
        self.on_conn();
        let mut as_line = EpollEvent::new(EpollFlags::EPOLLIN, CONN);
        if self.epoll.modify(caller.fd(), &mut as_line).is_err() {
            return;
        }
        self.conn = Some(caller);
        self.conn_writes = false;
        self.on_hello(peer, hello);
        for order in orders {
            self.on_order(order);
        }
        if received.closed {
            self.conn = None;
        }
    }
}
