//! The gateway's program once more, so that the tests of this crate find it built.

fn main() -> std::process::ExitCode {
    spalla::cli::main()
}
