//! Which channels are wanted, which are confirmed, and whom a message on them concerns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::fault::Fault;
use crate::namespace::Namespace;
use crate::resp;

/// What a channel carries. The order is that of subscribing: Node peers count the subscribers of a request channel to know how many
/// answers to wait for, so it comes last at the start and goes first at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// A pattern: the namespace and all of its rooms.
    Broadcast,
    /// Answers to requests.
    Response,
    /// Our own probes.
    Probe,
    /// Requests to all servers.
    Request,
}

impl Role {
    fn is_pattern(self) -> bool {
        self == Self::Broadcast
    }
}

/// A name to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subscription {
    role: Role,
    name: Bytes,
}

/// Whom a message concerns.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) role: Role,
    /// None for the probe.
    pub(crate) namespace: Option<Arc<Namespace>>,
}

/// All that is wanted, at one version of the namespaces.
pub(crate) struct Routes {
    version: u64,
    patterns: HashMap<Bytes, Route>,
    channels: HashMap<Bytes, Route>,
}

impl Routes {
    pub(crate) fn new<'a>(
        version: u64,
        probe_channel: &str,
        namespaces: impl Iterator<Item = &'a Arc<Namespace>>,
    ) -> Self {
        let mut routes = Self {
            version,
            patterns: HashMap::new(),
            channels: HashMap::new(),
        };
        routes.channels.insert(
            Bytes::copy_from_slice(probe_channel.as_bytes()),
            Route {
                role: Role::Probe,
                namespace: None,
            },
        );
        for namespace in namespaces {
            let channels = namespace.channels();
            let route = |role| Route {
                role,
                namespace: Some(namespace.clone()),
            };
            routes
                .patterns
                .insert(channels.pattern.clone(), route(Role::Broadcast));
            routes
                .channels
                .insert(channels.own_response.clone(), route(Role::Response));
            // A namespace may be named so that the answers of another go by the name of its requests; requests matter more.
            routes
                .channels
                .entry(channels.response.clone())
                .or_insert_with(|| route(Role::Response));
            routes
                .channels
                .insert(channels.request.clone(), route(Role::Request));
        }
        routes
    }

    fn wanted(&self) -> HashSet<Subscription> {
        let all = self.patterns.iter().chain(&self.channels);
        all.map(|(name, route)| Subscription {
            role: route.role,
            name: name.clone(),
        })
        .collect()
    }
}

