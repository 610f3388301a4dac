//! The random source of the operating system, replaced on threads that ask for it.
//!
//! Everything random in a node comes, in the end, from the `getrandom` of libc or the system call
//! of that name: keys and nonces of TLS, connection ids, the hash seeds of std, the generators of
//! `rand`. Both are defined here and so take the place of libc's for the whole program. On a thread
//! that called [`seed`] they give a stream that the seed alone decides; on any other they pass the
//! call on to libc.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, c_long, c_uint, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

thread_local! {
    // Needs no destructor, so it can be read at any time in the life of a thread.
    static SOURCE: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
}

/// From now on everything random on this thread comes from `source`.
///
/// A thread that has drawn randomness before keeps some of it, in the generators of `rand` and in
/// the hash seeds of std; so call it first thing on a fresh thread.
pub fn seed(source: ChaCha8Rng) {
    SOURCE.with_borrow_mut(|own| *own = Some(source));
}

/// Fills the buffer from this thread's stream; false if it has none.
fn fill(buffer: &mut [u8]) -> bool {
    SOURCE.with_borrow_mut(|source| match source {
        Some(source) => {
            source.fill_bytes(buffer);
            true
        }
        None => false,
    })
}

/// What libc exports under this name; looked up once.
fn libc_symbol(name: &CStr, found: &AtomicPtr<c_void>) -> *mut c_void {
    // Not a OnceLock: waiting for one makes a system call, which would lead back here.
    let known = found.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name ends with a zero byte, and the handle is one that dlsym knows.
    let symbol = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(
        !symbol.is_null(),
        "libc has both functions that are looked up here"
    );
    found.store(symbol, Ordering::Release);
    symbol
}

type GetRandom = unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

/// # Safety
/// As for libc's: `buffer` is valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    static LIBC: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    if len == 0 {
        return 0;
    }
    // SAFETY: the caller says that the buffer is valid for so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
    if fill(bytes) {
        return len as isize;
    }
    // SAFETY: libc's function has this signature, and the arguments are the caller's.
    unsafe {
        let libc = transmute::<*mut c_void, GetRandom>(libc_symbol(c"getrandom", &LIBC));
        libc(buffer, len, flags)
    }
}

/// # Safety
/// As for libc's, with six arguments, the most that any system call has. Those that the caller did
/// not give hold whatever was in their registers, which the kernel does not look at.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    static LIBC: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    if number == libc::SYS_getrandom {
        // SAFETY: the arguments of the system call are those of the function.
        return unsafe { getrandom(a as *mut c_void, b, c as c_uint) } as c_long;
    }
    // SAFETY: libc's function takes the number and whatever the system call needs.
    unsafe {
        let libc = transmute::<*mut c_void, Syscall>(libc_symbol(c"syscall", &LIBC));
        libc(number, a, b, c, d, e, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;
    use std::collections::HashMap;
    use std::thread;

    fn draw(number: Option<u64>) -> (u64, u64, String) {
        thread::spawn(move || {
            if let Some(number) = number {
                super::seed(seed::stream(number, "test", &[]));
            }
            let map: HashMap<u32, ()> = (0..64).map(|key| (key, ())).collect();
            let order = format!("{:?}", map.keys().collect::<Vec<_>>());
            (rand::random(), rand::rng().next_u64(), order)
        })
        .join()
        .unwrap()
    }

    #[test]
    fn a_seeded_thread_draws_the_same_every_time() {
        assert_eq!(draw(Some(7)), draw(Some(7)));
        assert_ne!(draw(Some(7)), draw(Some(8)));
    }

    #[test]
    fn other_threads_draw_from_the_system() {
        assert_ne!(draw(None), draw(None));
    }
}
