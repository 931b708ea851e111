//! All connections of a load test: one thread, one epoll, one read buffer.
//!
//! A swarm connects, joins, answers heartbeats and says goodbye by itself; what is said in between is a [`Scenario`]'s.

mod incoming;

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use synapse_protocol::websocket::{CloseCode, Decoder, Opcode, Role, put_masked_frame};

use crate::client::{Client, ClientId, Ended, State, Unsent};
use crate::error::LoadError;
use crate::handshake::Handshake;
use crate::target::{Target, source};

/// Most connections of one process. A process may commonly hold 20,000 descriptors, and a few are needed for the rest.
pub(crate) const CONNECTIONS_MAX: usize = 19_000;
/// Descriptors that are left for everything but connections.
const DESCRIPTORS_SPARED: usize = 64;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
/// What may wait for one server that does not read; the connection ends over it.
const UNSENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a load test does with its clients.
pub(crate) trait Scenario {
    /// The client is a member of the namespace from now on.
    fn joined(&mut self, _swarm: &mut Swarm, _client: ClientId) {}
    /// A Socket.IO packet of the main namespace came, such as `2["event"]`.
    fn packet(&mut self, _swarm: &mut Swarm, _client: ClientId, _packet: &str) {}
    /// The connection is gone. Its place is given to another client, but not before the next [`Swarm::poll`].
    fn closed(&mut self, swarm: &mut Swarm, client: ClientId, ended: Ended);
}

/// Many Socket.IO clients over WebSocket.
pub(crate) struct Swarm {
    epoll: OwnedFd,
    handshake: Handshake,
    clients: Vec<Client>,
    free: Vec<ClientId>,
    /// Places that events of the current poll may still name.
    freed: Vec<ClientId>,
    events: Vec<epoll::Event>,
    read_buffer: Vec<u8>,
    /// Frames for one client, which leave in one write.
    out: Vec<u8>,
    out_for: Option<ClientId>,
    masks: Masks,
    opened: usize,
    now: Instant,
    heartbeats: u64,
}

impl Swarm {
    /// A swarm without clients that will hold `connections` at most.
    pub(crate) fn new(path: &str, connections: usize) -> Result<Self, LoadError> {
        check_connections(connections)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(LoadError::system("failed to create an epoll instance"))?;
        Ok(Self {
            epoll,
            handshake: Handshake::new(path),
            clients: Vec::with_capacity(connections),
            free: Vec::new(),
            freed: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            out: Vec::new(),
            out_for: None,
            masks: Masks(0x9e37_79b9),
            opened: 0,
            now: Instant::now(),
            heartbeats: 0,
        })
    }

    /// Begins a connection.
    pub(crate) fn open(&mut self, target: Target) -> Result<ClientId, LoadError> {
        let stream = connect(target, self.opened)
            .map_err(LoadError::system("failed to begin a connection"))?;
        self.opened += 1;
        let client = Client::new(stream, target);
        let id = match self.free.pop() {
            Some(id) => {
                self.clients[id.index()] = client;
                id
            }
            None => {
                self.clients.push(client);
                ClientId(u32::try_from(self.clients.len() - 1).expect("the count is limited"))
            }
        };
        let stream = self.clients[id.index()].stream.as_ref();
        let data = epoll::EventData::new_u64(id.0.into());
        epoll::add(
            &self.epoll,
            stream.expect("it was just opened"),
            data,
            epoll::EventFlags::OUT,
        )
        .map_err(LoadError::system("failed to watch a connection"))?;
        Ok(id)
    }

    /// Sends an Engine.IO packet, such as `42["event"]`. What is sent to one client in a row leaves in one write.
    pub(crate) fn send(&mut self, client: ClientId, packet: &str) {
        self.put(client, Opcode::Text, packet.as_bytes());
    }

