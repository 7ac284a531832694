//! `WWW-Authenticate`: what a server that answered 401 asks for.
