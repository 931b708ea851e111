//! What a client hears: the answer to its handshake, then frames, then packets.

use std::mem;

use synapse_protocol::engine::{self, decode_packet};
use synapse_protocol::socket::{self, PacketType};
use synapse_protocol::websocket::{Decoder, Limits, Message, Opcode, Role};

use super::{Scenario, Swarm};
use crate::client::{ClientId, Ended, State};

/// A measuring tool is not the place to find out about a server's large messages.
const LIMITS: Limits = Limits {
    message_bytes_max: 64 * 1024 * 1024,
    fragments_max: 65_536,
};

impl Swarm {
    /// Handles bytes that were read from a client.
    pub(super) fn receive(
        &mut self,
        id: ClientId,
        input: &mut [u8],
        scenario: &mut impl Scenario,
    ) -> Result<(), Ended> {
        let client = &mut self.clients[id.index()];
        // The answer's head may come in pieces; what is behind it belongs to the WebSocket.
        let mut head;
        let mut input = input;
        if let State::Upgrading(partial) = &mut client.state {
            head = partial.take().unwrap_or_default();
            head.0.extend_from_slice(input);
            match self.handshake.head_bytes(&head.0)? {
                None => {
                    *partial = Some(head);
                    return Ok(());
                }
                Some(len) => {
                    client.state = State::Opening;
                    input = &mut head.0[len..];
                }
            }
        }
        let mut decoder = mem::replace(&mut client.decoder, Decoder::new(Role::Client));
        loop {
            let (taken, message) = decoder.decode(input, &LIMITS)?;
            let Some(message) = message else { break };
            self.message(id, message, scenario)?;
            input = &mut input[taken..];
        }
        self.clients[id.index()].decoder = decoder;
        Ok(())
    }

    fn message(
        &mut self,
        id: ClientId,
        message: Message<'_>,
        scenario: &mut impl Scenario,
    ) -> Result<(), Ended> {
        match message {
            Message::Text(text) => self.text(id, text, scenario)?,
            Message::Ping(payload) => self.put(id, Opcode::Pong, payload),
            // An attachment has been announced by a text that the scenario saw.
            Message::Binary(_) | Message::Pong(_) => (),
            Message::Close(_) => {
                if !matches!(self.clients[id.index()].state, State::Closing) {
                    return Err(Ended::ByServer);
                }
            }
        }
        Ok(())
    }

    fn text(
        &mut self,
        id: ClientId,
        text: &str,
        scenario: &mut impl Scenario,
    ) -> Result<(), Ended> {
        let client = &mut self.clients[id.index()];
        match (&client.state, decode_packet(text)?) {
            (State::Closing, _) => (),
            (State::Joined, engine::Packet::Message(engine::Message::Text(packet))) => {
                scenario.packet(self, id, &packet);
            }
            (_, engine::Packet::Ping(payload)) => {
                let pong = format!("3{payload}");
                self.heartbeats += 1;
                self.put(id, Opcode::Text, pong.as_bytes());
            }
            (State::Opening, engine::Packet::Open(_)) => {
                client.state = State::Joining;
                self.put(id, Opcode::Text, b"40");
            }
            (State::Joining, engine::Packet::Message(engine::Message::Text(packet))) => {
                let packet = socket::decode(&packet, &socket::Limits::default())?;
                match packet.packet_type {
                    PacketType::Connect => {
                        client.state = State::Joined;
                        scenario.joined(self, id);
                    }
                    PacketType::ConnectError => {
                        let reason = packet.json.unwrap_or("no reason given");
                        return Err(Ended::Refused(reason.to_owned()));
                    }
                    PacketType::Disconnect
                    | PacketType::Event
                    | PacketType::Ack
                    | PacketType::BinaryEvent
                    | PacketType::BinaryAck => return Err(Ended::Unexpected(text.to_owned())),
                }
            }
            (_, engine::Packet::Close) => return Err(Ended::ByServer),
            (_, engine::Packet::Noop) => (),
            (_, _) => return Err(Ended::Unexpected(text.to_owned())),
        }
        Ok(())
    }
}
