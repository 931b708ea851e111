//! Ids that cannot be guessed.

use std::collections::HashSet;

use synapse_hostile::{Client, Host, Polling};

const IDS: usize = 100_000;
const BATCH: usize = 500;
const ID_LEN: usize = 20;

/// One client joins and leaves again and again.
async fn socket_ids(host: &Host) -> Vec<String> {
    let mut client = Client::open(host.address).await;
    let round = synapse_hostile::masked(synapse_protocol::websocket::Opcode::Text, b"40");
    let leave = synapse_hostile::masked(synapse_protocol::websocket::Opcode::Text, b"41");
    let batch = [round, leave].concat().repeat(BATCH);
    let mut ids = Vec::with_capacity(IDS);
    while ids.len() < IDS {
        client.websocket.send(&batch).await;
        for _ in 0..BATCH {
            let packet = client.next().await;
            ids.push(packet.split('"').nth(3).expect("a sid").to_owned());
        }
    }
    ids
}

#[tokio::test]
async fn cve_2017_16031_ids_are_neither_repeated_nor_predictable() {
    let host = Host::start();
    let ids = socket_ids(&host).await;
    let distinct: HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), IDS);
    assert!(ids.iter().all(|id| id.len() == ID_LEN));
    // Neighbours share no more of their beginning or end than chance allows.
    for pair in ids.windows(2) {
        let shared =
            |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        let back = |id: &str| id.chars().rev().collect::<String>();
        assert!(
            shared(&pair[0], &pair[1]) < 10 && shared(&back(&pair[0]), &back(&pair[1])) < 10,
            "{pair:?}"
        );
    }
    // Every character of the alphabet stands at every place.
    for place in 0..ID_LEN {
        let found: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[place]).collect();
        assert_eq!(found.len(), 64, "place {place}");
    }
}

/// The public id of a socket says nothing about the secret id of its session.
#[tokio::test]
async fn a_socket_s_id_is_not_its_session_s() {
    let host = Host::start();
    for _ in 0..20 {
        let (polling, socket_id) = Polling::join(host.address).await;
        let shared = polling
            .sid()
            .bytes()
            .zip(socket_id.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        assert!(shared < 10, "{socket_id}");
        assert!(
            !format!("{:?}", host.io.of("/").socket(socket_id.parse().unwrap()))
                .contains(polling.sid())
        );
    }
}
