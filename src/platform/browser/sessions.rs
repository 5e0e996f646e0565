//! Browsers that stay open between calls, by the name of their session.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::Browser;

/// Open browsers: each holds a page, so the one that was not used for longest gives way.
const SESSIONS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

type Shared = Arc<tokio::sync::Mutex<Browser>>;

/// The open browsers.
#[derive(Debug)]
pub struct Browsers {
    open: Mutex<LruCache<String, Shared>>,
}

impl Default for Browsers {
    fn default() -> Self {
        Self { open: Mutex::new(LruCache::new(SESSIONS_MAX)) }
    }
}

impl Browsers {
    /// The browser of a session.
    pub fn find(&self, session: &str) -> Option<Shared> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }

    /// Opens a browser for a session, in place of the one it may have had.
    pub fn open(&self, session: &str, browser: Browser) -> Shared {
        let shared = Arc::new(tokio::sync::Mutex::new(browser));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).put(session.to_owned(), Arc::clone(&shared));
        shared
    }

    /// Ends a session.
    pub fn close(&self, session: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).pop(session);
    }
}
