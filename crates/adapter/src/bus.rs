//! The adapter for servers of one process, and the one for a server that is alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::adapter::{Adapter, AdapterFactory, LocalNamespace};
use crate::message::ClusterMessage;
use crate::request::{ClusterRequest, Response};
use crate::responses::{Respondent, Responder, WeakRespondent};

/// Joins servers of one process: for tests, and for an application that runs several.
///
/// A message is delivered in the caller's thread before `publish` returns. So messages of one thread arrive in their order, those of
/// several threads may be delivered at once, and there is no queue that could overflow. No lock is held meanwhile: a delivery may
/// publish, attach and close as it likes.
///
/// ```
/// use synapse_adapter::Bus;
///
/// let bus = Bus::new();
/// let adapters = [bus.node(), bus.node()]; // one for each server
/// # drop(adapters);
/// ```
#[derive(Clone, Default)]
pub struct Bus(Arc<Shared>);

impl Bus {
    /// A bus without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A place on the bus for one server.
    pub fn node(&self) -> Arc<dyn AdapterFactory> {
        let number = self.0.nodes.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node {
            number,
            shared: Arc::clone(&self.0),
        })
    }
}

/// For a server that is alone: its adapters have nobody to send to.
pub fn alone() -> Arc<dyn AdapterFactory> {
    Arc::new(Alone)
}

#[derive(Default)]
struct Shared {
    nodes: AtomicU64,
    /// Who is attached, by namespace. A list is replaced rather than changed, so that a publisher walks the one it has without a lock.
    namespaces: RwLock<HashMap<Box<str>, Attachments>>,
}

type Attachments = Arc<[Arc<Attachment>]>;

struct Node {
    number: u64,
    shared: Arc<Shared>,
}

impl AdapterFactory for Node {
    fn attach(&self, namespace: &str, local: Arc<dyn LocalNamespace>) -> Arc<dyn Adapter> {
        let attachment = Arc::new(Attachment {
            node: self.number,
            namespace: namespace.into(),
            open: AtomicBool::new(true),
            answering: Mutex::default(),
            local,
        });
        let mut namespaces = self.shared.namespaces.write();
        let list = namespaces.entry(namespace.into()).or_default();
        *list = list.iter().chain([&attachment]).cloned().collect();
        Arc::new(BusAdapter {
            attachment: Arc::downgrade(&attachment),
            shared: Arc::clone(&self.shared),
        })
    }
}

/// One namespace of one node.
struct Attachment {
    node: u64,
    namespace: Box<str>,
    open: AtomicBool,
    /// Requests that it has yet to answer, so that nobody waits for it when it has left.
    answering: Mutex<Vec<WeakRespondent>>,
    local: Arc<dyn LocalNamespace>,
}

/// Holds its attachment weakly: the bus owns it until `close`, and a namespace that holds its adapter is no cycle afterwards.
struct BusAdapter {
    attachment: Weak<Attachment>,
    shared: Arc<Shared>,
}

impl Adapter for BusAdapter {
    fn publish(&self, message: &ClusterMessage) {
        let Some(own) = self.attachment.upgrade() else {
            return;
        };
        let list = self.shared.namespaces.read().get(&own.namespace).cloned();
        for other in list.iter().flat_map(|list| list.iter()) {
            // Asked for each, because what was delivered before it may have closed it.
            if other.node != own.node && other.open.load(Ordering::Acquire) {
                deliver(message, other.local.as_ref());
            }
        }
    }

    fn request(&self, request: &ClusterRequest, responder: &Responder) {
        let Some(own) = self.attachment.upgrade() else {
            return responder.unreachable();
        };
        let list = self.shared.namespaces.read().get(&own.namespace).cloned();
        let others: Vec<_> = list
            .iter()
            .flat_map(|list| list.iter())
            .filter(|other| other.node != own.node)
            .collect();
        if matches!(request, ClusterRequest::Servers) {
            return responder.count_servers(others.len());
        }
        responder.expect_servers(others.len());
        for other in others {
            let respondent = responder.respondent();
            other.remember(&respondent);
            // Asked after it was remembered: who closes it sees one or the other.
            if other.open.load(Ordering::Acquire) {
                answer(request, other.local.as_ref(), respondent);
            }
        }
    }

    /// A delivery that another thread has begun may still come to its end.
    fn close(&self) {
        let Some(own) = self.attachment.upgrade() else {
            return;
        };
        own.open.store(false, Ordering::Release);
        let answering = std::mem::take(&mut *own.answering.lock());
        for respondent in answering.iter().filter_map(WeakRespondent::upgrade) {
            respondent.close();
        }
        let mut namespaces = self.shared.namespaces.write();
        let Some(list) = namespaces.get_mut(&own.namespace) else {
            return;
        };
        let rest: Attachments = list
            .iter()
            .filter(|other| !Arc::ptr_eq(other, &own))
            .cloned()
            .collect();
        let before = if rest.is_empty() {
            namespaces.remove(&own.namespace)
        } else {
            Some(std::mem::replace(list, rest))
        };
        // The lists go after the lock, because a namespace may end with them, and its end may be anything.
        drop(namespaces);
        drop(before);
    }
}

fn deliver(message: &ClusterMessage, local: &dyn LocalNamespace) {
    match message {
        ClusterMessage::Broadcast(broadcast) => local.broadcast(broadcast),
        ClusterMessage::Join { target, rooms } => local.join(target, rooms),
        ClusterMessage::Leave { target, rooms } => local.leave(target, rooms),
        ClusterMessage::Disconnect { target, transport } => local.disconnect(target, *transport),
        ClusterMessage::ServerSideEmit(arguments) => {
            local.server_side_emit(arguments.clone(), None)
        }
    }
}

/// Lets a server answer. What it does not answer at once it answers later, or drops.
fn answer(request: &ClusterRequest, local: &dyn LocalNamespace, respondent: Respondent) {
    let response = match request {
        ClusterRequest::Servers => return,
        ClusterRequest::Sockets(target) => Response::Sockets(local.sockets(target)),
        ClusterRequest::Ids(target) => Response::Ids(local.ids(target)),
        ClusterRequest::Rooms => Response::Rooms(local.rooms()),
        ClusterRequest::ServerSideEmit(arguments) => {
            let on_reply = move |reply| respondent.answer(Response::Reply(reply));
            return local.server_side_emit(arguments.clone(), Some(Box::new(on_reply)));
        }
        ClusterRequest::Broadcast(broadcast) => {
            let acknowledging = respondent.clone();
            let on_ack = move |ack| acknowledging.answer(Response::Ack(ack));
            Response::Clients(local.broadcast_with_ack(broadcast, Box::new(on_ack)))
        }
    };
    respondent.answer(response);
}

impl Attachment {
    fn remember(&self, respondent: &Respondent) {
        let mut answering = self.answering.lock();
        // Those that are done go when the list would have to grow, so that each costs a constant.
        if answering.len() == answering.capacity() {
            answering.retain(WeakRespondent::is_open);
        }
        answering.push(respondent.downgrade());
    }
}

struct Alone;

impl AdapterFactory for Alone {
    fn attach(&self, _namespace: &str, _local: Arc<dyn LocalNamespace>) -> Arc<dyn Adapter> {
        Arc::new(Self)
    }
}

impl Adapter for Alone {
    fn publish(&self, _message: &ClusterMessage) {}

    fn request(&self, _request: &ClusterRequest, responder: &Responder) {
        responder.expect_servers(0);
    }

    fn close(&self) {}
}
