//! Letting old samples go: of all series at one age, of some at another.
//!
//! Blocks and files of aggregates are the unit: one goes, or is rewritten without some of its
//! series, when it ends before the time from which these are kept. What is in between is hidden by
//! whoever reads (`obs-query`). A block is durable before the one that it replaces goes; a crash in
//! between leaves both, they are merged, and the next run looks at the outcome again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_types::{DurationMs, LabelSet, RetentionRules, SeriesData, SeriesRetention, TimestampMs};

use crate::block::{Block, BlockBuilder, BlockIndex, Meta, SeriesWalk};
use crate::config::OpenMode;
use crate::engine::MetricsEngine;
use crate::error::MetricsError;
use crate::maintain::{MaintainReport, Tombs};
use crate::query::select_any;
use crate::{HOUR_MS, hour_of, lock, read, write};

/// What a rule is about to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionDue {
    /// The selectors of the rule, as somebody wrote them.
    pub selectors: Vec<String>,
    pub keep: DurationMs,
    /// Of the partitions with such series.
    pub first: TimestampMs,
    pub end: TimestampMs,
    /// Partitions, and those of them that hold nothing else.
    pub partitions: u64,
    pub whole: u64,
    /// Counted once per partition.
    pub series: u64,
    pub samples: u64,
}

/// A block and positions of series in it.
type Chosen = (Arc<Block>, BTreeSet<u32>);

/// What rules of retention take away when it is carried out.
#[derive(Debug, Default)]
pub struct RetentionPlan {
    /// By rule, in the order of the rules.
    pub due: Vec<RetentionDue>,
    now: TimestampMs,
    /// Blocks (and files of aggregates) with the positions of the series that go.
    blocks: Vec<Chosen>,
    aggregates: Vec<Arc<Block>>,
}

impl RetentionPlan {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.aggregates.is_empty()
    }
}

/// Files that need not be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// From when on each rule wants its series stored, when the files were looked at.
    since: Vec<i64>,
    /// Files in which no rule takes anything away.
    settled: BTreeSet<u64>,
    /// Blocks that hold only what outlives the rest.
    held: BTreeSet<u64>,
}

/// Positions of series, by the rule that counts for them.
fn fitting(
    index: &BlockIndex,
    rules: &[(usize, &SeriesRetention)],
) -> (BTreeSet<u32>, BTreeMap<usize, Vec<u32>>) {
    let mut all = BTreeSet::new();
    let mut by_rule: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (number, rule) in rules {
        let mut positions = select_any(&index.index, &rule.selectors);
        positions.retain(|position| all.insert(*position));
        by_rule.insert(*number, positions);
    }
    (all, by_rule)
}

impl MetricsEngine {
    /// What rules of retention take away at `now` of the partitions that end at or before `until`.
    /// Changes nothing; [`MetricsEngine::retain`] carries it out.
    pub fn retention_plan(
        &self,
        now: TimestampMs,
        until: TimestampMs,
    ) -> Result<RetentionPlan, MetricsError> {
        let rules = &self.config.limits.retention;
        let mut plan = RetentionPlan { now, ..RetentionPlan::default() };
        if rules.is_empty() {
            return Ok(plan);
        }
        let since: Vec<i64> = rules.iter().map(|r| r.stored_since(now).min(until).0).collect();
        let mut examined = lock(&self.retention);
        if examined.since != since {
            examined.settled.clear();
        }
        // The rule with the shortest time counts where several fit.
        let mut by_keep: Vec<(usize, &SeriesRetention)> = rules.iter().enumerate().collect();
        by_keep.sort_by_key(|(_, rule)| rule.keep);
        let mut due: BTreeMap<usize, RetentionDue> = BTreeMap::new();
        let blocks = Arc::clone(&read(&self.blocks));
        let aggregates = self.aggregates.files();
        let all = blocks.iter().map(|b| (b, true)).chain(aggregates.iter().map(|b| (b, false)));
        for (file, has_samples) in all {
            let past: Vec<(usize, &SeriesRetention)> = by_keep
                .iter()
                .copied()
                .filter(|(at, _)| since.get(*at).is_some_and(|since| file.meta.end() <= *since))
                .collect();
            if past.is_empty() || examined.settled.contains(&file.uid) {
                continue;
            }
            let index = self.index_cache.get(file, &self.counters.sections_corrupt)?;
            let (gone, by_rule) = fitting(&index, &past);
            if gone.is_empty() || self.is_unreadable(file) {
                examined.settled.insert(file.uid);
                continue;
            }
            for (number, positions) in by_rule.into_iter().filter(|(_, list)| !list.is_empty()) {
                let Some(rule) = rules.iter().nth(number) else { continue };
                let part = due.entry(number).or_insert_with(|| RetentionDue::of(rule));
                let count = |p: &u32| index.sample_count_in(*p, i64::MIN, i64::MAX) as u64;
                part.first = part.first.min(TimestampMs(file.meta.first_hour() * HOUR_MS));
                part.end = part.end.max(TimestampMs(file.meta.end()));
                part.partitions += 1;
                part.whole += u64::from(gone.len() as u64 == file.meta.series);
                part.series += positions.len() as u64;
                if has_samples {
                    part.samples += positions.iter().map(count).sum::<u64>();
                }
            }
            if has_samples {
                plan.blocks.push((Arc::clone(file), gone));
            } else {
                plan.aggregates.push(Arc::clone(file));
            }
        }
        examined.since = since;
        plan.due = due.into_values().collect();
        Ok(plan)
    }

