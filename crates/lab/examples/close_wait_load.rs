//! Measures how fast the load is made: `cargo run --release -p linger-lab --example close_wait_load [TOTAL]`.
//!
//! It needs `linger-actor` beside its own directory: `cargo build --release -p linger-lab` makes it.

use linger_lab::{CloseWaitLoad, Launcher, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let total = std::env::args().nth(1).map_or(Ok(60_000), |arg| arg.parse())?;
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(|dir| dir.parent()).ok_or("it runs from no directory")?;
    let world = World::new();
    let host = world.host("load")?;
    let load = CloseWaitLoad { total, ..CloseWaitLoad::default() };
    let held = load.make(&host, &Launcher::new(target.join("linger-actor")))?;
    println!("{:?}: {:.0} a second", held.made, held.made.per_second());
    println!("{:?}", host.tcp_states()?);
    Ok(())
}
