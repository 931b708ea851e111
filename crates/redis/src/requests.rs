//! The requests of one namespace that other servers have yet to answer.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use synapse_adapter::{ClusterRequest, Responder};

use crate::namespace::Namespace;
use crate::outbox::Message;
use crate::shared::random_id;
use crate::status::RedisState;
use crate::wire::request::{Answer, Wanted, encode_ask};

/// Node's have six characters; what other servers make of an id is nothing but its equality.
const REQUEST_ID_CHARS: usize = 12;

/// What was asked, by the id that answers carry.
#[derive(Default)]
pub(crate) struct Requests(Arc<Mutex<Table>>);

type Table = HashMap<Box<str>, Pending>;

#[derive(Clone)]
struct Pending {
    wanted: Wanted,
    responder: Responder,
}

impl Requests {
    /// Until whoever asks has ended the request.
    fn insert(&self, request_id: &str, wanted: Wanted, responder: &Responder) {
        let pending = Pending {
            wanted,
            responder: responder.clone(),
        };
        self.0.lock().insert(request_id.into(), pending);
        responder.keep(Forget {
            table: Arc::downgrade(&self.0),
            request_id: request_id.into(),
        });
    }

    /// A copy, so that the table is not locked while it is answered: an answer may end the request, which takes it out.
    fn find(&self, request_id: &str) -> Option<Pending> {
        self.0.lock().get(request_id).cloned()
    }
}

/// Takes a request out when it has ended.
struct Forget {
    table: Weak<Mutex<Table>>,
    request_id: Box<str>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            let pending = table.lock().remove(&self.request_id);
            drop(pending);
        }
    }
}

impl Namespace {
    /// Asks the other servers. How many there are is asked of Redis right before, on the same connection.
    pub(crate) fn request(&self, request: &ClusterRequest, responder: &Responder) {
        // Before delivery is proven nobody can be asked, and whoever asks would rather know than wait.
        let is_connected = *self.shared().state.borrow() == RedisState::Connected;
        if self.is_detached() || !is_connected {
            return responder.unreachable();
        }
        let request_id = random_id(REQUEST_ID_CHARS);
        let payload = encode_ask(
            self.uid(),
            &request_id,
            self.name(),
            request,
            &self.shared().limits(),
        );
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => {
                self.shared().unpublished(&self.channels().request, &error);
                return responder.unreachable();
            }
        };
        if let Some(wanted) = Wanted::of(request) {
            self.requests().insert(&request_id, wanted, responder);
        }
        let channels = self.channels();
        let count = Message::count(
            channels.request.clone(),
            channels.own_response.clone(),
            responder.clone(),
            payload.is_none(),
        );
        self.shared().publish(count);
        if let Some(payload) = payload {
            self.shared()
                .publish(Message::publish(channels.request.clone(), payload));
        }
    }

    /// An answer of another server: to us, or on the shared channel to anybody.
    pub(crate) fn handle_response(&self, channel: &[u8], payload: &[u8]) {
        let answer = match Answer::read(payload) {
            Ok(answer) => answer,
            Err(error) => return self.shared().malformed(channel, &error),
        };
        let Some(Pending { wanted, responder }) = self.requests().find(&answer.request_id) else {
            return;
        };
        self.shared().counters.received.add(1);
        match answer.into_response(wanted, &self.shared().limits()) {
            Ok(response) => responder.answer(response),
            Err(error) => self.shared().malformed(channel, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use synapse_adapter::{Response, Responses};

    use super::*;

    #[test]
    fn a_request_is_there_until_it_ends() {
        let requests = Requests::default();
        let responses = Responses::new(1 << 10);
        requests.insert("a", Wanted::Ids, &responses.responder());
        let others = Responses::new(1 << 10);
        requests.insert("b", Wanted::Rooms, &others.responder());
        let found = requests.find("a").unwrap();
        assert_eq!(found.wanted, Wanted::Ids);
        found.responder.answer(Response::Ids(Vec::new()));
        assert!(requests.find("a").is_some(), "others have yet to answer");
        drop(responses);
        assert!(requests.find("a").is_none() && requests.find("b").is_some());
        found.responder.answer(Response::Ids(Vec::new()));
        drop(requests);
        drop(others);
    }
}
