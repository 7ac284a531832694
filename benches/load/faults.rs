//! What goes wrong while the layer is under load.

use std::time::Duration;

use super::world::World;

/// Two refreshes, a third one that the identity endpoint leaves without an
/// answer for a while, and a revocation. Over within 1.9 lifetimes, since a
/// token this short-lived is refreshed by the half of its life.
pub(crate) async fn play(world: &World, lifetime: Duration) {
    issued(world, world.tokens_issued() + 2).await;

    let hang = world.hang();
    world
        .wait_for_token_requests(world.token_requests() + 1)
        .await;
    // The token at hand is good for longer, so that this should hurt nobody.
    tokio::time::sleep(lifetime / 4).await;
    let before = world.tokens_issued();
    hang.release();
    issued(world, before + 1).await;
    // For the answer to arrive: what is revoked is the token in use.
    tokio::time::sleep(lifetime / 100).await;

    let before = world.tokens_issued();
    world.revoke();
    issued(world, before + 1).await;
}

/// Waits until so many tokens have been issued. That many requests for one
/// would not do: the last of them may have no answer yet.
async fn issued(world: &World, count: u64) {
    while world.tokens_issued() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
