//! Where in the log a client is, and how that is written.

/// A place in the log: that of the packet with this number, the first being 1. Everything up to it lies before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(super) u64);

impl Position {
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a client says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No offset at all: it has received no event.
    Nothing,
    /// The offset of the last event it has received.
    UpTo(Position),
    /// An offset that is none of this log.
    Unknown,
}

/// One log's way to write positions. The mark at their front differs from log to log, so that what another server wrote, or this one before
/// it was started anew, is not taken for a place in this log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    mark: u32,
}

impl Offsets {
    /// The mark has to be random.
    pub(super) fn new(mark: u32) -> Self {
        Self { mark }
    }

    pub(super) fn write(self, position: Position) -> String {
        format!("{:08x}.{:x}", self.mark, position.0)
    }

    pub(super) fn read(self, offset: Option<&str>) -> Seen {
        let Some(text) = offset else {
            return Seen::Nothing;
        };
        let position = text
            .split_once('.')
            .and_then(|(_, number)| u64::from_str_radix(number, 16).ok())
            .map(Position);
        match position {
            // Written in one way only, so that whatever else reads the same is not ours.
            Some(position) if self.write(position) == text => Seen::UpTo(position),
            Some(_) | None => Seen::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_their_text() {
        let offsets = Offsets::new(0xABC);
        for number in [0, 1, 255, u64::MAX] {
            let text = offsets.write(Position(number));
            assert_eq!(offsets.read(Some(&text)), Seen::UpTo(Position(number)));
        }
        assert_eq!(offsets.write(Position(255)), "00000abc.ff");
    }

    #[test]
    fn other_texts_are_unknown() {
        let offsets = Offsets::new(1);
        assert_eq!(offsets.read(None), Seen::Nothing);
        for text in [
            "",
            ".",
            "hello",
            "1.1",
            "00000001.",
            "00000001.+1",
            "00000001.01",
            "00000001.A",
            "00000001.1 ",
            "00000002.1",
            "00000001.10000000000000000",
            "1795456044005-0",
        ] {
            assert_eq!(offsets.read(Some(text)), Seen::Unknown, "{text}");
        }
    }
}
