//! The head of a request that may have to be sent again.
//!
//! Cloning a header map costs an allocation or two of its own, and one for
//! each value that was made for this request alone. Almost no request is sent
//! again; so its head is copied as bytes onto a page that an earlier request
//! has left behind, and made into a head again only after a 401.

use std::cell::RefCell;
use std::mem;

use http::uri::{PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use zeroize::Zeroize as _;

use crate::Origin;

thread_local! {
    #[allow(clippy::vec_box, reason = "a page moves into a future, which is to be small")]
    /// Pages that are not in use. A request may leave its page on another
    /// thread than it took it from.
    static PAGES: RefCell<Vec<Box<Page>>> = const { RefCell::new(Vec::new()) };
}

/// Pages that a thread keeps: as many as requests are often under way at once.
const MOST_PAGES: usize = 64;

/// Room on a new page, in bytes: for the head of a common request.
const COMMON_ROOM: usize = 1024;

/// A page that has grown beyond this is not kept.
const MOST_ROOM: usize = 16 * 1024;

/// All of a request but its body, and its origin if that is known elsewhere.
pub(super) struct KeptHead(
    /// Until it is dropped.
    Option<Box<Page>>,
);

struct Page {
    method: Method,
    version: Version,
    extensions: Extensions,
    /// `None` if the origin is known elsewhere.
    scheme: Option<Scheme>,
    fields: usize,
    /// Bytes that are written.
    written: usize,
    /// Authority, unless the origin is known elsewhere, and path; then name and
    /// value of one field after the other. Before each of them is its length.
    ///
    /// All of it is room, whether it is written or not: to copy into a slice
    /// takes half of the instructions that it takes to extend a `Vec`.
    room: Vec<u8>,
}

impl KeptHead {
    /// Keeps the head of `request`, without its origin if that is known
    /// elsewhere.
    #[inline]
    pub(super) fn of<B>(request: &Request<B>, origin_is_known: bool) -> Self {
        let mut page = Page::take();
        page.method = request.method().clone();
        page.version = request.version();
        if !request.extensions().is_empty() {
            page.extensions = request.extensions().clone();
        }
        let (uri, headers) = (request.uri(), request.headers());
        let origin = uri.scheme().zip(uri.authority());
        let origin = origin.filter(|_| !origin_is_known);
        page.scheme = origin.map(|(scheme, _)| scheme.clone());
        let authority = origin.map(|(_, authority)| authority.as_str());
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if page.write(authority, path, headers).is_none() {
            page.make_room(authority, path, headers);
            page.write(authority, path, headers);
        }
        Self(Some(page))
    }

    /// The request again; `origin` is its, if that was known. `None` if it had
    /// none, or a header that only unsafe code can make.
    pub(super) fn restore<B>(mut self, origin: Option<Origin<'_>>, body: B) -> Option<Request<B>> {
        let page = self.0.as_mut()?;
        let (uri, headers) = page.read(origin)?;
        let mut request = Request::new(body);
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.version_mut() = page.version;
        *request.method_mut() = mem::take(&mut page.method);
        *request.extensions_mut() = mem::take(&mut page.extensions);
        Some(request)
    }
}

impl Drop for KeptHead {
    #[inline]
    fn drop(&mut self) {
        if let Some(page) = self.0.take() {
            page.leave();
        }
    }
}

#[allow(
    clippy::unnecessary_box_returns,
    reason = "a page moves into a future, which is to be small"
)]
impl Page {
    fn take() -> Box<Self> {
        // A thread that is ending has no pages any more.
        let left = PAGES.try_with(|pages| pages.try_borrow_mut().ok()?.pop());
        left.ok().flatten().unwrap_or_else(Self::blank)
    }

    #[cold]
    fn blank() -> Box<Self> {
        Box::new(Self {
            method: Method::default(),
            version: Version::default(),
            extensions: Extensions::new(),
            scheme: None,
            fields: 0,
            written: 0,
            room: vec![0; COMMON_ROOM],
        })
    }

