//! The adapter against a real Redis.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is test code, helpers included"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod faults;
mod hostile;
mod lifecycle;
mod logins;
mod recovery;
mod requests;

mod contract {
    use synapse_adapter::contract::TwoNodes;

    use super::support::Redis;

    async fn two_nodes() -> TwoNodes {
        let redis = Redis::start().await;
        TwoNodes {
            first: redis.adapter(),
            second: redis.adapter(),
            guard: Box::new(redis),
        }
    }

    synapse_adapter::adapter_contract!(two_nodes);
}
