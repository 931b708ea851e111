//! The namespaces of a server: those it has made, and those that come into being when a client asks for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use synapse_adapter::AdapterFactory;

use crate::local::Local;
use crate::namespace::{Namespace, NamespaceInner, Setup};
use crate::parent::Parent;
use crate::refusal::Refusal;

/// Called with each namespace that has come into being.
type Hook = Arc<dyn Fn(Namespace) + Send + Sync>;

pub(crate) struct Namespaces {
    table: RwLock<Table>,
    parents: RwLock<Vec<Arc<Parent>>>,
    hooks: RwLock<Vec<Hook>>,
    adapter: Arc<dyn AdapterFactory>,
    setup: Setup,
    /// Whether a child goes with its last socket.
    cleans: bool,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<Box<str>, Arc<NamespaceInner>>,
    /// How many of them are children.
    children: usize,
}

impl Namespaces {
    pub(crate) fn new(adapter: Arc<dyn AdapterFactory>, setup: Setup, cleans: bool) -> Self {
        Self {
            table: RwLock::default(),
            parents: RwLock::default(),
            hooks: RwLock::default(),
            adapter,
            setup,
            cleans,
        }
    }

    /// The namespace of that name, which is made if there is none: as a child if a parent has a pattern for it.
    pub(crate) fn of(self: &Arc<Self>, name: &str) -> Arc<NamespaceInner> {
        let name = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("/{name}")
        };
        if let Some(namespace) = self.table.read().by_name.get(name.as_str()) {
            return Arc::clone(namespace);
        }
        let parents = self.parents();
        let parent = parents.iter().find(|parent| parent.has_pattern_for(&name));
        let namespace = {
            let mut table = self.table.write();
            if let Some(namespace) = table.by_name.get(name.as_str()) {
                return Arc::clone(namespace);
            }
            self.insert(&mut table, &name, parent)
        };
        self.announce(&namespace);
        namespace
    }

    /// The namespace of that name, if there is one. The caller is in it, until it [leaves](NamespaceInner::leave).
    pub(crate) fn enter(&self, name: &str) -> Option<Arc<NamespaceInner>> {
        // A child that is cleaned up is taken out of the table with its users counted under the lock.
        let table = self.table.read();
        let namespace = table.by_name.get(name)?;
        namespace.enter();
        Some(Arc::clone(namespace))
    }

    /// The child of that name, which is made if there is none. The caller is in it, until it [leaves](NamespaceInner::leave).
    pub(crate) fn enter_child(
        self: &Arc<Self>,
        parent: &Arc<Parent>,
        name: &str,
    ) -> Result<Arc<NamespaceInner>, Refusal> {
        let child = {
            let mut table = self.table.write();
            if let Some(namespace) = table.by_name.get(name) {
                namespace.enter();
                return Ok(Arc::clone(namespace));
            }
            if table.children >= self.setup.limits.child_namespaces_max {
                return Err(Refusal::new("Too many namespaces"));
            }
            let child = self.insert(&mut table, name, Some(parent));
            child.enter();
            child
        };
        self.announce(&child);
        Ok(child)
    }

    fn insert(
        self: &Arc<Self>,
        table: &mut Table,
        name: &str,
        parent: Option<&Arc<Parent>>,
    ) -> Arc<NamespaceInner> {
        let namespace = match parent {
            None => NamespaceInner::new(name, self.setup.clone()),
            Some(parent) => {
                table.children += 1;
                NamespaceInner::new_child(name, self.setup.clone(), parent, self)
            }
        };
        let namespace = Arc::new(namespace);
        let local = Arc::new(Local(Arc::downgrade(&namespace)));
        namespace.attach(self.adapter.attach(name, local));
        namespace.keep_recovery();
        table.by_name.insert(name.into(), Arc::clone(&namespace));
        namespace
    }

    fn announce(&self, namespace: &Arc<NamespaceInner>) {
        let hooks = self.hooks.read().clone();
        for hook in hooks {
            let namespace = Namespace::new(Arc::clone(namespace));
            if catch_unwind(AssertUnwindSafe(|| hook(namespace))).is_err() {
                tracing::error!("a function for new namespaces panicked");
            }
        }
    }

    /// A child's last user has left.
    pub(crate) fn clean(&self, child: &NamespaceInner) {
        if !self.cleans {
            return;
        }
        let mut table = self.table.write();
        // Somebody may have come meanwhile, or gone again and cleaned up before us.
        let is_there = table
            .by_name
            .get(child.name())
            .is_some_and(|found| std::ptr::eq(&**found, child));
        if !is_there || child.is_used() {
            return;
        }
        child.detach();
        let removed = table.by_name.remove(child.name());
        table.children -= 1;
        // Its handlers end with it, and their end may be anything.
        drop(table);
        drop(removed);
    }

    pub(crate) fn add_parent(&self, parent: Arc<Parent>) {
        self.parents.write().push(parent);
    }

    pub(crate) fn parents(&self) -> Vec<Arc<Parent>> {
        self.parents.read().clone()
    }

    pub(crate) fn add_hook(&self, hook: impl Fn(Namespace) + Send + Sync + 'static) {
        self.hooks.write().push(Arc::new(hook));
    }

    pub(crate) fn children_of(&self, parent: &Parent) -> Vec<Arc<NamespaceInner>> {
        let table = self.table.read();
        let children = table.by_name.values();
        children
            .filter(|child| child.is_child_of(parent))
            .cloned()
            .collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<NamespaceInner>> {
        self.table.read().by_name.values().cloned().collect()
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }
}

