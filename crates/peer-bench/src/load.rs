//! Sends prepared bodies as fast as the engine takes them.

use std::time::{Duration, Instant};

use anyhow::bail;
use obs_testkit::Client;

use crate::workload::Wave;

/// Each list goes over its own connection, in order; seconds until the last answer.
/// A refusal by overload (429, 503) is tried again; any other error ends the run.
pub(crate) fn send(address: &str, path: &str, bodies: &Wave) -> anyhow::Result<f64> {
    let started = Instant::now();
    let outcomes: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
        let senders: Vec<_> = bodies
            .iter()
            .map(|list| {
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    list.iter().try_for_each(|body| send_one(&mut client, path, body))
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|s| s.join().unwrap_or_else(|_| bail!("a sender panicked")))
            .collect()
    });
    outcomes.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(started.elapsed().as_secs_f64())
}

fn send_one(client: &mut Client, path: &str, body: &[u8]) -> anyhow::Result<()> {
    for attempt in 0..20 {
        let reply = client.remote_write(path, body)?;
        match reply.status {
            200..300 => return Ok(()),
            429 | 503 => std::thread::sleep(Duration::from_millis(50 << attempt.min(5))),
            status => bail!("{path} answers {status}: {}", reply.text()),
        }
    }
    bail!("{path} refused a request 20 times as overloaded")
}
