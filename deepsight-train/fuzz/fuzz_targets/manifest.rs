#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    deepsight_train::fuzzing::manifest(bytes);
});
