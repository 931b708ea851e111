//! Rooms against a naive model, by random operations.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use support::{Someone, target};
use synapse_adapter::{JoinError, Member, RoomLimits, Rooms};

const MEMBERS: usize = 12;
const ROOMS_PER_SOCKET_MAX: usize = 4;

#[derive(Clone, Debug)]
enum Operation {
    Insert(usize),
    Remove(usize),
    Join(usize, usize),
    Leave(usize, usize),
    Select { to: Vec<usize>, except: Vec<usize> },
}

fn operation(names: usize) -> impl Strategy<Value = Operation> {
    let member = || 0..MEMBERS;
    prop_oneof![
        3 => member().prop_map(Operation::Insert),
        1 => member().prop_map(Operation::Remove),
        12 => (member(), 0..names).prop_map(|(member, room)| Operation::Join(member, room)),
        4 => (member(), 0..names).prop_map(|(member, room)| Operation::Leave(member, room)),
        6 => (subsequence((0..names).collect::<Vec<_>>(), 0..4), subsequence((0..names).collect::<Vec<_>>(), 0..3))
            .prop_map(|(to, except)| Operation::Select { to, except }),
    ]
}

/// What a member is known for. A removed one is `gone` for ever.
#[derive(Default)]
struct Known {
    inserted: bool,
    gone: bool,
    rooms: Vec<String>,
}

#[derive(Default)]
struct Model(BTreeMap<usize, Known>);

impl Model {
    fn is_in(&self, member: usize, room: &str, ids: &[String]) -> bool {
        let known = &self.0[&member];
        (known.inserted && ids[member] == room) || known.rooms.iter().any(|name| name == room)
    }

    fn names(&self, ids: &[String]) -> BTreeSet<String> {
        let own = self
            .0
            .iter()
            .filter(|(_, known)| known.inserted)
            .map(|(member, _)| ids[*member].clone());
        own.chain(self.stored()).collect()
    }

    fn stored(&self) -> BTreeSet<String> {
        self.0
            .values()
            .flat_map(|known| known.rooms.clone())
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn rooms_do_what_the_model_does(operations in vec(operation(6 + MEMBERS), 1..120)) {
        let members: Vec<Someone> = (0..MEMBERS as u64).map(Someone::new).collect();
        let ids: Vec<String> = members.iter().map(|member| member.id().to_string()).collect();
        // Ordinary names, and then everybody's id, which is a name too.
        let names: Vec<String> =
            ["", "a", "b", "x#y", "{tag}", "ü\n"].map(str::to_owned).into_iter().chain(ids.clone()).collect();
        let rooms = Rooms::new(RoomLimits { rooms_per_socket_max: ROOMS_PER_SOCKET_MAX, ..RoomLimits::default() });
        let mut model = Model::default();
        model.0.extend((0..MEMBERS).map(|member| (member, Known::default())));

        for operation in operations {
            match operation {
                Operation::Insert(member) => {
                    let known = model.0.get_mut(&member).unwrap();
                    known.inserted = !known.gone;
                    prop_assert_eq!(rooms.insert(members[member].clone()), known.inserted);
                }
                Operation::Remove(member) => {
                    let known = model.0.insert(member, Known { gone: true, ..Known::default() }).unwrap();
                    let left: Vec<String> = rooms.remove(&members[member]).iter().map(ToString::to_string).collect();
                    prop_assert_eq!(left, known.rooms);
                }
                Operation::Join(member, room) => {
                    let (own, known) = (ids[member] == names[room], model.0.get_mut(&member).unwrap());
                    let expected = if known.gone {
                        Err(JoinError::Left)
                    } else if own || known.rooms.contains(&names[room]) {
                        Ok(false)
                    } else if known.rooms.len() == ROOMS_PER_SOCKET_MAX {
                        Err(JoinError::TooManyRooms { limit: ROOMS_PER_SOCKET_MAX })
                    } else {
                        known.rooms.push(names[room].clone());
                        Ok(true)
                    };
                    prop_assert_eq!(rooms.join(&members[member], &names[room]), expected);
                }
                Operation::Leave(member, room) => {
                    let known = model.0.get_mut(&member).unwrap();
                    let before = known.rooms.len();
                    known.rooms.retain(|name| *name != names[room]);
                    prop_assert_eq!(rooms.leave(&members[member], &names[room]), known.rooms.len() < before);
                }
                Operation::Select { to, except } => {
                    let pick = |numbers: &[usize]| numbers.iter().map(|&room| names[room].as_str()).collect::<Vec<_>>();
                    let (to, except) = (pick(&to), pick(&except));
                    let meant = |member: usize| {
                        let (known, id) = (&model.0[&member], ids[member].as_str());
                        let reached = if to.is_empty() { known.inserted } else { to.iter().any(|room| model.is_in(member, room, &ids)) };
                        // A socket is left out by its id even while it is not inserted.
                        reached && !except.iter().any(|room| *room == id || model.is_in(member, room, &ids))
                    };
                    let expected: Vec<usize> = (0..MEMBERS).filter(|&member| meant(member)).collect();
                    let mut reached = Vec::new();
                    rooms.select(&target(&to, &except), |member| reached.push(member.number()));
                    reached.sort_unstable();
                    prop_assert_eq!(reached, expected, "to {:?} except {:?}", to, except);
                }
            }

            prop_assert_eq!(rooms.len(), model.0.values().filter(|known| known.inserted).count());
            prop_assert_eq!(rooms.room_count(), model.stored().len());
            let (listed, expected) = (rooms.room_names(), model.names(&ids));
            let unique: BTreeSet<String> = listed.iter().cloned().collect();
            prop_assert_eq!(listed.len(), unique.len());
            prop_assert_eq!(&unique, &expected);
            for (number, member) in members.iter().enumerate() {
                let known = &model.0[&number];
                let listed: Vec<String> = rooms.rooms_of(member).iter().map(ToString::to_string).collect();
                prop_assert_eq!(&listed, &known.rooms);
                prop_assert_eq!(rooms.find(member.id()).is_some(), known.inserted);
                for name in &names {
                    prop_assert_eq!(rooms.is_in(member, name), model.is_in(number, name, &ids));
                    prop_assert_eq!(rooms.has_room(name), expected.contains(name));
                }
            }
        }
    }
}
