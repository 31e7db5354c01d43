//! An actor on its own, for the tests of this crate; everything else starts them as `linger __actor`.

fn main() {
    let Some(spec) = std::env::args().nth(1) else {
        eprintln!("usage: linger-actor JSON");
        std::process::exit(3);
    };
    std::process::exit(linger_lab::actor_main(&spec));
}
