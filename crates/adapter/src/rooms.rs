//! The members of one namespace on this server, and the rooms they are in.
//!
//! There is no lock over everything: members lie in shards by id, rooms in shards by name, and each room has a lock of its own, so
//! that a large broadcast in one room holds up nobody else. The locks nest in one order only:
//!
//! ```text
//! memberships of one member -> member shard
//! memberships of one member -> room shard
//! memberships of one member -> room
//! ```
//!
//! A member shard, a room shard and a room are never locked together, nor are the memberships of two members.

mod dense;
mod member;
mod room;
mod selecting;
mod shards;
mod table;

use std::sync::Arc;

use hashbrown::HashSet;
use smallvec::SmallVec;
use synapse_protocol::SocketId;

pub use self::member::{Member, Memberships};
use self::selecting::Selecting;
use self::shards::MemberShards;
use self::table::RoomTable;
use crate::message::Target;

/// The members of one namespace on this server.
///
/// A member that was inserted or has joined a room must be [removed](Self::remove) in the end: the rooms hold it, and it holds them.
/// Its id is a room with it alone, which is never stored.
pub struct Rooms<M> {
    members: MemberShards<M>,
    rooms: RoomTable<M>,
    limits: RoomLimits,
}

/// What one member may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Rooms a socket may be in, its own not counted. Default: 1000. A join beyond fails.
    pub rooms_per_socket_max: usize,
    /// Bytes of a room's name. Default: 1024. A join with a longer name fails.
    pub room_name_bytes_max: usize,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            rooms_per_socket_max: 1000,
            room_name_bytes_max: 1024,
        }
    }
}

/// Why a socket did not join a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The socket is in as many rooms as it may be.
    #[error("the socket is in {limit} rooms already")]
    TooManyRooms {
        /// [`RoomLimits::rooms_per_socket_max`].
        limit: usize,
    },
    /// The name of the room is too long.
    #[error("a room name of {bytes} bytes is over the limit of {limit}")]
    NameTooLong {
        /// Length of the name.
        bytes: usize,
        /// [`RoomLimits::room_name_bytes_max`].
        limit: usize,
    },
    /// The socket has left the namespace.
    #[error("the socket has left")]
    Left,
}

impl<M: Member> Rooms<M> {
    /// An empty namespace.
    pub fn new(limits: RoomLimits) -> Self {
        Self {
            members: MemberShards::new(),
            rooms: RoomTable::new(),
            limits,
        }
    }

