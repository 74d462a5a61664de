//! The index follows the record log: while the program serves, and while it takes in much.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use phial_base::{Seq, TenantId};
use phial_engine::Tenant;

use crate::app::App;

/// How often the index looks at the record log.
const EVERY: Duration = Duration::from_millis(200);
/// Looks without anything new after which the index is thought to have time.
const QUIET: u32 = 5;
/// Looks between one expiry of searches and the next.
const EXPIRY: u64 = 300;

/// Brings every tenant's index up to its record log, again and again; also closes what
/// nobody could close, and forgets searches that nobody turns the page of.
pub(super) async fn follow(app: Arc<App>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u64;
    let mut seen = HashMap::new();
    loop {
        tick.tick().await;
        ticks += 1;
        let (looking, expire) = (Arc::clone(&app), ticks.is_multiple_of(EXPIRY));
        let work = tokio::task::spawn_blocking(move || {
            for tenant in looking.engine.tenants() {
                if let Err(e) = look(tenant, &mut seen, expire) {
                    tracing::warn!(error = %e, "the index is behind");
                }
            }
            seen
        });
        seen = work.await.unwrap_or_default();
        if let Err(e) = app.close_intents().await {
            tracing::warn!(error = %e, "intents stay open for now");
        }
    }
}

/// One look at a tenant; `seen` has where its index was, and for how many looks.
fn look(
    tenant: &Tenant,
    seen: &mut HashMap<TenantId, (Seq, u32)>,
    expire: bool,
) -> Result<(), phial_store::Error> {
    let vessel = &tenant.vessel;
    let at = vessel.catch_up()?;
    let (last, quiet) = seen.entry(vessel.tenant().clone()).or_insert((at, 0));
    *quiet = if *last == at { quiet.saturating_add(1) } else { 0 };
    *last = at;
    if *quiet >= QUIET {
        vessel.rest_index()?;
    }
    if expire { vessel.expire_snapshots() } else { Ok(()) }
}

/// Does work that writes much, the index behind it. When this is done, what was stored is
/// found by the first search, however long that took.
///
/// # Errors
/// The work's own; and the index's, when the work was done.
pub(super) async fn followed<T>(
    app: &Arc<App>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let behind = tokio::spawn(follow(Arc::clone(app)));
    let done = work.await;
    behind.abort();
    let done = done?;
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || {
        app.engine.tenants().try_for_each(|tenant| tenant.vessel.catch_up().map(|_| ()))
    })
    .await??;
    Ok(done)
}