    fn leave(mut self: Box<Self>) {
        // Any header may hold a secret, whether it is marked sensitive or not.
        if self.room.len() > MOST_ROOM {
            self.room.zeroize();
            return;
        }
        if let Some(written) = self.room.get_mut(..self.written) {
            written.fill(0);
        }
        // What others have put there may be large, or wait to be dropped.
        self.extensions = Extensions::new();
        // If it cannot be left, it is freed.
        let _left = PAGES.try_with(|pages| {
            if let Ok(mut pages) = pages.try_borrow_mut() {
                if pages.len() < MOST_PAGES {
                    pages.push(self);
                }
            }
        });
    }

    /// `None` if there is no room for all of it.
    fn write(&mut self, authority: Option<&str>, path: &str, headers: &HeaderMap) -> Option<()> {
        let mut room = self.room.as_mut_slice();
        if let Some(authority) = authority {
            room = put(authority.as_bytes(), false, room)?;
        }
        room = put(path.as_bytes(), false, room)?;
        for (name, value) in headers {
            room = put(name.as_str().as_bytes(), value.is_sensitive(), room)?;
            room = put(value.as_bytes(), false, room)?;
        }
        let left = room.len();
        self.fields = headers.len();
        self.written = self.room.len() - left;
        Some(())
    }

    #[cold]
    fn make_room(&mut self, authority: Option<&str>, path: &str, headers: &HeaderMap) {
        let fields = headers
            .iter()
            .flat_map(|(name, value)| [name.as_str().len(), value.len()]);
        let lengths = fields.chain(authority.map(str::len)).chain([path.len()]);
        let needed: usize = lengths.map(|length| LENGTH + length).sum();
        // What is written of it is not to be left behind.
        self.room.zeroize();
        self.room.resize(needed.max(COMMON_ROOM), 0);
    }

    fn read(&mut self, origin: Option<Origin<'_>>) -> Option<(Uri, HeaderMap)> {
        let mut room = self.room.as_slice();
        let uri = match self.scheme.take() {
            Some(scheme) => Uri::builder().scheme(scheme).authority(get(&mut room)?.0),
            None => Uri::builder()
                .scheme(origin?.scheme().clone())
                .authority(origin?.authority().clone()),
        };
        let uri = uri.path_and_query(get(&mut room)?.0).build().ok()?;
        let mut headers = HeaderMap::try_with_capacity(self.fields + 1).unwrap_or_default();
        for _ in 0..self.fields {
            let (name, is_sensitive) = get(&mut room)?;
            let (value, _) = get(&mut room)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(is_sensitive);
            let name = HeaderName::from_bytes(name).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some((uri, headers))
    }
}

/// Bytes that a length takes, and a mark that goes with it.
const LENGTH: usize = size_of::<u64>();

/// Puts `bytes` to where `room` begins; what is left of it.
#[inline]
fn put<'a>(bytes: &[u8], mark: bool, room: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let (length, room) = room.split_first_chunk_mut::<LENGTH>()?;
    let (place, rest) = room.split_at_mut_checked(bytes.len())?;
    *length = ((bytes.len() as u64) << 1 | u64::from(mark)).to_ne_bytes();
    place.copy_from_slice(bytes);
    Some(rest)
}

