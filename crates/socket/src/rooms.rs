//! How rooms are named in calls.

/// One room or several, in whatever form a caller has them.
pub trait IntoRooms {
    /// The names.
    fn into_rooms(self) -> impl Iterator<Item = Box<str>>;
}

impl IntoRooms for &str {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        std::iter::once(self.into())
    }
}

impl IntoRooms for String {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        std::iter::once(self.into_boxed_str())
    }
}

impl IntoRooms for &String {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        self.as_str().into_rooms()
    }
}

impl IntoRooms for synapse_protocol::SocketId {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        std::iter::once(self.text().as_str().into())
    }
}

impl<T: AsRef<str>> IntoRooms for &[T] {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        self.iter().map(|room| room.as_ref().into())
    }
}

impl<T: AsRef<str>, const N: usize> IntoRooms for [T; N] {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        self.into_iter().map(|room| room.as_ref().into())
    }
}

impl<T: AsRef<str>> IntoRooms for Vec<T> {
    fn into_rooms(self) -> impl Iterator<Item = Box<str>> {
        self.into_iter().map(|room| room.as_ref().into())
    }
}
