#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| synapse_fuzz::run("engine_v3", input));
