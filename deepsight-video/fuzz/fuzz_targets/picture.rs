#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    deepsight_video::fuzzing::picture(bytes);
});
