//! Check 7: a marked message through every receiver, only where it was asked for.

use obs_exercise::doctor::{Check, DeliveryInput, World, drillable};

pub(super) async fn run(asked: bool, world: &mut World) {
    let check = Check::DeliveryDrill.id();
    let Some(notify) = world.notify.as_ref().filter(|_| asked) else {
        let why = match (asked, world.absent.get("notify")) {
            (true, Some(why)) => why.clone(),
            (true, None) => "there are no receivers".to_owned(),
            (false, _) => "--deliver sends a message marked [DRILL] to every receiver".to_owned(),
        };
        world.absent.insert(check, why);
        return;
    };
    let config = match drillable(notify) {
        Ok((config, left_out)) => {
            if !left_out.is_empty() {
                let names = left_out.join(", ");
                world.absent.insert("ways-out", format!("vm-obs does not send by {names}"));
            }
            config
        }
        Err(e) => {
            world.absent.insert(check, e);
            return;
        }
    };
    match obs_notify::drill(&config, world.now).await {
        Ok(done) => {
            let input = |d: obs_notify::Drilled| DeliveryInput {
                receiver: d.receiver,
                integration: d.name,
                outcome: d.outcome,
            };
            world.deliveries = Some(done.into_iter().map(input).collect());
        }
        Err(e) => {
            world.absent.insert(check, e.to_string());
        }
    }
}
