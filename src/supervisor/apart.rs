//! Memory that is given back. The supervisor lives long and needs little, but reading a large config or state needs a
//! lot for a moment; what is left of that between the things that stay could never be returned to the system.

use std::panic::resume_unwind;
use std::thread;

/// Does the work on a thread of its own. Memory that it takes comes from another part of the heap than what this
/// thread keeps, so that all of it is free again once the result has been dropped or copied.
pub fn apart<T: Send>(work: impl Fn() -> T + Send + Sync) -> T {
    thread::scope(|scope| match thread::Builder::new().name("apart".into()).spawn_scoped(scope, &work) {
        Ok(done) => done.join().unwrap_or_else(|panic| resume_unwind(panic)),
        // No thread is to be had: then without the saving.
        Err(_) => work(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_comes_back_from_another_thread() {
        let here = thread::current().id();
        let (there, sum) = apart(|| (thread::current().id(), (1..=4).sum::<i32>()));
        assert_eq!(sum, 10);
        assert_ne!(there, here);
    }
}
