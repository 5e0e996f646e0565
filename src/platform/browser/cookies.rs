//! The cookies of one browser. A test lasts seconds, so they have no age: they stand until they are deleted.

use url::Url;

use super::super::fetch::CookieStore;

/// Cookies that one site may set; browsers have a limit as well.
const COOKIES_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Whether hosts below the domain get it too.
    below: bool,
    path: String,
    secure: bool,
}

/// The cookies of one browser.
#[derive(Debug, Clone, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

impl CookieStore for Jar {
    fn header(&self, url: &Url) -> Option<String> {
        let host = url.host_str().unwrap_or("");
        let mut found: Vec<&Cookie> = self.cookies.iter().filter(|cookie| cookie.goes_to(host, url)).collect();
        // The more exact path comes first.
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = found.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn store(&mut self, url: &Url, header: &str) {
        let Some((cookie, deleted)) = parsed(url, header) else { return };
        let is_same =
            |known: &Cookie| (&known.name, &known.domain, &known.path) == (&cookie.name, &cookie.domain, &cookie.path);
        let at = self.cookies.iter().position(is_same);
        match (at, deleted) {
            (Some(at), true) => drop(self.cookies.remove(at)),
            (Some(at), false) => self.cookies[at] = cookie,
            (None, false) if self.cookies.len() < COOKIES_MAX => self.cookies.push(cookie),
            (None, _) => {}
        }
    }
}

impl Cookie {
    fn goes_to(&self, host: &str, url: &Url) -> bool {
        let by_host = host == self.domain || (self.below && is_below(host, &self.domain));
        let path = url.path();
        let by_path = path.strip_prefix(self.path.as_str());
        let by_path = by_path.is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        by_host && by_path && (!self.secure || url.scheme() == "https")
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

/// A cookie, and whether the header deletes it.
fn parsed(url: &Url, header: &str) -> Option<(Cookie, bool)> {
    let mut parts = header.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let host = url.host_str()?.to_owned();
    let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut cookie = Cookie {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
        domain: host.clone(),
        below: false,
        path: if folder.is_empty() { "/".to_owned() } else { folder.to_owned() },
        secure: false,
    };
    let mut deleted = false;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                if domain != host && !(domain.contains('.') && is_below(&host, &domain)) {
                    return None;
                }
                (cookie.domain, cookie.below) = (domain, true);
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            "max-age" => deleted = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
            // The date by which servers delete.
            "expires" => deleted |= value.contains("1970"),
            _ => {}
        }
    }
    (!cookie.name.is_empty()).then_some((cookie, deleted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn cookies_go_back_where_they_came_from() {
        let mut jar = Jar::default();
        jar.store(&url("http://a.test/shop/cart"), "id=1; HttpOnly");
        jar.store(&url("http://a.test/"), "all=2; Path=/");
        jar.store(&url("http://a.test/"), "safe=3; Secure");
        jar.store(&url("http://www.a.test/"), "wide=4; Domain=a.test");
        assert_eq!(jar.header(&url("http://a.test/shop/x")).unwrap(), "id=1; all=2; wide=4");
        assert_eq!(jar.header(&url("http://a.test/shopping")).unwrap(), "all=2; wide=4");
        assert_eq!(jar.header(&url("https://a.test/")).unwrap(), "all=2; safe=3; wide=4");
        assert_eq!(jar.header(&url("http://x.a.test/")).unwrap(), "wide=4");
        assert_eq!(jar.header(&url("http://b.test/")), None);
    }

    #[test]
    fn a_site_sets_no_cookies_for_others() {
        let mut jar = Jar::default();
        jar.store(&url("http://a.test/"), "x=1; Domain=b.test");
        jar.store(&url("http://a.test/"), "x=1; Domain=test");
        jar.store(&url("http://a.test/"), "no pair");
        assert_eq!(jar.header(&url("http://b.test/")), None);
        assert_eq!(jar.header(&url("http://a.test/")), None);
    }

    #[test]
    fn cookies_are_replaced_and_deleted() {
        let mut jar = Jar::default();
        let site = url("http://a.test/");
        jar.store(&site, "a=1");
        jar.store(&site, "a=2");
        assert_eq!(jar.header(&site).unwrap(), "a=2");
        jar.store(&site, "a=; Max-Age=0");
        jar.store(&site, "b=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(jar.header(&site), None);
    }
}
