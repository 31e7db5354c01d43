//! Changing kernel settings so that they are watched, and taken back by themselves.
//!
//! *Architecture invariant:* the only writer of the host's kernel. Nothing is written before it is in the journal, and
//! no key is written that [`linger_facts::tunables`] doesn't list. It knows no collector and no rules: whoever uses it
//! hands in an [`Attendant`], who looks at the host.

mod effects;
mod engine;
mod error;
pub mod fault;
mod follow;
mod guardian;
pub mod journal;
mod log;
pub mod observe;
mod outlive;
mod persist;
pub mod plan;
mod planner;
mod profile;
pub mod rehearsed;
mod role;
mod settings;
mod signals;
pub mod state;

pub use engine::{
    Answer, Applied, Attendant, Ended, Interrupt, Options, Progress, StepOutcome, StepReport, Undo,
    UndoReport, apply, begin, confirm, is_overdue, may_confirm, may_write, persist_confirmed, preflight,
    recover, roll_back,
};
pub use error::{Error, Kind};
pub use follow::{Follower, Told};
pub use guardian::{Guard, Guardian, stand_guard};
pub use journal::{Journal, Lock};
pub use log::{Log, Phase, Run, Step, StepState};
pub use observe::{Effect, Sample};
pub use outlive::{OwnCgroup, scope};
pub use persist::{PERSIST_FILE, SYSCTL_DIR, overridden};
pub use plan::{Plan, PlanError};
pub use planner::{Present, plan};
pub use profile::Profile;
pub use settings::{Namespace, NetnsMark, Settings, Tree};
pub use signals::Signals;
