//! A guard against calls from inside of `select`.

/// While one is held, its thread walks members under a lock. In debug builds a call of `Rooms` from there panics at once; in release
/// builds nothing is checked, and such a call could wait for ever for another thread that waits for us.
pub(super) struct Selecting(());

impl Selecting {
    pub(super) fn enter() -> Self {
        Self::forbid();
        #[cfg(debug_assertions)]
        debug::SELECTING.set(true);
        Self(())
    }

    pub(super) fn forbid() {
        #[cfg(debug_assertions)]
        assert!(
            !debug::SELECTING.get(),
            "what select calls must not call rooms again"
        );
    }
}

impl Drop for Selecting {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        debug::SELECTING.set(false);
    }
}

#[cfg(debug_assertions)]
mod debug {
    use std::cell::Cell;

    thread_local! {
        pub(super) static SELECTING: Cell<bool> = const { Cell::new(false) };
    }
}