    /// The member is in the namespace and in its own room from now on. Returns `false`, and does nothing, for a member that was
    /// removed before: its client may be gone before its connection is accepted. Another member with the same id is removed.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever inserts a member hands it over"
    )]
    pub fn insert(&self, member: M) -> bool {
        Selecting::forbid();
        loop {
            let displaced = {
                let standing = member.memberships().lock();
                if standing.has_left() {
                    return false;
                }
                match self.members.insert(&member) {
                    Ok(()) => return true,
                    Err(other) => other,
                }
            };
            self.remove(&displaced);
        }
    }

    /// The member leaves the namespace and all rooms, and can join nothing any more: a join that races with this is either undone
    /// or refused. Returns the rooms it was in, without its own. Removing it again does nothing.
    pub fn remove(&self, member: &M) -> Vec<Arc<str>> {
        Selecting::forbid();
        let mut standing = member.memberships().lock();
        self.members.remove(member);
        let rooms = standing.leave_for_good();
        rooms.iter().for_each(|room| {
            self.rooms.leave(room, member);
        });
        rooms.iter().map(|room| Arc::clone(room.name())).collect()
    }

    /// Returns `false` if the member was in the room already, as it always is in the one named by its own id.
    ///
    /// A member may join before it is inserted, as middleware does; it is found by the room's name at once. The id of another socket
    /// is a name like any other, and [`select`](Self::select) then reaches both the owner and those who joined.
    pub fn join(&self, member: &M, room: &str) -> Result<bool, JoinError> {
        Selecting::forbid();
        let RoomLimits {
            rooms_per_socket_max,
            room_name_bytes_max,
        } = self.limits;
        if room.len() > room_name_bytes_max {
            return Err(JoinError::NameTooLong {
                bytes: room.len(),
                limit: room_name_bytes_max,
            });
        }
        let mut standing = member.memberships().lock();
        if standing.has_left() {
            return Err(JoinError::Left);
        }
        if is_own(member, room) {
            return Ok(false);
        }
        if standing.rooms().len() >= rooms_per_socket_max {
            let already_in = self.rooms.find(room).is_some_and(|room| room.has(member));
            return if already_in {
                Ok(false)
            } else {
                Err(JoinError::TooManyRooms {
                    limit: rooms_per_socket_max,
                })
            };
        }
        let joined = self.rooms.join(room, member);
        Ok(joined.map(|room| standing.push(room)).is_some())
    }

    /// Returns `false` if the member was not in the room. Its own room cannot be left.
    pub fn leave(&self, member: &M, room: &str) -> bool {
        Selecting::forbid();
        let mut standing = member.memberships().lock();
        let Some(room) = self.rooms.find(room) else {
            return false;
        };
        let was_in = self.rooms.leave(&room, member);
        if was_in {
            standing.forget(&room);
        }
        was_in
    }

    /// The rooms the member is in, without its own, in the order it joined them.
    pub fn rooms_of(&self, member: &M) -> Vec<Arc<str>> {
        Selecting::forbid();
        member
            .memberships()
            .lock()
            .rooms()
            .iter()
            .map(|room| Arc::clone(room.name()))
            .collect()
    }

    /// Whether the member is in the room. In its own it is from insertion to removal.
    pub fn is_in(&self, member: &M, room: &str) -> bool {
        Selecting::forbid();
        if is_own(member, room) {
            self.members.has(member)
        } else {
            self.rooms.find(room).is_some_and(|room| room.has(member))
        }
    }

    /// Whether there is a room of that name, or a member with that id.
    pub fn has_room(&self, room: &str) -> bool {
        Selecting::forbid();
        self.owner(room).is_some() || self.rooms.find(room).is_some()
    }

    /// Calls `each` with the members that the target means, each of them once.
    ///
    /// A room or shard is locked for reading meanwhile. So `each` must be short and must not call anything of `Rooms` (debug builds
    /// panic if it does): it pushes into an outbox, under whose lock nobody calls `Rooms` either. Whoever needs more takes
    /// [`members`](Self::members) first. Nothing is allocated for everyone or for one room, less any sockets by id.
    pub fn select(&self, target: &Target, mut each: impl FnMut(&M)) {
        let _selecting = Selecting::enter();
        let except = self.except(&target.except);
        match target.rooms.as_slice() {
            [] => self.members.each(|member| {
                if !except.has(member.id()) {
                    each(member);
                }
            }),
            [room] => self.each_in(room, |member| {
                if !except.has(member.id()) {
                    each(member);
                }
            }),
            rooms => {
                let mut seen = HashSet::new();
                for room in rooms {
                    self.each_in(room, |member| {
                        if !except.has(member.id()) && seen.insert(member.id()) {
                            each(member);
                        }
                    });
                }
            }
        }
    }

    /// The members that the target means, to do with them what [`select`](Self::select) does not allow.
    pub fn members(&self, target: &Target) -> Vec<M> {
        let mut members = Vec::new();
        self.select(target, |member| members.push(member.clone()));
        members
    }

    /// The member with that id.
    pub fn find(&self, id: SocketId) -> Option<M> {
        Selecting::forbid();
        self.members.find(id)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        Selecting::forbid();
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rooms there are, without those that are only a member's own.
    pub fn room_count(&self) -> usize {
        Selecting::forbid();
        self.rooms.len()
    }

    /// The names of all rooms, members' own included, each once.
    pub fn room_names(&self) -> Vec<String> {
        Selecting::forbid();
        let stored = self.rooms.names();
        let mut names: Vec<String> = stored
            .iter()
            .filter(|name| self.owner(name).is_none())
            .map(|name| name.to_string())
            .collect();
        self.members
            .each(|member| names.push(member.id().to_string()));
        names
    }

    /// The member whose own room has that name.
    fn owner(&self, room: &str) -> Option<M> {
        self.members.find(room.parse().ok()?)
    }

    fn each_in(&self, room: &str, mut each: impl FnMut(&M)) {
        // The owner never joins the stored room of its own name, so nobody comes twice.
        if let Some(owner) = self.owner(room) {
            each(&owner);
        }
        if let Some(room) = self.rooms.find(room) {
            room.each(each);
        }
    }

    /// The ids are copied, because asking a room for each candidate would lock two rooms together.
    fn except(&self, names: &[Box<str>]) -> Except {
        let mut except = Except {
            owners: SmallVec::new(),
            members: HashSet::new(),
        };
        for name in names {
            except.owners.extend(name.parse().ok());
            if let Some(room) = self.rooms.find(name) {
                room.each(|member| {
                    except.members.insert(member.id());
                });
            }
        }
        except
    }
}

fn is_own(member: &impl Member, room: &str) -> bool {
    room.parse() == Ok(member.id())
}

/// The ids that a target leaves out.
struct Except {
    /// Named by their ids, which is how a socket leaves out itself: one, most of the time.
    owners: SmallVec<[SocketId; 2]>,
    /// Members of the rooms that are left out.
    members: HashSet<SocketId>,
}

impl Except {
    fn has(&self, id: SocketId) -> bool {
        self.owners.contains(&id) || (!self.members.is_empty() && self.members.contains(&id))
    }
}

#[cfg(test)]
mod tests;
