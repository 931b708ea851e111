//! What every adapter promises, as tests.
//!
//! An adapter's crate enables the feature `contract` for its tests, depends on tokio there, and adds one line:
//!
//! ```text
//! mod classic {
//!     synapse_adapter::adapter_contract!(|| two_nodes(Mode::Classic));
//! }
//! ```

mod broadcasts;
mod cluster;
mod namespace;
mod pair;
mod requests;

use std::any::Any;
use std::sync::Arc;

pub use self::broadcasts::*;
pub use self::cluster::*;
pub use self::requests::*;
use crate::adapter::AdapterFactory;

/// Two servers of one cluster, which hear nobody else.
///
/// A namespace that is attached need not hear the other server at once: the contract sends probes until both hear each other, and
/// gives up after [`DEADLINE`]. A burst of 10,000 small messages must fit into the adapter's queues.
pub struct TwoNodes {
    /// The one server.
    pub first: Arc<dyn AdapterFactory>,
    /// The other server.
    pub second: Arc<dyn AdapterFactory>,
    /// What has to live as long as they do, a Redis for example. Dropped after both.
    pub guard: Box<dyn Any + Send>,
}

/// How long a test waits for a state before it fails.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// Runs one case on servers of its own.
pub async fn run(two_nodes: impl AsyncFnOnce() -> TwoNodes, case: impl AsyncFnOnce(&TwoNodes)) {
    let nodes = two_nodes().await;
    case(&nodes).await;
}

/// Holds an adapter to the contract: a test for each case, in the module where it stands.
///
/// It takes an async function or closure without arguments that returns [`TwoNodes`](crate::contract::TwoNodes), and calls it for each
/// case.
#[macro_export]
macro_rules! adapter_contract {
    ($two_nodes:expr) => {
        $crate::adapter_contract! { $two_nodes =>
            broadcast_reaches_everyone
            room_reaches_its_members
            several_rooms_reach_each_member_once
            exceptions_are_left_out
            socket_is_reached_by_its_id
            odd_room_names_are_ordinary
            flags_travel
            attachments_travel
            arguments_travel_unchanged
            large_payloads_travel
            own_node_is_not_among_the_receivers
            messages_of_one_sender_keep_their_order
            senders_at_once_keep_their_orders
            both_directions_at_once
            namespaces_are_kept_apart
            sockets_join_by_target
            sockets_leave_by_target
            sockets_disconnect_by_target
            server_side_events_travel
            nothing_arrives_after_close
            namespace_can_be_attached_again
            servers_are_counted
            sockets_are_fetched_by_target
            socket_ids_are_fetched_by_target
            rooms_are_fetched
            server_side_events_are_answered
            broadcasts_are_acknowledged
            requests_at_once_get_their_own_answers
            server_that_never_answers_is_missing
            request_that_was_dropped_is_forgotten
            requests_after_close_are_over_at_once
        }
    };
    ($two_nodes:expr => $($case:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::contract::run($two_nodes, $crate::contract::$case).await;
            }
        )*
    };
}
