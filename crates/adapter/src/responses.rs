//! Where the answers to one request come together.
//!
//! ```text
//! asker: Responses <-- Responder: adapter            counts servers and their answers
//!                  <-- Respondent: one server        for adapters that know which server answers
//! ```
//!
//! No end of it knows a clock: whoever asks stops asking by dropping [`Responses`], and from then on every answer goes nowhere.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::request::Response;

/// The asker's end of a request. Dropping it ends the request.
#[derive(Debug)]
pub struct Responses(Arc<Shared>);

/// The answering end of a request. It keeps nothing alive; after the request has ended it does nothing.
#[derive(Clone, Debug)]
pub struct Responder(Weak<Shared>);

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many other servers were asked; none as long as that is not known, and for ever when the cluster cannot be reached.
    pub servers: Option<usize>,
    /// How many of them have answered.
    pub servers_answered: usize,
    /// How many clients were asked, on the servers that have answered and on the own one.
    pub clients: usize,
    /// How many of those have answered.
    pub clients_answered: usize,
}

impl Tally {
    /// Whether everybody has answered.
    pub fn is_complete(&self) -> bool {
        self.servers
            .is_some_and(|servers| servers <= self.servers_answered)
            && self.clients <= self.clients_answered
    }
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// Servers and clients of which no answer will come.
    servers_gone: usize,
    clients_gone: usize,
    is_unreachable: bool,
    bytes: usize,
    ready: VecDeque<Response>,
    waker: Option<Waker>,
    kept: Vec<Kept>,
}

/// What ends with the request.
struct Kept(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send>);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl State {
    /// Whether nothing more can come.
    fn is_over(&self) -> bool {
        let Tally {
            servers,
            servers_answered,
            clients,
            clients_answered,
        } = self.tally;
        let over = servers.is_some_and(|servers| servers <= servers_answered + self.servers_gone);
        (over || self.is_unreachable) && clients <= clients_answered + self.clients_gone
    }
}

impl Responses {
    /// A request whose answers may take this many bytes together. One that is too much is not kept, and whoever gave it counts as missing.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            bytes_max,
            state: Mutex::default(),
        }))
    }

    /// The other end.
    pub fn responder(&self) -> Responder {
        Responder(Arc::downgrade(&self.0))
    }

    /// Waits for the next answer. None when nothing more can come, because everybody has answered or is known to be gone. It has no
    /// time limit, and cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Response> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The form of [`next`](Self::next) that is polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Response>> {
        let mut state = self.0.state.lock();
        if let Some(response) = state.ready.pop_front() {
            return Poll::Ready(Some(response));
        }
        if state.is_over() {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// How far it has come.
    pub fn tally(&self) -> Tally {
        self.0.state.lock().tally
    }
}

impl Responder {
    /// Whether anybody waits for answers.
    pub fn is_wanted(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Says how many other servers are asked. They may have begun to answer before.
    pub fn expect_servers(&self, servers: usize) {
        self.change(|state| state.tally.servers = Some(servers));
    }

    /// Answers [`ClusterRequest::Servers`](crate::ClusterRequest::Servers): so many others there are, and none of them is asked.
    pub fn count_servers(&self, servers: usize) {
        self.change(|state| {
            state.tally.servers = Some(servers);
            state.tally.servers_answered = servers;
        });
    }

    /// Says that other servers cannot be asked, and that nobody knows how many there are.
    pub fn unreachable(&self) {
        self.change(|state| state.is_unreachable = true);
    }

    /// Drops `kept` when the request has ended; at once if it has.
    pub fn keep(&self, kept: impl Any + Send) {
        if let Some(shared) = self.0.upgrade() {
            shared.state.lock().kept.push(Kept(Box::new(kept)));
        }
    }

    /// Takes what some server has answered, or a client of it.
    pub fn answer(&self, response: Response) {
        self.take(response, Side::Other);
    }

    /// One of the servers that are asked, which answers for itself.
    pub fn respondent(&self) -> Respondent {
        Respondent::new(self, Side::Other)
    }

    /// The own server, when its clients are asked as well. It is none of those that are counted.
    pub fn own(&self) -> Respondent {
        Respondent::new(self, Side::Own)
    }

    /// Returns whether it was taken.
    fn take(&self, response: Response, side: Side) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        let bytes = response.bytes();
        let mut state = shared.state.lock();
        let fits = state.bytes.saturating_add(bytes) <= shared.bytes_max;
        let is_ack = matches!(response, Response::Ack(_));
        match (is_ack, fits) {
            (true, true) => state.tally.clients_answered += 1,
            (true, false) => state.clients_gone += 1,
            (false, true) => state.tally.servers_answered += usize::from(side == Side::Other),
            (false, false) => state.servers_gone += usize::from(side == Side::Other),
        }
        if let Response::Clients(clients) = response {
            state.tally.clients = state.tally.clients.saturating_add(clients);
        } else if fits {
            state.bytes += bytes;
            state.ready.push_back(response);
        }
        wake(state);
        fits
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(shared) = self.0.upgrade() {
            let mut state = shared.state.lock();
            change(&mut state);
            wake(state);
        }
    }
}