/// What was put to where `room` begins, and its mark; `room` is then what comes
/// after it.
fn get<'a>(room: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let (length, rest) = room.split_first_chunk::<LENGTH>()?;
    let length = u64::from_ne_bytes(*length);
    let (bytes, rest) = rest.split_at_checked(usize::try_from(length >> 1).ok()?)?;
    *room = rest;
    Some((bytes, length & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(request: &Request<()>) -> Request<()> {
        let (first, second) = (KeptHead::of(request, false), KeptHead::of(request, true));
        let again = first.restore(None, ()).unwrap();
        let origin = Origin::of(request.uri()).ok();
        let elsewhere = second.restore(origin, ()).unwrap();
        assert_eq!(again.uri(), elsewhere.uri());
        assert_eq!(again.headers(), elsewhere.headers());
        again
    }

    #[test]
    fn an_origin_that_is_known_is_not_kept_and_one_that_is_not_is_not_guessed() {
        let request = Request::get("https://a.example.com/b?c").body(()).unwrap();
        let other: Uri = "http://other.example.com:81".parse().unwrap();
        let restored = |is_known, origin| KeptHead::of(&request, is_known).restore(origin, ());
        let uri = |request: Request<()>| request.uri().to_string();
        assert_eq!(
            restored(true, Origin::of(&other).ok()).map(uri),
            Some("http://other.example.com:81/b?c".into())
        );
        assert_eq!(
            restored(false, Origin::of(&other).ok()).map(uri),
            Some("https://a.example.com/b?c".into())
        );
        assert!(restored(true, None).is_none());
    }

    #[test]
    fn a_head_comes_back_whole() {
        let mut secret = HeaderValue::from_static("hidden");
        secret.set_sensitive(true);
        let mut request = Request::builder()
            .method("PROPFIND-WITH-A-VERY-LONG-NAME")
            .uri("https://A.example.com:443/a%20b?c=d&e")
            .version(Version::HTTP_2)
            .header("accept", "text/html")
            .header("x-twice", "1")
            .header("x-between", "")
            .header("x-twice", "2")
            .header("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("x-secret", secret)
            .body(())
            .unwrap();
        request.extensions_mut().insert("kept");
        for _ in 0..3 {
            let again = again(&request);
            assert_eq!(again.method(), request.method());
            assert_eq!(again.uri(), request.uri());
            assert_eq!(again.uri().to_string(), request.uri().to_string());
            assert_eq!(again.version(), request.version());
            assert_eq!(again.headers(), request.headers());
            assert!(again.headers()["x-secret"].is_sensitive());
            assert!(!again.headers()["accept"].is_sensitive());
            assert_eq!(again.extensions().get(), Some(&"kept"));
        }
    }

    #[test]
    fn a_head_with_more_values_than_a_map_has_names_comes_back() {
        let mut request = Request::get("https://a.example.com/").body(()).unwrap();
        for _ in 0..25_000 {
            let value = HeaderValue::from_static("1");
            request.headers_mut().append("x", value);
        }
        assert_eq!(again(&request).headers(), request.headers());
    }

    #[test]
    fn a_uri_without_a_path_comes_back() {
        for uri in [
            "https://a.example.com",
            "https://a.example.com?q",
            "https://a.example.com/?q",
        ] {
            let request = Request::get(uri).body(()).unwrap();
            assert_eq!(again(&request).uri(), request.uri(), "{uri}");
        }
    }

    #[test]
    fn pages_are_used_again_and_large_ones_are_not_kept() {
        let count = || PAGES.with(|pages| pages.borrow().len());
        let request = |length: usize| {
            Request::get("https://a.example.com/")
                .header("x-long", "x".repeat(length))
                .body(())
                .unwrap()
        };
        let small: Vec<_> = (0..MOST_PAGES * 2)
            .map(|_| KeptHead::of(&request(10), false))
            .collect();
        drop(small);
        assert_eq!(count(), MOST_PAGES);
        let one = KeptHead::of(&request(10), false);
        assert_eq!(count(), MOST_PAGES - 1);
        drop(one);
        drop(KeptHead::of(&request(MOST_ROOM), false));
        assert_eq!(count(), MOST_PAGES - 1);
    }

    #[test]
    fn a_head_that_is_longer_than_the_page_comes_back_whole() {
        for (fields, length) in [(COMMON_ROOM / LENGTH, 0), (1, COMMON_ROOM), (300, 1000)] {
            let mut request = Request::get("https://a.example.com/").body(()).unwrap();
            for _ in 0..fields {
                let value = HeaderValue::try_from("x".repeat(length)).unwrap();
                request.headers_mut().append("x-long", value);
            }
            for _ in 0..2 {
                assert_eq!(again(&request).headers(), request.headers());
            }
        }
    }

    #[test]
    fn t14_a_page_is_wiped() {
        // On the common page, and on one that had to grow in the middle of it.
        for padding in [10, COMMON_ROOM] {
            let request = Request::get("https://a.example.com/")
                .header("cookie", "canary")
                .header("x-long", "x".repeat(padding))
                .body(())
                .unwrap();
            drop(KeptHead::of(&request, false));
            let page = Page::take();
            assert!(page.room.iter().all(|byte| *byte == 0));
            page.leave();
        }
    }
}
