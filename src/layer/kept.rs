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

thread_local! {
    #[allow(clippy::vec_box, reason = "a page moves into a future, which is to be small")]
    /// Pages that are not in use. A request may leave its page on another
    /// thread than it took it from.
    static PAGES: RefCell<Vec<Box<Page>>> = const { RefCell::new(Vec::new()) };
}

/// Pages that a thread keeps: as many as requests are often under way at once.
const MOST_PAGES: usize = 64;

/// A page that has grown beyond this is not kept.
const MOST_BYTES: usize = 16 * 1024;

/// Room for the head of a common request, so that a new page grows but once.
const COMMON_BYTES: usize = 1024;
const COMMON_FIELDS: usize = 16;

/// Method, path, version, headers and extensions of a request.
pub(super) struct KeptHead(
    /// Until it is dropped.
    Option<Box<Page>>,
);

#[derive(Default)]
struct Page {
    method: Method,
    version: Version,
    extensions: Extensions,
    /// The path, then name and value of one field after the other.
    bytes: Vec<u8>,
    path: usize,
    fields: Vec<Field>,
}

/// How long name and value of a header field are.
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
        page.write(request.uri(), request.headers());
        Self(Some(page))
    }

    /// The request again, to where it went. `None` if it had a header that
    /// only unsafe code can make.
    pub(super) fn restore<B>(
        mut self,
        scheme: Scheme,
        authority: Authority,
        body: B,
    ) -> Option<Request<B>> {
        let page = self.0.as_mut()?;
        let (path, headers) = page.read()?;
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()
            .ok()?;
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
            bytes: Vec::with_capacity(COMMON_BYTES),
            fields: Vec::with_capacity(COMMON_FIELDS),
            ..Self::default()
        })
    }

    fn leave(mut self: Box<Self>) {
        // What others have put there may be large, or wait to be dropped.
        self.extensions.clear();
        if self.bytes.capacity() > MOST_BYTES {
            return;
        }
        // If it cannot be left, it is freed.
        let _left = PAGES.try_with(|pages| {
            if let Ok(mut pages) = pages.try_borrow_mut() {
                if pages.len() < MOST_PAGES {
                    pages.push(self);
                }
            }
        });
    }

    fn write(&mut self, uri: &Uri, headers: &HeaderMap) {
        self.bytes.clear();
        self.fields.clear();
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        self.path = path.len();
        self.bytes.extend_from_slice(path.as_bytes());
        for (name, value) in headers {
            let (name, bytes) = (name.as_str().as_bytes(), value.as_bytes());
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(bytes);
            self.fields.push(Field {
                name: name.len(),
                value: bytes.len(),
                sensitive: value.is_sensitive(),
            });
        }
    }

    fn read(&self) -> Option<(&[u8], HeaderMap)> {
        let (path, mut rest) = self.bytes.split_at_checked(self.path)?;
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 1);
        for field in &self.fields {
            let (name, after_name) = rest.split_at_checked(field.name)?;
            let (value, after_value) = after_name.split_at_checked(field.value)?;
            rest = after_value;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(field.sensitive);
            headers.append(HeaderName::from_bytes(name).ok()?, value);
        }
        Some((path, headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(request: &Request<()>) -> Request<()> {
        let uri = request.uri();
        let (scheme, authority) = (uri.scheme().cloned(), uri.authority().cloned());
        KeptHead::of(request)
            .restore(scheme.unwrap(), authority.unwrap(), ())
            .unwrap()
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
    }
}