/// Wakes the asker after the lock: its waker is a stranger's code.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Own,
    Other,
}

/// One server that has been asked. Cloning it is cheap, and every clone is the same server. What is still to come of it when the last
/// clone is dropped, or when it is [`close`](Self::close)d, counts as missing at once.
#[derive(Clone, Debug)]
pub struct Respondent(Arc<Answering>);

/// Finds a respondent again as long as it may answer.
#[derive(Clone, Debug)]
pub struct WeakRespondent(Weak<Answering>);

#[derive(Debug)]
struct Answering {
    responder: Responder,
    side: Side,
    closed: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    has_answered: bool,
    clients: usize,
    acks: usize,
}

impl Respondent {
    fn new(responder: &Responder, side: Side) -> Self {
        Self(Arc::new(Answering {
            responder: responder.clone(),
            side,
            closed: AtomicBool::new(false),
            progress: Mutex::default(),
        }))
    }

    /// Answers. A server answers once, but for the acks of its clients.
    pub fn answer(&self, response: Response) {
        let mut progress = self.0.progress.lock();
        // Under the lock, so that nothing comes after the end.
        if self.0.closed.load(Ordering::Acquire) {
            return;
        }
        match response {
            Response::Ack(_) => progress.acks += 1,
            Response::Clients(_)
            | Response::Sockets(_)
            | Response::Ids(_)
            | Response::Rooms(_)
            | Response::Reply(_) => {
                if std::mem::replace(&mut progress.has_answered, true) {
                    return;
                }
            }
        }
        if let Response::Clients(clients) = response {
            progress.clients = clients;
        }
        self.0.responder.take(response, self.0.side);
    }

    /// Nothing more comes of this server.
    pub fn close(&self) {
        self.0.close();
    }

    /// A reference that does not keep it.
    pub fn downgrade(&self) -> WeakRespondent {
        WeakRespondent(Arc::downgrade(&self.0))
    }
}

impl WeakRespondent {
    /// The respondent, if it may answer still.
    pub fn upgrade(&self) -> Option<Respondent> {
        self.0.upgrade().map(Respondent)
    }

    /// Whether it may answer still.
    pub fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Answering {
    fn close(&self) {
        let progress = self.progress.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let missing_server = !progress.has_answered && self.side == Side::Other;
        let missing_clients = progress.clients.saturating_sub(progress.acks);
        self.responder.change(|state| {
            state.servers_gone += usize::from(missing_server);
            state.clients_gone += missing_clients;
        });
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use synapse_protocol::socket::Arguments;

    use super::*;

    fn ack(number: u8) -> Response {
        Response::Ack(Arguments::ack(&number).expect("a number is JSON"))
    }

    /// All that is there; and whether nothing more can come.
    fn drain(responses: &mut Responses) -> (Vec<Response>, bool) {
        let mut all = Vec::new();
        loop {
            match responses.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(response)) => all.push(response),
                Poll::Ready(None) => return (all, true),
                Poll::Pending => return (all, false),
            }
        }
    }

    fn tally(
        servers: Option<usize>,
        servers_answered: usize,
        clients: usize,
        clients_answered: usize,
    ) -> Tally {
        Tally {
            servers,
            servers_answered,
            clients,
            clients_answered,
        }
    }

