//! One time line of everything around an instant (ENGINE 4).

mod changes;
mod timeline;

pub use changes::{Change, ChangeKind, detect_changes};
pub use timeline::{Event, EventKind, Timeline, timeline};
