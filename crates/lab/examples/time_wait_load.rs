//! Measures how fast the load is made: `cargo run --release -p linger-lab --example time_wait_load [TOTAL] [GROUPS]`.

use linger_lab::{TimeWaitLoad, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse());
    let total = numbers.next().transpose()?.unwrap_or(200_000);
    let groups = numbers.next().transpose()?.unwrap_or(40);
    let world = World::new();
    let host = world.host("load")?;
    let made = TimeWaitLoad { total, groups, ..TimeWaitLoad::default() }.make(&host)?;
    println!("{made:?}: {:.0} a second", made.per_second());
    println!("{}", host.run(|| std::fs::read_to_string("/proc/thread-self/net/sockstat"))??);
    Ok(())
}
