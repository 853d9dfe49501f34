//! The executors: who begins an iteration when.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::arrivals::Arrivals;
use super::measure::{Builtin, Tags};
use super::profile::{Executor, Stage};
use super::user::{Shared, User, ms};

/// Iterations that may wait for a user; later ones are dropped and counted.
const BACKLOG_MAX: usize = 100_000;
/// How often the number of users follows its ramp.
const RAMP_TICK: Duration = Duration::from_millis(50);

/// Runs one scenario from its start to its end; at most `graceful_stop` longer.
pub(crate) async fn drive(shared: Rc<Shared>, scenario: usize) {
    let Some(plan) = shared.profile.scenarios.get(scenario) else { return };
    let (start, grace) = (plan.start, plan.graceful_stop);
    tokio::time::sleep(start).await;
    if shared.stopping.get() {
        return;
    }
    let ending = Rc::new(Cell::new(false));
    let users = match plan.executor.clone() {
        Executor::SharedIterations { vus, iterations, duration_max } => {
            let left = Rc::new(Cell::new(iterations));
            let take = move |_own: u64| match left.get() {
                0 => false,
                n => {
                    left.set(n - 1);
                    true
                }
            };
            let users = closed(&shared, scenario, vus, &ending, take);
            until_done(&users, duration_max, &shared).await;
            users
        }
        Executor::PerVuIterations { vus, iterations, duration_max } => {
            let users = closed(&shared, scenario, vus, &ending, move |own| own < iterations);
            until_done(&users, duration_max, &shared).await;
            users
        }
        Executor::ConstantVus { vus, duration } => {
            let users = closed(&shared, scenario, vus, &ending, |_own| true);
            until_done(&users, duration, &shared).await;
            users
        }
        Executor::RampingVus { start, stages } => ramping(&shared, scenario, start, &stages).await,
        executor => open(&shared, scenario, &executor, grace).await,
    };
    ending.set(true);
    until_done(&users, grace, &shared).await;
    for user in users {
        user.abort();
    }
}

/// Waits until all users are done, at most so long, or until the run is stopped.
async fn until_done(users: &[JoinHandle<()>], most: Duration, shared: &Shared) {
    let end = Instant::now() + most;
    while Instant::now() < end
        && !shared.stopping.get()
        && users.iter().any(|user| !user.is_finished())
    {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_millis(10))).await;
    }
}

