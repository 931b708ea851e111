//! What a connection and an event may cost: see `tests/`. Here is the allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are allocated at this moment.
pub static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// Allocations since the start.
pub static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted. Make it the `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one hands every call to the system's and counts"
)]
// SAFETY: every method passes its arguments unchanged to `System`, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted_and_taken_back() {
        let layout = Layout::from_size_align(1000, 8).unwrap();
        let before = LIVE_BYTES.load(Ordering::Relaxed);
        #[expect(unsafe_code, reason = "the test calls the allocator itself")]
        // SAFETY: the layout is not empty, and the pointer is given back once with the same layout.
        unsafe {
            let pointer = Counting.alloc(layout);
            assert!(!pointer.is_null());
            assert_eq!(LIVE_BYTES.load(Ordering::Relaxed), before + 1000);
            Counting.dealloc(pointer, layout);
        }
        assert_eq!(LIVE_BYTES.load(Ordering::Relaxed), before);
    }
}
