//! MetricsQL's scalars that come from no series: random numbers, offsets of time zones.

use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::call::text;
use super::{Evaluator, Matrix, Series, Steps, failed};
use crate::EngineError;
use crate::ast::Call;
use crate::functions::random::Random;

impl Evaluator<'_> {
    /// `None` where the function is not one of these.
    pub(super) fn generated(
        &mut self,
        c: &Call,
        steps: Steps,
    ) -> Result<Option<Matrix>, EngineError> {
        let draw: fn(&mut Random) -> f64 = match c.func.name {
            "timezone_offset" => return zone_offsets(text(c.args.first()), steps).map(Some),
            "rand" => Random::uniform,
            "rand_normal" => Random::normal,
            "rand_exponential" => Random::exponential,
            _ => return Ok(None),
        };
        let seed = match c.args.first() {
            Some(e) => self.scalars(e, steps)?.first().copied().unwrap_or(f64::NAN).to_bits(),
            // Another one for every query.
            None => RandomState::new().hash_one(steps.start),
        };
        let mut random = Random::new(seed);
        let floats = steps.iter().map(|t| (t, draw(&mut random))).collect();
        self.hold(steps.count())?;
        Ok(Some(vec![Series { floats, ..Series::default() }]))
    }
}

/// Seconds that the clocks of a zone are ahead of UTC at each step.
fn zone_offsets(name: &str, steps: Steps) -> Result<Matrix, EngineError> {
    let Ok(zone) = TimeZone::get(name) else {
        return failed(format!("timezone_offset: unknown time zone {name:?}"));
    };
    let mut floats = Vec::with_capacity(steps.count());
    for t in steps.iter() {
        let Ok(at) = Timestamp::from_millisecond(t) else {
            return failed(format!("timezone_offset: no date for {t} ms"));
        };
        floats.push((t, f64::from(zone.to_offset(at).seconds())));
    }
    Ok(vec![Series { floats, ..Series::default() }])
}