/// The subscriptions of one connection.
pub(crate) struct Subscriptions {
    routes: Routes,
    /// Asked for, confirmed or not.
    asked: HashSet<Subscription>,
    /// Names asked for and not confirmed, and names being left; both with whether they are patterns.
    missing: HashSet<(bool, Bytes)>,
    leaving: HashMap<(bool, Bytes), usize>,
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        let routes = Routes {
            version: 0,
            patterns: HashMap::new(),
            channels: HashMap::new(),
        };
        Self {
            routes,
            asked: HashSet::new(),
            missing: HashSet::new(),
            leaving: HashMap::new(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.routes.version
    }

    /// Whether Redis has confirmed everything that was asked.
    pub(crate) fn is_settled(&self) -> bool {
        self.missing.is_empty() && self.leaving.is_empty()
    }

    pub(crate) fn pattern(&self, pattern: &[u8]) -> Option<&Route> {
        self.routes.patterns.get(pattern)
    }

    pub(crate) fn channel(&self, channel: &[u8]) -> Option<&Route> {
        self.routes.channels.get(channel)
    }

    /// The commands that lead from what was asked to `routes`.
    pub(crate) fn update(&mut self, routes: Routes) -> Vec<u8> {
        let wanted = routes.wanted();
        self.routes = routes;
        self.ask(wanted)
    }

    /// The commands that leave everything. Routes stay, so what still arrives is delivered.
    pub(crate) fn leave(&mut self) -> Vec<u8> {
        self.ask(HashSet::new())
    }

    fn ask(&mut self, wanted: HashSet<Subscription>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut leave: Vec<_> = self.asked.difference(&wanted).cloned().collect();
        leave.sort_by_key(|subscription| std::cmp::Reverse(subscription.role));
        for group in leave.chunk_by(|a, b| a.role == b.role) {
            for Subscription { role, name } in group {
                *self
                    .leaving
                    .entry((role.is_pattern(), name.clone()))
                    .or_default() += 1;
                self.missing.remove(&(role.is_pattern(), name.clone()));
            }
            put(
                &mut out,
                if group[0].role.is_pattern() {
                    b"PUNSUBSCRIBE"
                } else {
                    b"UNSUBSCRIBE"
                },
                group,
            );
        }
        let mut enter: Vec<_> = wanted.difference(&self.asked).cloned().collect();
        enter.sort_by_key(|subscription| subscription.role);
        for group in enter.chunk_by(|a, b| a.role == b.role) {
            self.missing.extend(
                group.iter().map(|subscription| {
                    (subscription.role.is_pattern(), subscription.name.clone())
                }),
            );
            put(
                &mut out,
                if group[0].role.is_pattern() {
                    b"PSUBSCRIBE"
                } else {
                    b"SUBSCRIBE"
                },
                group,
            );
        }
        self.asked = wanted;
        out
    }

    pub(crate) fn confirmed(&mut self, is_pattern: bool, name: &[u8]) {
        let key = (is_pattern, Bytes::copy_from_slice(name));
        // A name that was asked for, left and asked for again is there with its second confirmation.
        if !self.leaving.contains_key(&key) {
            self.missing.remove(&key);
        }
    }

    pub(crate) fn left(&mut self, is_pattern: bool, name: &[u8]) -> Result<(), Fault> {
        let key = (is_pattern, Bytes::copy_from_slice(name));
        let Some(count) = self.leaving.get_mut(&key) else {
            return Err(Fault::Unsubscribed);
        };
        *count -= 1;
        if *count == 0 {
            self.leaving.remove(&key);
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, command: &[u8], group: &[Subscription]) {
    let mut arguments: Vec<&[u8]> = vec![command];
    arguments.extend(group.iter().map(|subscription| &subscription.name[..]));
    resp::put_command(out, &arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[(Role, &'static str)]) -> HashSet<Subscription> {
        names
            .iter()
            .map(|&(role, name)| Subscription {
                role,
                name: Bytes::from_static(name.as_bytes()),
            })
            .collect()
    }

    /// The commands without lengths.
    fn said(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        text.split("\r\n")
            .filter(|line| !line.is_empty() && !line.starts_with('$'))
            .map(|line| if line.starts_with('*') { "/" } else { line })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn requests_are_subscribed_last_and_left_first() {
        let mut subscriptions = Subscriptions::new();
        let all = wanted(&[
            (Role::Request, "q"),
            (Role::Broadcast, "b*"),
            (Role::Probe, "p"),
            (Role::Response, "r"),
        ]);
        assert_eq!(
            said(&subscriptions.ask(all)),
            "/ PSUBSCRIBE b* / SUBSCRIBE r / SUBSCRIBE p / SUBSCRIBE q"
        );
        assert_eq!(
            said(&subscriptions.leave()),
            "/ UNSUBSCRIBE q / UNSUBSCRIBE p / UNSUBSCRIBE r / PUNSUBSCRIBE b*"
        );
    }

    #[test]
    fn settled_means_every_confirmation_came() {
        let mut subscriptions = Subscriptions::new();
        subscriptions.ask(wanted(&[(Role::Request, "q"), (Role::Broadcast, "q")]));
        subscriptions.confirmed(false, b"q");
        assert!(
            !subscriptions.is_settled(),
            "the pattern of the same name is missing"
        );
        subscriptions.confirmed(true, b"q");
        assert!(subscriptions.is_settled());
        // Left and wanted again before the first answer.
        subscriptions.leave();
        subscriptions.ask(wanted(&[(Role::Request, "q")]));
        assert!(subscriptions.left(false, b"q").is_ok());
        assert!(subscriptions.left(true, b"q").is_ok());
        assert!(!subscriptions.is_settled());
        subscriptions.confirmed(false, b"q");
        assert!(subscriptions.is_settled());
    }

    #[test]
    fn a_subscription_that_redis_ends_is_a_fault() {
        let mut subscriptions = Subscriptions::new();
        subscriptions.ask(wanted(&[(Role::Request, "q")]));
        subscriptions.confirmed(false, b"q");
        assert!(matches!(
            subscriptions.left(false, b"q"),
            Err(Fault::Unsubscribed)
        ));
    }
}
