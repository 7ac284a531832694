//! The routes to origins that have been asked for of late.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::Authority;

use super::Route;

/// Beyond this number the map starts anew: a client of more origins than that
/// looks each of them up now and then.
const MOST: usize = 1024;

/// Read without a lock; replaced as a whole when an origin is added.
#[derive(Default)]
pub(super) struct Routes(ArcSwap<HashMap<Authority, Arc<Route>>>);

impl Routes {
    pub(super) fn get(&self, uri: &Uri) -> Option<Arc<Route>> {
        let routes = self.0.load();
        let route = routes.get(uri.authority()?)?;
        route.leads_to(uri).then(|| Arc::clone(route))
    }

    pub(super) fn put(&self, route: &Arc<Route>) {
        self.0.rcu(|routes| {
            let mut next = if routes.len() < MOST {
                HashMap::clone(routes)
            } else {
                HashMap::new()
            };
            next.insert(route.authority.clone(), Arc::clone(route));
            next
        });
    }
}
