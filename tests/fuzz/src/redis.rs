//! What strangers publish on the channels of a cluster, and what says it is a Redis.

use synapse_redis::fuzzing;

/// The first byte chooses between an event and a request. Nothing but an error or a message may come of the rest.
pub(crate) fn check_wire(input: &[u8]) {
    let Some((choice, payload)) = input.split_first() else {
        return;
    };
    if choice & 1 == 0 {
        fuzzing::broadcast(payload);
    } else {
        fuzzing::request(payload);
    }
}

/// Replies are the same however they are cut into reads.
pub(crate) fn check_resp(input: &[u8]) {
    let whole = fuzzing::replies(input, input.len().max(1));
    assert_eq!(fuzzing::replies(input, 1), whole);
    assert_eq!(fuzzing::replies(input, 7), whole);
}