    /// Leaves the namespace and closes, as the official client does it. [`Scenario::closed`] follows.
    pub(crate) fn close(&mut self, client: ClientId) {
        self.put(client, Opcode::Text, b"41");
        self.put_close(client);
    }

    /// Waits for something to happen and lets the scenario see it.
    pub(crate) fn poll(
        &mut self,
        wait: Duration,
        scenario: &mut impl Scenario,
    ) -> Result<(), LoadError> {
        self.flush();
        self.free.append(&mut self.freed);
        let timeout = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut events = mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(error) => return Err(LoadError::system("failed to wait for events")(error)),
        }
        self.now = Instant::now();
        for event in &events {
            let client = ClientId(event.data.u64() as u32);
            self.react(client, event.flags, scenario);
            self.flush();
        }
        self.events = events;
        Ok(())
    }

    /// Polls until the scenario has `done` or time is up; tells whether it was done.
    pub(crate) fn poll_until<S: Scenario>(
        &mut self,
        deadline: Instant,
        scenario: &mut S,
        done: impl Fn(&S) -> bool,
    ) -> Result<bool, LoadError> {
        while !done(scenario) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.poll(left, scenario)?;
        }
        Ok(true)
    }

    /// Polls until nothing is `left`, or until that number has not changed for the time of our patience.
    pub(crate) fn poll_to_end<S: Scenario>(
        &mut self,
        patience: Duration,
        scenario: &mut S,
        left: impl Fn(&S) -> u64,
    ) -> Result<(), LoadError> {
        let mut before = left(scenario);
        while before > 0 {
            let give_up_at = Instant::now() + patience;
            if !self.poll_until(give_up_at, scenario, |scenario| left(scenario) != before)? {
                break;
            }
            before = left(scenario);
        }
        Ok(())
    }

    /// When the bytes that are being handled were read.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The server that a client is connected to.
    pub(crate) fn target(&self, client: ClientId) -> Target {
        self.clients[client.index()].target
    }

    /// Clients there are or were at once: every client's place is below it.
    pub(crate) fn places(&self) -> usize {
        self.clients.len()
    }

    /// Heartbeats that were answered.
    pub(crate) fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    fn react(&mut self, id: ClientId, flags: epoll::EventFlags, scenario: &mut impl Scenario) {
        let client = &mut self.clients[id.index()];
        let Some(stream) = &client.stream else { return };
        if matches!(client.state, State::Connecting) {
            let ended = match stream.take_error() {
                Ok(None) if !flags.contains(epoll::EventFlags::HUP) => return self.upgrade(id),
                Ok(None) => Ended::ByServer,
                Ok(Some(error)) | Err(error) => error.into(),
            };
            return self.end(id, ended, scenario);
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.write_unsent(id);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            self.read(id, scenario);
        }
    }

    fn upgrade(&mut self, id: ClientId) {
        let Client { state, target, .. } = &mut self.clients[id.index()];
        *state = State::Upgrading(None);
        let target = *target;
        self.cork(id);
        self.handshake.put_request(&mut self.out, target);
        self.watch(id, epoll::EventFlags::IN);
    }

    fn read(&mut self, id: ClientId, scenario: &mut impl Scenario) {
        // The buffer is taken out meanwhile, because the scenario gets both a packet in it and the swarm.
        let mut buffer = mem::take(&mut self.read_buffer);
        let client = &mut self.clients[id.index()];
        let read = client
            .stream
            .as_mut()
            .map_or(Ok(0), |stream| stream.read(&mut buffer));
        self.now = Instant::now();
        let ended = match read {
            Ok(0) => Err(match client.state {
                State::Closing => Ended::Asked,
                State::Connecting
                | State::Upgrading(_)
                | State::Opening
                | State::Joining
                | State::Joined => Ended::ByServer,
            }),
            Ok(len) => self.receive(id, &mut buffer[..len], scenario),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.read_buffer = buffer;
        if let Err(ended) = ended {
            self.end(id, ended, scenario);
        }
    }

    fn end(&mut self, id: ClientId, ended: Ended, scenario: &mut impl Scenario) {
        if self.out_for == Some(id) {
            self.out.clear();
            self.out_for = None;
        }
        let client = &mut self.clients[id.index()];
        // Closing the descriptor takes it out of the epoll set.
        if client.stream.take().is_some() {
            client.unsent = None;
            client.decoder = Decoder::new(Role::Client);
            self.freed.push(id);
            scenario.closed(self, id, ended);
        }
    }

    fn put(&mut self, id: ClientId, opcode: Opcode, payload: &[u8]) {
        self.cork(id);
        put_masked_frame(&mut self.out, opcode, payload, self.masks.next());
    }

    fn put_close(&mut self, id: ClientId) {
        self.put(id, Opcode::Close, &CloseCode::NORMAL.0.to_be_bytes());
        self.clients[id.index()].state = State::Closing;
    }

    /// Makes the outgoing buffer this client's.
    fn cork(&mut self, id: ClientId) {
        if self.out_for != Some(id) {
            self.flush();
            self.out_for = Some(id);
        }
    }

    fn flush(&mut self) {
        let Some(id) = self.out_for.take() else {
            return;
        };
        let client = &mut self.clients[id.index()];
        let Some(stream) = &mut client.stream else {
            return self.out.clear();
        };
        if let Some(unsent) = &mut client.unsent {
            unsent.bytes.extend_from_slice(&self.out);
            if unsent.bytes.len() - unsent.written > UNSENT_BYTES_MAX {
                // Reading finds the end and reports it.
                let _ = stream.shutdown(Shutdown::Both);
            }
        } else {
            // An error is met again by reading, which reports it.
            let written = stream.write(&self.out).unwrap_or(0);
            if written < self.out.len() {
                let bytes = self.out[written..].to_vec();
                client.unsent = Some(Box::new(Unsent { bytes, written: 0 }));
                let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                self.watch(id, both);
            }
        }
        self.out.clear();
    }

    fn write_unsent(&mut self, id: ClientId) {
        let Client {
            stream: Some(stream),
            unsent: Some(unsent),
            ..
        } = &mut self.clients[id.index()]
        else {
            return;
        };
        unsent.written += stream.write(&unsent.bytes[unsent.written..]).unwrap_or(0);
        if unsent.written == unsent.bytes.len() {
            self.clients[id.index()].unsent = None;
            self.watch(id, epoll::EventFlags::IN);
        }
    }

    fn watch(&self, id: ClientId, flags: epoll::EventFlags) {
        if let Some(stream) = &self.clients[id.index()].stream {
            let data = epoll::EventData::new_u64(id.0.into());
            epoll::modify(&self.epoll, stream, data, flags).expect("an open connection is watched");
        }
    }
}

/// Whether this process may open so many connections.
fn check_connections(wanted: usize) -> Result<(), LoadError> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = descriptors.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let limit = CONNECTIONS_MAX.min(descriptors.saturating_sub(DESCRIPTORS_SPARED));
    match wanted <= limit {
        true => Ok(()),
        false => Err(LoadError::TooManyConnections { wanted, limit }),
    }
}

fn connect(target: Target, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&source(number).into())?;
    match socket.connect(&target.address().into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

/// Whether reading is to be tried again later.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Masks for frames: different for each, which is what makes the server unmask for real.
struct Masks(u32);

impl Masks {
    /// Marsaglia's xorshift; never zero.
    fn next(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_are_refused_with_the_limit() {
        let error = check_connections(CONNECTIONS_MAX + 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("19001 connections are more than the "),
            "{error}"
        );
        assert!(check_connections(100).is_ok());
    }

    #[test]
    fn masks_differ() {
        let mut masks = Masks(1);
        let first = masks.next();
        assert_ne!(first, masks.next());
        assert_ne!(first, [0; 4]);
    }
}
