#![no_main]

#[path = "../bodies/packet.rs"]
mod packet;

// The broker catches what the MQTT library panics at, and has to: only a panic of our own code ends the run.
libfuzzer_sys::fuzz_target!(
    init: {
        let stop = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let theirs = panic.location().is_some_and(|place| place.file().contains("mqtt-protocol-core"));
            if !theirs {
                stop(panic);
            }
        }));
    },
    |data: &[u8]| packet::run(data)
);