/// Users of the closed model: each begins its next iteration when the last one is over. `more` is
/// asked with how many it has done.
fn closed(
    shared: &Rc<Shared>,
    scenario: usize,
    vus: u32,
    ending: &Rc<Cell<bool>>,
    more: impl Fn(u64) -> bool + Clone + 'static,
) -> Vec<JoinHandle<()>> {
    (0..vus)
        .map(|number| {
            let (shared, ending, more) = (Rc::clone(shared), Rc::clone(ending), more.clone());
            tokio::task::spawn_local(async move {
                let Some(mut user) = User::new(&shared, scenario, number) else { return };
                let mut done = 0;
                while !ending.get() && !shared.stopping.get() && more(done) {
                    user.iterate(Instant::now()).await;
                    done += 1;
                    // A target that fails at once must not keep the thread from everybody else.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect()
}

/// Users of a straight line between the targets; whoever is too many ends after its iteration.
async fn ramping(
    shared: &Rc<Shared>,
    scenario: usize,
    start: u32,
    stages: &[Stage],
) -> Vec<JoinHandle<()>> {
    let began = Instant::now();
    let wanted = Rc::new(Cell::new(0u32));
    let mut users: Vec<JoinHandle<()>> = Vec::new();
    let total: Duration = stages.iter().map(|s| s.duration).sum();
    loop {
        let elapsed = began.elapsed();
        if elapsed >= total || shared.stopping.get() {
            break;
        }
        wanted.set(users_at(start, stages, elapsed));
        for number in 0..wanted.get() {
            let slot = users.get(number as usize);
            if slot.is_some_and(|user| !user.is_finished()) {
                continue;
            }
            let (shared, wanted) = (Rc::clone(shared), Rc::clone(&wanted));
            let user = tokio::task::spawn_local(async move {
                let Some(mut user) = User::new(&shared, scenario, number) else { return };
                while number < wanted.get() && !shared.stopping.get() {
                    user.iterate(Instant::now()).await;
                    tokio::task::yield_now().await;
                }
            });
            match users.get_mut(number as usize) {
                Some(slot) => *slot = user,
                None => users.push(user),
            }
        }
        tokio::time::sleep(RAMP_TICK.min(total.saturating_sub(elapsed))).await;
    }
    wanted.set(0);
    users
}

/// Users after `elapsed`, rounded to the nearest.
fn users_at(start: u32, stages: &[Stage], elapsed: Duration) -> u32 {
    let mut from = f64::from(start);
    let mut before = Duration::ZERO;
    for stage in stages {
        if elapsed < before + stage.duration {
            let share = (elapsed - before).as_secs_f64() / stage.duration.as_secs_f64();
            return (from + (stage.target - from) * share).round() as u32;
        }
        before += stage.duration;
        from = stage.target;
    }
    from.round() as u32
}

/// Iterations that are due and wait for a user.
#[derive(Debug, Default)]
struct Queue {
    due: RefCell<VecDeque<Instant>>,
    wake: Notify,
    idle: Cell<u32>,
    closed: Cell<bool>,
}

/// The open model: iterations are due by the clock whatever the target does, and count from then.
async fn open(
    shared: &Rc<Shared>,
    scenario: usize,
    executor: &Executor,
    grace: Duration,
) -> Vec<JoinHandle<()>> {
    let (first, most) = match executor {
        Executor::ConstantArrivalRate { vus, vus_max, .. }
        | Executor::RampingArrivalRate { vus, vus_max, .. } => (*vus, *vus_max),
        _ => return Vec::new(),
    };
    let queue = Rc::new(Queue::default());
    let mut users = Vec::new();
    let spawn = |users: &mut Vec<JoinHandle<()>>| {
        let (shared, queue) = (Rc::clone(shared), Rc::clone(&queue));
        let number = users.len() as u32;
        users.push(tokio::task::spawn_local(worker(shared, queue, scenario, number)));
    };
    for _ in 0..first {
        spawn(&mut users);
    }
    // The first users are waiting before the first iteration is due.
    tokio::task::yield_now().await;
    let began = Instant::now();
    let timer = Timer::new();
    for at in Arrivals::of(executor).into_iter().flatten() {
        let due = began + at;
        timer.until(due).await;
        if shared.stopping.get() {
            break;
        }
        let waiting = queue.due.borrow().len();
        if waiting >= BACKLOG_MAX {
            drop_iterations(shared, scenario, 1);
            continue;
        }
        shared.recorder.borrow_mut().lateness.add(ms(due.elapsed()));
        queue.due.borrow_mut().push_back(due);
        if queue.idle.get() > 0 {
            queue.idle.set(queue.idle.get() - 1);
            queue.wake.notify_one();
        } else if users.len() < most as usize {
            spawn(&mut users);
        }
    }
    queue.closed.set(true);
    queue.wake.notify_waiters();
    // Those who are asleep end now; the others work off what is due.
    until_done(&users, grace, shared).await;
    let left = queue.due.borrow_mut().drain(..).count();
    drop_iterations(shared, scenario, left);
    users
}

fn drop_iterations(shared: &Shared, scenario: usize, count: usize) {
    let Some(scenario) = shared.profile.scenarios.get(scenario) else { return };
    let tags =
        Tags { scenario: &scenario.name, more: [Some(&scenario.tags), None], ..Tags::default() };
    let now = Instant::now();
    let mut recorder = shared.recorder.borrow_mut();
    for _ in 0..count {
        recorder.add(Builtin::DroppedIterations, 1.0, &tags);
        recorder.second_of_iteration(now, shared.vus.get(), true);
    }
}

async fn worker(shared: Rc<Shared>, queue: Rc<Queue>, scenario: usize, number: u32) {
    let Some(mut user) = User::new(&shared, scenario, number) else { return };
    while !shared.stopping.get() {
        let due = queue.due.borrow_mut().pop_front();
        match due {
            Some(due) => user.iterate(due).await,
            None if queue.closed.get() => break,
            None => {
                queue.idle.set(queue.idle.get() + 1);
                queue.wake.notified().await;
            }
        }
    }
}

/// Sleeps to the microsecond where the kernel offers it; the runtime's own timer is good to a
/// millisecond, which would be added to every latency.
struct Timer(Option<AsyncFd<std::os::fd::OwnedFd>>);

impl Timer {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd stays open as long as this")]
    fn new() -> Self {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).ok();
        Self(fd.and_then(|fd| AsyncFd::new(fd).ok()))
    }

    async fn until(&self, due: Instant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Behind: begin this one at once, yet let answers in.
            tokio::task::yield_now().await;
            return;
        }
        let Some(fd) = &self.0 else { return tokio::time::sleep(left).await };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: zero, it_value: value };
        if timerfd_settime(fd.get_ref(), TimerfdTimerFlags::empty(), &once).is_err() {
            return tokio::time::sleep(left).await;
        }
        // Setting it again clears what it counted, so nothing needs to be read from it. A wake-up
        // before its time is one for nothing.
        while Instant::now() < due {
            let Ok(mut ready) = fd.readable().await else { return };
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_follow_their_ramp() {
        let s = |seconds, target| Stage { duration: Duration::from_secs(seconds), target };
        let stages = [s(10, 20.0), s(5, 20.0), s(0, 5.0), s(10, 0.0)];
        let at = |seconds: f64| users_at(0, &stages, Duration::from_secs_f64(seconds));
        assert_eq!(
            [at(0.0), at(5.0), at(10.0), at(14.9), at(15.0), at(20.0)],
            [0, 10, 20, 20, 5, 3]
        );
    }
}
