//! msgpack between servers: what is read as JSON can be written as msgpack, and reads the same.

use synapse_protocol::socket::msgpack::{Limits, Reader, put_arguments};

pub(crate) const LIMITS: Limits = Limits {
    depth_max: 32,
    bytes_max: 1 << 20,
    attachments_max: 64,
};

pub(crate) fn check(input: &[u8]) {
    let mut skipping = Reader::new(input);
    let skipped = skipping.skip().is_ok();
    let mut reader = Reader::new(input);
    let Ok(arguments) = reader.arguments(&LIMITS) else {
        return;
    };
    assert!(skipped, "what is read can be passed over");
    assert_eq!(reader.rest(), skipping.rest());
    assert!(arguments.json().len() <= LIMITS.bytes_max);
    assert!(arguments.attachments().len() <= LIMITS.attachments_max);

    let mut written = Vec::new();
    put_arguments(&mut written, &arguments, &LIMITS).expect("what was read fits");
    let mut again = Reader::new(&written);
    let read = again.arguments(&LIMITS).expect("what we write is valid");
    assert_eq!(read, arguments);
    assert!(again.rest().is_empty());
}
