//! An embedded Azure on loopback and a clock moved by hand, for tests.
