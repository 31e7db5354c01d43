//! Emergency measures: new connections limited per source, and sockets destroyed.
//!
//! *Architecture invariant:* the one place that drops packets or destroys sockets. Packets are dropped only by a table
//! of its own, whose ports are elements with a timeout, so that it ends without linger; sockets are destroyed only by
//! their cookie, one by one, and never a listener. Both are in the journal before they happen.

mod destroy;
mod error;
mod journal;
mod limit;
mod nft;
mod table;

pub use destroy::{Destroyer, Fate, may_administer};
pub use error::Error;
pub use journal::{Closing, Event, Journal, Record, STATE_DIR};
pub use limit::{MOST_LASTING, Per, Rate, SOURCE_BYTES, SOURCES, SynLimit, TABLE};
pub use nft::Nft;
pub use table::{Active, Present, Table};
