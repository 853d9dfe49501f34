//! One connection through a proxy: two directions, each with its toxics.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::toxic::{Effect, Toxic, ms};
use super::{State, lock};

/// Pieces on their way in one direction; a reader that is ahead waits.
const PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 16 * 1024;

/// How a direction ended.
enum End {
    /// The sender closed.
    Closed,
    /// A toxic or a failure: both directions end.
    Cut,
    /// By a reset on both sides.
    Reset,
}

/// Carries until both sides are done, a toxic cuts, or the proxy goes down.
pub(super) async fn carry(
    client: TcpStream,
    upstream: String,
    toxics: Arc<Mutex<Vec<Toxic>>>,
    changes: watch::Receiver<State>,
    number: u64,
) {
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    for socket in [&client, &server] {
        // Pieces are not to wait for each other here.
        let _best_effort = socket.set_nodelay(true);
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut down = changes.clone();
    let lane = |upstream: bool| Lane {
        upstream,
        toxics: Arc::clone(&toxics),
        changes: changes.clone(),
        number,
    };
    let mut up = std::pin::pin!(lane(true).carry(client_read, server_write));
    let mut back = std::pin::pin!(lane(false).carry(server_read, client_write));
    let (mut up_done, mut back_done) = (None, None);
    loop {
        let end = tokio::select! {
            end = &mut up, if up_done.is_none() => {
                up_done = Some(end.1);
                end.0
            }
            end = &mut back, if back_done.is_none() => {
                back_done = Some(end.1);
                end.0
            }
            _ = down.wait_for(|s| !s.enabled) => return,
        };
        match end {
            End::Closed if up_done.is_some() && back_done.is_some() => return,
            End::Closed => {}
            End::Cut => return,
            End::Reset => {
                for half in [up_done, back_done].into_iter().flatten() {
                    let socket: &TcpStream = half.as_ref();
                    // Closing with data thrown away is what a reset is, and no orderly end may go
                    // before it.
                    let _best_effort = socket.set_zero_linger();
                    half.forget();
                }
                return;
            }
        }
    }
}

/// Ends with its lane, or its half of the connection would stay open.
struct Reading(tokio::task::JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Lane {
    upstream: bool,
    toxics: Arc<Mutex<Vec<Toxic>>>,
    changes: watch::Receiver<State>,
    number: u64,
}

impl Lane {
    /// The toxics of this direction that hit this connection.
    fn effects(&self) -> Vec<Effect> {
        let all = lock(&self.toxics);
        let mine = all.iter().filter(|t| t.upstream == self.upstream);
        mine.filter(|t| share(self.number, &t.name) < t.toxicity).map(|t| t.effect).collect()
    }

    async fn carry(mut self, from: OwnedReadHalf, mut to: OwnedWriteHalf) -> (End, OwnedWriteHalf) {
        let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
        let _reading = Reading(tokio::spawn(read(from, sender)));
        let end = self.write(&mut pieces, &mut to).await;
        (end, to)
    }

    async fn write(
        &mut self,
        pieces: &mut mpsc::Receiver<(Instant, Vec<u8>)>,
        to: &mut OwnedWriteHalf,
    ) -> End {
        let mut passed = 0u64;
        let mut pieces_seen = 0u64;
        // A piece that never comes holds up everything behind it.
        let mut stuck = false;
        let opened = Instant::now();
        let mut limited_from = None;
        loop {
            let effects = self.effects();
            let deadline = effects.iter().find_map(|e| match e {
                Effect::ResetPeer { timeout } => Some((opened + ms(*timeout), true)),
                Effect::Timeout { timeout } if *timeout > 0 => Some((opened + ms(*timeout), false)),
                _ => None,
            });
            let swallows = effects.iter().any(|e| matches!(e, Effect::Timeout { .. }));
            let cut = async {
                match deadline {
                    Some((at, reset)) => {
                        tokio::time::sleep_until(at.into()).await;
                        reset
                    }
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                reset = cut => return if reset { End::Reset } else { End::Cut },
                // Toxics that came or went are looked at anew.
                _ = self.changes.changed() => continue,
            };
            let Some((came, bytes)) = piece else {
                for effect in &effects {
                    if let Effect::SlowClose { delay } = effect {
                        tokio::time::sleep(ms(*delay)).await;
                    }
                }
                // The other side may have gone already.
                let _closed = to.shutdown().await;
                return End::Closed;
            };
            pieces_seen += 1;
            if !swallows && !stuck {
                for effect in &effects {
                    if let Effect::Loss { percent, retransmit } = effect {
                        match lost(self.number, pieces_seen, *percent, *retransmit) {
                            Some(late) => tokio::time::sleep_until((came + late).into()).await,
                            None => stuck = true,
                        }
                    }
                }
            }
            if swallows || stuck {
                continue;
            }
            let limit = effects.iter().find_map(|e| match e {
                Effect::LimitData { bytes } => Some(*bytes),
                _ => None,
            });
            let from = *limited_from.get_or_insert(if limit.is_some() { passed } else { u64::MAX });
            if limit.is_none() {
                limited_from = None;
            }
            let left = limit.map(|l| l.saturating_sub(passed.saturating_sub(from)));
            let keep = left.map_or(bytes.len(), |l| bytes.len().min(l as usize));
            let bytes = bytes.get(..keep).unwrap_or_default();
            if self.deliver(bytes, came, &effects, to).await.is_err() {
                return End::Cut;
            }
            passed += bytes.len() as u64;
            if left.is_some_and(|l| l <= bytes.len() as u64) {
                return End::Cut;
            }
        }
    }

    async fn deliver(
        &self,
        bytes: &[u8],
        came: Instant,
        effects: &[Effect],
        to: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut slices: Vec<&[u8]> = vec![bytes];
        let mut between = Duration::ZERO;
        let mut per_byte = Duration::ZERO;
        for effect in effects {
            match *effect {
                Effect::Latency { latency, jitter } => {
                    let spread =
                        jitter as f64 * (2.0 * share(self.number, &format!("{came:?}")) - 1.0);
                    let wait = (latency as f64 + spread).max(0.0) / 1e3;
                    tokio::time::sleep_until((came + Duration::from_secs_f64(wait)).into()).await;
                }
                Effect::Bandwidth { rate } => {
                    per_byte = Duration::from_secs_f64(1.0 / (rate.max(1) as f64 * 1_000.0));
                }
                Effect::Slicer { average_size, size_variation, delay } => {
                    // Sizes go up and down around the average, the same for the same data.
                    let low = average_size.saturating_sub(size_variation).max(1) as usize;
                    let high = (average_size + size_variation).max(1) as usize;
                    let mut rest = bytes;
                    slices.clear();
                    let mut large = false;
                    while !rest.is_empty() {
                        let size = if large { high } else { low }.min(rest.len());
                        let (piece, tail) = rest.split_at(size);
                        slices.push(piece);
                        rest = tail;
                        large = !large;
                    }
                    between = Duration::from_micros(delay);
                }
                _ => {}
            }
        }
        for slice in slices {
            // A tenth of a second of a narrow line at a time, so that it flows.
            let step = match per_byte.is_zero() {
                true => slice.len().max(1),
                false => ((0.1 / per_byte.as_secs_f64()) as usize).clamp(1, PIECE_BYTES),
            };
            for piece in slice.chunks(step) {
                if !per_byte.is_zero() {
                    tokio::time::sleep(per_byte * piece.len() as u32).await;
                }
                to.write_all(piece).await?;
            }
            if !between.is_zero() {
                tokio::time::sleep(between).await;
            }
        }
        Ok(())
    }
}

async fn read(mut from: OwnedReadHalf, to: mpsc::Sender<(Instant, Vec<u8>)>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match from.read_buf(&mut piece).await {
            Ok(n) if n > 0 => {
                if to.send((Instant::now(), piece)).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Losses of one piece after which a real sender would have given up, too.
const LOSSES_MAX: u32 = 6;

/// How much later a piece comes; `None`: never. The same for the same connection and piece.
fn lost(number: u64, piece: u64, percent: u64, retransmit: u64) -> Option<Duration> {
    let losses = (0..LOSSES_MAX)
        .take_while(|i| share(number, &format!("{piece}/{i}")) * 100.0 < percent as f64)
        .count() as u32;
    match (losses, retransmit) {
        (0, _) => Some(Duration::ZERO),
        (_, 0) => None,
        // The waits double: 1 + 2 + 4 + … of them.
        _ => Some(ms(retransmit) * (2u32.pow(losses) - 1)),
    }
}

/// 0 to 1, the same for the same connection and name.
fn share(number: u64, name: &str) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for b in name.bytes() {
        hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pieces_are_lost_as_was_said() {
        let late = |percent| {
            (0..10_000).filter(|p| lost(7, *p, percent, 200) != Some(Duration::ZERO)).count()
        };
        assert_eq!((late(0), late(100)), (0, 10_000));
        assert!((2_850..3_150).contains(&late(30)), "{}", late(30));
        // Lost twice: 200 ms and then 400 ms.
        assert!((0..1_000).any(|p| lost(7, p, 30, 200) == Some(ms(600))));
        assert!((0..100).any(|p| lost(7, p, 30, 0).is_none()));
    }
}