    /// Takes away what the plan names; blocks that were replaced since are left to the next plan.
    /// Returns how many files were removed or rewritten.
    pub fn retain(&self, plan: RetentionPlan) -> Result<usize, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        let RetentionPlan { now, blocks, aggregates, .. } = plan;
        let listed = |all: &[Arc<Block>], b: &Arc<Block>| all.iter().any(|o| o.uid == b.uid);
        let rules = &self.config.limits.retention;
        let mut count = 0;
        let current = Arc::clone(&read(&self.blocks));
        let (whole, parts): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .filter(|(b, _)| listed(&current, b))
            .partition(|(b, gone)| gone.len() as u64 == b.meta.series);
        drop(current);
        let whole: Vec<Arc<Block>> = whole.into_iter().map(|(b, _)| b).collect();
        let samples: u64 = whole.iter().map(|b| b.meta.samples).sum();
        self.counters.retention_samples.fetch_add(samples, Ordering::Relaxed);
        count += whole.len();
        self.drop_blocks(whole, |_| false)?;
        for (block, gone) in parts {
            let left = self.rewrite_block(&block, block.meta.held, &|at| !gone.contains(&at))?;
            let taken = block.meta.samples.saturating_sub(left);
            self.counters.retention_samples.fetch_add(taken, Ordering::Relaxed);
            count += 1;
        }
        let current = self.aggregates.files();
        for file in aggregates.into_iter().filter(|f| listed(&current, f)) {
            let end = TimestampMs(file.meta.end());
            let wanted = |labels: &LabelSet| {
                rules.rule_of(labels).is_none_or(|rule| rule.stored_since(now) < end)
            };
            self.rewrite(std::slice::from_ref(&file), &|_, _| true, &wanted)?;
            count += 1;
        }
        drop(current);
        lock(&self.exemplars).forget(|labels| rules.shown_since(labels, now).0);
        self.counters.retention_blocks.fetch_add(count as u64, Ordering::Relaxed);
        self.remove_retired_aggregates()?;
        self.remove_retired()?;
        Ok(count)
    }

    /// Rewriting a damaged file would make its loss final.
    fn is_unreadable(&self, file: &Block) -> bool {
        file.is_damaged() || file.verify(&self.counters.sections_corrupt).is_err()
    }

    /// Replaces a block by one with only the series whose position is `wanted`; returns how many
    /// samples these have.
    fn rewrite_block(
        &self,
        block: &Arc<Block>,
        held: bool,
        wanted: &dyn Fn(u32) -> bool,
    ) -> Result<u64, MetricsError> {
        let tombstones = Arc::clone(&read(&self.tombstones));
        let meta = Meta {
            hours: block.meta.hours.clone(),
            generation: block.meta.generation + 1,
            deletions: tombstones.newest(),
            held,
            ..Meta::default()
        };
        let disk = Arc::clone(&self.config.disk);
        let mut builder = BlockBuilder::create(disk, &self.config.dir, meta)?;
        let corrupt = &self.counters.sections_corrupt;
        let times = (tombstones.floor(), i64::MAX);
        let mut walk = SeriesWalk::new(std::slice::from_ref(block), corrupt)?;
        let (mut at, mut data) = (0, SeriesData::default());
        // Of one block, a series' turn is its position.
        while let Some(labels) = walk.next(|_, _, scan| {
            at += 1;
            if wanted(at - 1) { scan.read(times, &mut data, corrupt) } else { Ok(()) }
        })? {
            data.labels = labels;
            tombstones.apply(&mut data);
            builder.add(&data)?;
            data = SeriesData::default();
        }
        drop(walk);
        let new = self.finish(builder)?;
        let samples = new.meta.samples;
        self.replace_blocks(std::slice::from_ref(block), Some(new));
        Ok(samples)
    }

    /// Removes blocks that ended at or before `t`, and hides what others hold of the hours before
    /// `t`. Samples still in the head stay until they are in a block; hours that are to be
    /// aggregated first go no sooner than that. Where rules keep series for longer than the rest,
    /// a block with some is rewritten to hold these alone, and nothing is hidden. Returns how many
    /// blocks went.
    pub fn drop_before(&self, t: TimestampMs) -> Result<usize, MetricsError> {
        if self.config.mode == OpenMode::ReadOnly {
            return Err(MetricsError::ReadOnly);
        }
        let _alone = lock(&self.maintenance);
        let t = if self.config.limits.aggregate_hours { self.aggregated_until(t) } else { t };
        let rules = &self.config.limits.retention;
        let mut old: Vec<Arc<Block>> =
            read(&self.blocks).iter().filter(|b| b.meta.end() <= t.0).cloned().collect();
        let mut outliving = Vec::new();
        if rules.hold_longer() {
            outliving = self.outliving(&mut old)?;
        }
        let count = old.len();
        let hour_start = hour_of(t.0).saturating_mul(HOUR_MS);
        self.drop_blocks(old, |all| {
            if rules.hold_longer() {
                // Deletions in what stays are forgotten when that goes.
                let first = read(&self.blocks).first().map_or(i64::MAX, |b| b.meta.first_hour());
                return all.drop_before(hour_start.min(first.saturating_mul(HOUR_MS)));
            }
            let cut = |b: &Arc<Block>| b.meta.end() > t.0 && b.meta.first_hour() < hour_of(t.0);
            let forgotten = all.drop_before(hour_start);
            (read(&self.blocks).iter().any(cut) && all.raise_floor(hour_start)) || forgotten
        })?;
        for (block, kept) in outliving {
            self.rewrite_block(&block, true, &|at| kept.contains(&at))?;
        }
        self.remove_retired()?;
        Ok(count)
    }

    /// Takes the blocks that hold something that outlives the rest out of `old`; returns those that
    /// have to be rewritten, with the positions of such series.
    fn outliving(&self, old: &mut Vec<Arc<Block>>) -> Result<Vec<Chosen>, MetricsError> {
        let rules: &RetentionRules = &self.config.limits.retention;
        let longer = |rule: &&SeriesRetention| rule.keep > rules.standard();
        let longer: Vec<(usize, &SeriesRetention)> =
            rules.iter().filter(longer).enumerate().collect();
        let mut out = Vec::new();
        let mut failed = None;
        let mut settled = lock(&self.retention);
        old.retain(|block| {
            if failed.is_some() || settled.held.contains(&block.uid) {
                return false;
            }
            let index = match self.index_cache.get(block, &self.counters.sections_corrupt) {
                Ok(index) => index,
                Err(e) => {
                    failed = Some(e);
                    return false;
                }
            };
            let (mut kept, _) = fitting(&index, &longer);
            kept.retain(|at| index.labels(*at).is_some_and(|labels| rules.holds(&labels)));
            if kept.is_empty() {
                return true;
            }
            if (block.meta.held && kept.len() as u64 == block.meta.series)
                || self.is_unreadable(block)
            {
                settled.held.insert(block.uid);
            } else {
                out.push((Arc::clone(block), kept));
            }
            false
        });
        failed.map_or(Ok(out), |e| Err(e.into()))
    }

    /// Removes whole blocks. `more` changes the tombstones before that and says whether it did; it
    /// sees the list of blocks as it was.
    fn drop_blocks(
        &self,
        old: Vec<Arc<Block>>,
        more: impl FnOnce(&mut crate::tombstones::Tombstones) -> bool,
    ) -> Result<(), MetricsError> {
        let mut tombstones = Tombs::clone(&read(&self.tombstones));
        let all = Arc::make_mut(&mut tombstones);
        let changed = more(all);
        // The log or the snapshot may still hold samples of a dropped hour; without its block, the
        // next start has to be told that they are done with.
        let logged_from = {
            let line = read(&self.gate);
            lock(&self.epochs).first().map_or(line.flush_min, |e| e.flush_min)
        };
        let kept_from = logged_from.min(self.snapshot_flush.load(Ordering::Relaxed));
        let dropped: Vec<(i64, u64)> =
            old.iter().flat_map(|b| b.meta.hours.iter().copied()).collect();
        if all.note_dropped(&dropped, kept_from) || changed {
            tombstones.write(&self.config.disk, &self.config.dir)?;
            *write(&self.tombstones) = tombstones;
        }
        self.replace_blocks(&old, None);
        drop(old);
        self.remove_retired()
    }

    /// Aggregates what `drop_before(t)` is about to drop; returns until when that went well. On a
    /// full disk hours go that are aggregated already: dropping them is what makes room.
    fn aggregated_until(&self, t: TimestampMs) -> TimestampMs {
        let now = self.config.clock.now();
        let cutoff_hour = hour_of(now.0.saturating_sub(self.config.limits.past_max_ms()));
        let mut report = MaintainReport::default();
        let done = self
            .aggregate(cutoff_hour, &mut report)
            .and_then(|()| self.aggregate_before(hour_of(t.0), cutoff_hour, &mut report));
        let done = done.unwrap_or_else(|e| {
            tracing::warn!(%e, "hours not aggregated, their samples stay for now");
            self.first_without_aggregates(hour_of(t.0))
        });
        let t = TimestampMs(t.0.min(done.saturating_mul(HOUR_MS)));
        if let Err(e) = self.note_dropped_hour(hour_of(t.0)) {
            tracing::warn!(%e, "not noted which samples were dropped");
        }
        t
    }
}

impl RetentionDue {
    fn of(rule: &SeriesRetention) -> Self {
        Self {
            selectors: rule.text.clone(),
            keep: rule.keep,
            first: TimestampMs::MAX,
            end: TimestampMs::MIN,
            partitions: 0,
            whole: 0,
            series: 0,
            samples: 0,
        }
    }
}
