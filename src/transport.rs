//! The way to identity providers: a tower service, or the built-in one.