    #[test]
    fn it_is_over_when_all_servers_and_their_clients_have_answered() {
        let mut responses = Responses::new(1 << 20);
        let responder = responses.responder();
        // An answer may be here before the number of servers is known.
        responder.answer(Response::Clients(1));
        responder.answer(ack(1));
        assert_eq!(drain(&mut responses), (vec![ack(1)], false));
        responder.expect_servers(2);
        assert!(!drain(&mut responses).1);
        responder.answer(Response::Clients(2));
        responder.answer(ack(2));
        assert_eq!(drain(&mut responses), (vec![ack(2)], false));
        responder.answer(ack(3));
        assert_eq!(drain(&mut responses), (vec![ack(3)], true));
        assert_eq!(responses.tally(), tally(Some(2), 2, 3, 3));
        assert!(responses.tally().is_complete());
    }

    #[test]
    fn what_is_gone_is_missing_at_once() {
        let mut responses = Responses::new(1 << 20);
        let responder = responses.responder();
        responder.expect_servers(3);
        let [silent, counting, done] = [(); 3].map(|()| responder.respondent());
        let own = responder.own();
        own.answer(Response::Clients(1));
        done.answer(Response::Clients(0));
        counting.answer(ack(1));
        counting.answer(Response::Clients(3));
        counting.answer(Response::Clients(30));
        drop((silent, done));
        assert!(!drain(&mut responses).1);
        let kept = counting.clone();
        drop(counting);
        assert!(!drain(&mut responses).1);
        kept.close();
        kept.answer(ack(2));
        own.answer(ack(3));
        assert_eq!(drain(&mut responses), (vec![ack(3)], true));
        assert_eq!(responses.tally(), tally(Some(3), 2, 4, 2));
        assert!(!responses.tally().is_complete());
    }

    #[test]
    fn a_cluster_out_of_reach_is_not_waited_for_but_own_clients_are() {
        let mut responses = Responses::new(1 << 20);
        let own = responses.responder().own();
        own.answer(Response::Clients(1));
        responses.responder().unreachable();
        assert!(!drain(&mut responses).1);
        own.answer(ack(1));
        assert_eq!(drain(&mut responses), (vec![ack(1)], true));
        assert_eq!(responses.tally(), tally(None, 0, 1, 1));
        assert!(!responses.tally().is_complete());
    }

    #[test]
    fn what_is_too_much_is_missing() {
        let names = |count| Response::Ids(vec!["x".to_owned(); count]);
        let mut responses = Responses::new(names(3).bytes());
        let responder = responses.responder();
        responder.expect_servers(2);
        responder.answer(names(2));
        responder.answer(names(2));
        assert_eq!(drain(&mut responses), (vec![names(2)], true));
        assert_eq!(responses.tally(), tally(Some(2), 1, 0, 0));
        // What was taken out counts as well: whoever asks collects it.
        responder.answer(names(1));
        assert_eq!(drain(&mut responses).0, vec![names(1)]);
    }

    #[test]
    fn nothing_is_left_of_a_request_that_was_dropped() {
        let responses = Responses::new(1 << 20);
        let responder = responses.responder();
        let kept = Arc::new(());
        responder.keep(kept.clone());
        let respondent = responder.respondent();
        assert!(responder.is_wanted() && Arc::strong_count(&kept) == 2);
        drop(responses);
        assert!(!responder.is_wanted() && Arc::strong_count(&kept) == 1);
        respondent.answer(Response::Clients(1));
        responder.keep(kept.clone());
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn whoever_waits_is_woken() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let mut responses = Responses::new(1 << 20);
        let responder = responses.responder();
        let steps: [&dyn Fn(); 3] = [
            &|| responder.answer(Response::Rooms(Vec::new())),
            &|| drop(responder.respondent()),
            &|| responder.expect_servers(2),
        ];
        for step in steps {
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let waker = Waker::from(woken.clone());
            while pin!(responses.next())
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {}
            step();
            assert!(woken.0.load(Ordering::Relaxed));
        }
        assert!(drain(&mut responses).1);
    }
}
