//! Everything that is measured.

use tower::Layer as _;
use tower_bearer::{BearerAuthLayer, azure};

use crate::Subject;
use crate::client::{Client, Tower};
use crate::peers;
use crate::request::{ByHand, ClonedPerRequest, Inner, SendOnce, header_value, tokens};

/// Cases that have the same floor: the same without the library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A service that is kept.
    Kept,
    /// A service that is cloned for each call.
    Cloned,
    /// Azure's requests, whose header map is another one.
    Azure,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Floor,
    ByHand,
    Library,
}

#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Whose version the table gives.
    pub package: &'static str,
    pub family: Family,
    role: Role,
    make: fn() -> Box<dyn Subject>,
}

impl Case {
    pub(crate) fn library(
        package: &'static str,
        name: &'static str,
        make: fn() -> Box<dyn Subject>,
    ) -> Self {
        Self {
            name,
            package,
            family: Family::Kept,
            role: Role::Library,
            make,
        }
    }

    pub(crate) fn floor(
        family: Family,
        name: &'static str,
        make: fn() -> Box<dyn Subject>,
    ) -> Self {
        Self {
            name,
            package: "",
            family,
            role: Role::Floor,
            make,
        }
    }

    pub(crate) fn of(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    pub fn make(&self) -> Box<dyn Subject> {
        (self.make)()
    }

    pub fn is_floor(&self) -> bool {
        self.role == Role::Floor
    }

    pub fn is_by_hand(&self) -> bool {
        self.role == Role::ByHand
    }

    pub fn is_library(&self) -> bool {
        self.role == Role::Library
    }
}

pub fn named(name: &str) -> Option<Case> {
    all().into_iter().find(|case| case.name == name)
}

pub fn all() -> Vec<Case> {
    let mut cases = vec![
        Case::floor(Family::Kept, "floor", || subject(Tower(Inner))),
        Case::floor(Family::Cloned, "floor, service cloned per call", || {
            subject(Tower(ClonedPerRequest(Inner)))
        }),
        Case {
            role: Role::ByHand,
            ..Case::library("http", "(b): insert a kept value by hand", || {
                subject(Tower(ByHand {
                    inner: Inner,
                    value: header_value(),
                }))
            })
        },
    ];
    cases.extend(tower_bearer());
    cases.extend(peers::all());
    cases
}

fn tower_bearer() -> [Case; 4] {
    fn layer() -> BearerAuthLayer {
        BearerAuthLayer::new(tokens(), azure::Audiences::new())
    }
    let case = |name, make| Case::library("tower-bearer", name, make);
    [
        case("body that cannot be sent twice", || {
            subject(Tower(layer().replay(SendOnce).layer(Inner)))
        }),
        case("resend armed", || subject(Tower(layer().layer(Inner)))),
        case(
            "body that cannot be sent twice, service cloned per call",
            || {
                let service = layer().replay(SendOnce).layer(Inner);
                subject(Tower(ClonedPerRequest(service)))
            },
        )
        .of(Family::Cloned),
        case("resend armed, service cloned per call", || {
            subject(Tower(ClonedPerRequest(layer().layer(Inner))))
        })
        .of(Family::Cloned),
    ]
}

/// A client that has its token already.
pub(crate) fn subject(mut client: impl Client) -> Box<dyn Subject> {
    client.warm_up();
    Box::new(client)
}