#[cfg(test)]
mod tests {
    use synapse_adapter::bus;

    use super::*;
    use crate::parent::{Matches, ParentNamespace};
    use crate::parser::Parser;
    use crate::server::SocketLimits;
    use crate::state::States;

    fn namespaces() -> (Arc<Namespaces>, Arc<Parent>) {
        let setup = Setup {
            limits: SocketLimits::default(),
            parser: Parser::default(),
            states: Arc::new(States::default()),
            recovery: None,
            runtime: tokio::runtime::Handle::current(),
        };
        let namespaces = Arc::new(Namespaces::new(bus::alone(), setup, true));
        let everything = regex::Regex::new("").unwrap();
        ParentNamespace::new(Arc::clone(&namespaces), Matches::Pattern(everything));
        let parent = namespaces.parents().remove(0);
        (namespaces, parent)
    }

    /// Between the last user's leave and the clean-up that follows, another may come.
    #[tokio::test]
    async fn a_child_that_somebody_has_entered_is_not_cleaned_up() {
        let (namespaces, parent) = namespaces();
        let child = namespaces.enter_child(&parent, "/p").unwrap();
        namespaces.clean(&child);
        assert!(Arc::ptr_eq(&child, &namespaces.enter("/p").unwrap()));
        child.leave();
        assert!(namespaces.children_of(&parent).len() == 1);
        child.leave();
        assert!(namespaces.children_of(&parent).is_empty());
    }

    #[tokio::test]
    async fn who_cleans_up_late_does_no_harm_to_the_next_child_of_that_name() {
        let (namespaces, parent) = namespaces();
        let first = namespaces.enter_child(&parent, "/p").unwrap();
        first.leave();
        let second = namespaces.of("/p");
        assert!(!Arc::ptr_eq(&first, &second));
        namespaces.clean(&first);
        assert!(Arc::ptr_eq(&second, &namespaces.of("/p")));
        assert_eq!(namespaces.table.read().children, 1);
        namespaces.clean(&second);
        assert_eq!(namespaces.table.read().children, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_asks_at_the_same_time_gets_the_same_child() {
        let (namespaces, parent) = namespaces();
        for round in 0..100 {
            let name = format!("/p{round}");
            let asking: Vec<_> = (0..4)
                .map(|_| {
                    let (namespaces, parent, name) =
                        (Arc::clone(&namespaces), Arc::clone(&parent), name.clone());
                    tokio::spawn(async move { namespaces.enter_child(&parent, &name).unwrap() })
                })
                .collect();
            let mut children = Vec::new();
            for asking in asking {
                children.push(asking.await.unwrap());
            }
            assert!(
                children
                    .iter()
                    .all(|child| Arc::ptr_eq(child, &children[0]))
            );
        }
        assert_eq!(namespaces.children_of(&parent).len(), 100);
    }
}
