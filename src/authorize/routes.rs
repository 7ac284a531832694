//! The routes to origins that have been asked for of late.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::Authority;

use super::Route;

/// Origins beyond this number are looked up each time, which costs far less
/// than a map of that size made anew for each of them.
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
        let routes = self.0.load();
        if routes.len() >= MOST && !routes.contains_key(&route.authority) {
            return;
        }
        self.0.rcu(|routes| {
            let mut next = HashMap::clone(routes);
            next.insert(route.authority.clone(), Arc::clone(route));
            next
        });
    }
}
