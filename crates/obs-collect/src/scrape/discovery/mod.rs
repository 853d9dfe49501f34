//! Discovery at work: each source is asked again and again in a task of its own and tells its job
//! what it found; one that fails keeps its last good answer.

mod dns;
mod file;
mod http;
mod kubernetes;

use std::time::Duration;

use tokio::sync::mpsc;

use super::config::{Discovery, DnsDiscovery, FileDiscovery, TargetGroup};

/// The place of the source in its job, and all of its groups.
pub(super) type Found = (usize, Vec<TargetGroup>);

/// Pauses shorter than this would keep a core busy.
const REFRESH_MIN: Duration = Duration::from_millis(100);

/// Runs until it is dropped or nobody listens.
pub(super) async fn run(
    source: Discovery,
    place: usize,
    job: String,
    user_agent: String,
    found: mpsc::Sender<Found>,
) {
    let teller = Teller { job, place, found, last: None };
    let (asked, refresh) = match source {
        Discovery::File(d) => (Ok(Asked::Files(file::Files::default(), d.clone())), d.refresh),
        Discovery::Http(d) => {
            (http::Source::new(&d, &user_agent).map(|s| Asked::Http(Box::new(s))), d.refresh)
        }
        Discovery::Dns(d) => (Ok(Asked::Dns(d.clone())), d.refresh),
        Discovery::Kubernetes(d) => match kubernetes::Source::new(&d, &user_agent) {
            Ok(source) => return source.run(teller).await,
            Err(e) => (Err(e), Duration::ZERO),
        },
    };
    match asked {
        Ok(asked) => poll(teller, refresh, asked).await,
        Err(e) => teller.failed(&e),
    }
}

/// A source that gives its whole list whenever it is asked.
enum Asked {
    Files(file::Files, FileDiscovery),
    Http(Box<http::Source>),
    Dns(DnsDiscovery),
}

/// Asks every `refresh`.
async fn poll(mut teller: Teller, refresh: Duration, mut asked: Asked) {
    loop {
        let groups = match &mut asked {
            Asked::Files(files, source) => Ok(files.read(source)),
            Asked::Http(source) => source.ask().await,
            Asked::Dns(source) => dns::resolve(source).await,
        };
        match groups {
            Ok(groups) => {
                if teller.tell(groups).await.is_err() {
                    return;
                }
            }
            Err(e) => teller.failed(&e),
        }
        tokio::time::sleep(refresh.max(REFRESH_MIN)).await;
    }
}

/// Tells the job about changes.
struct Teller {
    job: String,
    place: usize,
    found: mpsc::Sender<Found>,
    last: Option<Vec<TargetGroup>>,
}

impl Teller {
    /// `Err` when nobody listens any more.
    async fn tell(&mut self, groups: Vec<TargetGroup>) -> Result<(), ()> {
        if self.last.as_ref() == Some(&groups) {
            return Ok(());
        }
        self.last = Some(groups.clone());
        self.found.send((self.place, groups)).await.map_err(|_closed| ())
    }

    fn failed(&self, why: &str) {
        tracing::warn!(job = self.job, error = why, "discovery failed, the last answer stands");
    }
}
