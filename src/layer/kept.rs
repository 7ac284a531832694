//! The head of a request that may have to be sent again.
//!
//! Cloning a header map costs an allocation or two of its own, and one for
//! each value that was made for this request alone. Almost no request is sent
//! again; so its head is copied as bytes onto a page that an earlier request
//! has left behind, and made into a head again only after a 401.

use std::cell::RefCell;
use std::mem;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use zeroize::Zeroize as _;

thread_local! {
    #[allow(clippy::vec_box, reason = "a page moves into a future, which is to be small")]
    /// Pages that are not in use. A request may leave its page on another
    /// thread than it took it from.
    static PAGES: RefCell<Vec<Box<Page>>> = const { RefCell::new(Vec::new()) };
}

/// Pages that a thread keeps: as many as requests are often under way at once.
const MOST_PAGES: usize = 64;

/// Room on a new page: for the head of a common request.
const COMMON_BYTES: usize = 1024;
const COMMON_FIELDS: usize = 16;

/// A page that has grown beyond this is not kept.
const MOST_BYTES: usize = 16 * 1024;
const MOST_FIELDS: usize = 256;

/// All of a request but its body.
pub(super) struct KeptHead(
    /// Until it is dropped.
    Option<Box<Page>>,
);

struct Page {
    method: Method,
    version: Version,
    extensions: Extensions,
    scheme: Option<Scheme>,
    authority: usize,
    path: usize,
    fields: usize,
    /// Bytes that are written.
    written: usize,
    /// Authority and path, then name and value of one field after the other.
    /// All of it is room, whether it is written or not: to copy into a slice
    /// takes half of the instructions that it takes to extend a `Vec`.
    bytes_room: Vec<u8>,
    fields_room: Vec<Field>,
}

/// How long name and value of a header field are.
#[derive(Clone, Copy, Default)]
struct Field {
    name: usize,
    value: usize,
    sensitive: bool,
}

impl KeptHead {
    #[inline]
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut page = Page::take();
        page.method = request.method().clone();
        page.version = request.version();
        page.extensions = request.extensions().clone();
        page.scheme = request.uri().scheme().cloned();
        let (uri, headers) = (request.uri(), request.headers());
        if page.write(uri, headers).is_none() {
            page.make_room(uri, headers);
            page.write(uri, headers);
        }
        Self(Some(page))
    }

    /// The request again. `None` if it had no host, or a header that only
    /// unsafe code can make.
    pub(super) fn restore<B>(mut self, body: B) -> Option<Request<B>> {
        let page = self.0.as_mut()?;
        let (uri, headers) = page.read()?;
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
            authority: 0,
            path: 0,
            fields: 0,
            written: 0,
            bytes_room: vec![0; COMMON_BYTES],
            fields_room: vec![Field::default(); COMMON_FIELDS],
        })
    }

    fn leave(mut self: Box<Self>) {
        // What others have put there may be large, or wait to be dropped.
        self.extensions = Extensions::new();
        // Any header may hold a secret, whether it is marked sensitive or not.
        if let Some(written) = self.bytes_room.get_mut(..self.written) {
            written.fill(0);
        }
        let is_small = self.bytes_room.len() <= MOST_BYTES && self.fields_room.len() <= MOST_FIELDS;
        let mut page = Some(self).filter(|_| is_small);
        // If it cannot be left, it is freed.
        let _left = PAGES.try_with(|pages| {
            if let Ok(mut pages) = pages.try_borrow_mut() {
                if pages.len() < MOST_PAGES {
                    pages.extend(page.take());
                }
            }
        });
    }

    /// `None` if there is no room for all of it.
    fn write(&mut self, uri: &Uri, headers: &HeaderMap) -> Option<()> {
        let mut room = self.bytes_room.as_mut_slice();
        let authority = uri.authority().map_or("", Authority::as_str);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        (self.authority, self.path) = (authority.len(), path.len());
        room = copy(authority.as_bytes(), room)?;
        room = copy(path.as_bytes(), room)?;
        let mut places = self.fields_room.iter_mut();
        self.fields = headers.len();
        for (name, value) in headers {
            let (name, bytes) = (name.as_str().as_bytes(), value.as_bytes());
            let sensitive = value.is_sensitive();
            room = copy(name, room)?;
            room = copy(bytes, room)?;
            *places.next()? = Field {
                name: name.len(),
                value: bytes.len(),
                sensitive,
            };
        }
        let left = room.len();
        self.written = self.bytes_room.len() - left;
        Some(())
    }

    #[cold]
    fn make_room(&mut self, uri: &Uri, headers: &HeaderMap) {
        let authority = uri
            .authority()
            .map_or(0, |authority| authority.as_str().len());
        let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
        let fields = headers.iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len());
        let bytes = authority + path + fields.sum::<usize>();
        // What is written of it is not to be left behind.
        self.bytes_room.zeroize();
        self.bytes_room.resize(bytes.max(COMMON_BYTES), 0);
        let fields = headers.len().max(COMMON_FIELDS);
        self.fields_room.resize(fields, Field::default());
    }

    fn read(&self) -> Option<(Uri, HeaderMap)> {
        let (authority, rest) = self.bytes_room.split_at_checked(self.authority)?;
        let (path, mut rest) = rest.split_at_checked(self.path)?;
        let uri = Uri::builder()
            .scheme(self.scheme.clone()?)
            .authority(authority)
            .path_and_query(path)
            .build()
            .ok()?;
        let mut headers = HeaderMap::try_with_capacity(self.fields + 1).unwrap_or_default();
        for field in self.fields_room.get(..self.fields)? {
            let (name, after_name) = rest.split_at_checked(field.name)?;
            let (value, after_value) = after_name.split_at_checked(field.value)?;
            rest = after_value;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(field.sensitive);
            let name = HeaderName::from_bytes(name).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some((uri, headers))
    }
}

/// Copies `bytes` to where `room` begins; what is left of it.
#[inline]
fn copy<'a>(bytes: &[u8], room: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let (place, rest) = room.split_at_mut_checked(bytes.len())?;
    place.copy_from_slice(bytes);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(request: &Request<()>) -> Request<()> {
        KeptHead::of(request).restore(()).unwrap()
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
            .map(|_| KeptHead::of(&request(10)))
            .collect();
        drop(small);
        assert_eq!(count(), MOST_PAGES);
        let one = KeptHead::of(&request(10));
        assert_eq!(count(), MOST_PAGES - 1);
        drop(one);
        drop(KeptHead::of(&request(MOST_BYTES)));
        assert_eq!(count(), MOST_PAGES - 1);
        let mut many = request(10);
        for _ in 0..MOST_FIELDS {
            let value = HeaderValue::from_static("");
            many.headers_mut().append("x", value);
        }
        drop(KeptHead::of(&many));
        assert_eq!(count(), MOST_PAGES - 2);
    }

    #[test]
    fn a_head_that_is_longer_than_the_page_comes_back_whole() {
        for (fields, length) in [(COMMON_FIELDS + 1, 1), (1, COMMON_BYTES), (300, 1000)] {
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
        for padding in [10, COMMON_BYTES] {
            let request = Request::get("https://a.example.com/")
                .header("cookie", "canary")
                .header("x-long", "x".repeat(padding))
                .body(())
                .unwrap();
            drop(KeptHead::of(&request));
            let page = Page::take();
            assert!(page.bytes_room.iter().all(|byte| *byte == 0));
            page.leave();
        }
    }
}
