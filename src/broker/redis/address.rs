//! The URL: which of the three footings it means, and how any of their servers is connected to.
//!
//! Redis itself defines URLs for one server only. The forms with several hosts are those that other clients
//! use: `redis+sentinel://[user:password@]host:port,host:port/service[/db]` and
//! `redis+cluster://[user:password@]host:port,host:port`, with `rediss+...` for TLS.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use url::Url;

/// All forms, for people.
pub(super) const FORMS: &str = "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH, \
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT";

/// Sentinels listen here unless told otherwise.
const SENTINEL_PORT: u16 = 26379;

/// Who says which server is the master.
#[derive(Debug, Clone)]
pub(super) enum Footing {
    /// Nobody: there is one server.
    One,
    /// Sentinels, by the name of the service that they watch.
    Sentinel {
        /// The service's name.
        service: String,
        /// How to connect to each.
        sentinels: Vec<ConnectionInfo>,
    },
    /// The cluster itself; these nodes are asked first.
    Cluster {
        /// How to connect to each.
        seeds: Vec<ConnectionInfo>,
    },
}

/// A URL that was understood.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) footing: Footing,
    /// The URL without its secrets, for people.
    pub(super) place: String,
    /// User, password, database and TLS of every server that holds data.
    data: ConnectionInfo,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without its secrets.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let Some((tls @ ("redis" | "rediss"), kind @ ("sentinel" | "cluster"))) = scheme.split_once('+') else {
            return Self::one(url);
        };
        let several = Several::split(tls, rest)?;
        let place = format!("{scheme}://{}", several.shown());
        if kind == "sentinel" { several.sentinels(place) } else { several.cluster(place) }
    }

    fn one(url: &str) -> Result<Self, String> {
        let data = url.into_connection_info().map_err(|error| format!("{error}; expected {FORMS}"))?;
        Ok(Self { footing: Footing::One, place: place(url), data })
    }

    /// How to connect to the one server.
    pub(super) fn data(&self) -> ConnectionInfo {
        self.data.clone()
    }

    /// How to connect to the server that holds data at `host` and `port`.
    pub(super) fn data_at(&self, host: &str, port: u16) -> ConnectionInfo {
        let host = host.to_owned();
        let addr = match self.data.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.data.clone().set_addr(addr)
    }
}

/// The parts of a URL with several hosts.
struct Several<'a> {
    /// `redis` or `rediss`.
    tls: &'a str,
    /// `user:password@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Several<'a> {
    fn split(tls: &'a str, rest: &'a str) -> Result<Self, String> {
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<&str> = hosts.split(',').collect();
        for host in &hosts {
            let parsed = Url::parse(&format!("redis://{host}"));
            let is_host = parsed.is_ok_and(|url| url.has_host() && matches!(url.path(), "" | "/"));
            if !is_host {
                return Err(format!("{host:?} is no HOST:PORT; expected {FORMS}"));
            }
        }
        let path = path.split('/').filter(|part| !part.is_empty()).collect();
        Ok(Self { tls, login, hosts, path, query })
    }

    /// Without the login and the query.
    fn shown(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.hosts.join(","), self.path.join("/"))
    }

    /// How to connect to one of the hosts.
    fn info(&self, login: &str, host: &str, db: &str) -> Result<ConnectionInfo, String> {
        let url = format!("{}://{login}{host}/{db}", self.tls);
        url.into_connection_info().map_err(|error| format!("{error}; expected {FORMS}"))
    }

    fn sentinels(self, place: String) -> Result<Address, String> {
        let (service, db) = match self.path[..] {
            [service] => (service, ""),
            [service, db] => (service, db),
            _ => return Err("lacks the service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]".to_owned()),
        };
        let (mut user, mut password) = (None, None);
        for (key, value) in url::form_urlencoded::parse(self.query.unwrap_or("").as_bytes()) {
            match &*key {
                "sentinel_user" => user = Some(value.into_owned()),
                "sentinel_password" => password = Some(value.into_owned()),
                _ => {
                    return Err(format!(
                        "has {key:?} behind its ?; only sentinel_user and sentinel_password are known"
                    ));
                }
            }
        }
        let mut sentinels = Vec::new();
        for host in &self.hosts {
            let has_port = Url::parse(&format!("redis://{host}")).is_ok_and(|url| url.port().is_some());
            let host = if has_port { (*host).to_owned() } else { format!("{host}:{SENTINEL_PORT}") };
            // The data's login is not shown to Sentinels, which have one of their own or none.
            let info = self.info("", &host, "")?;
            let mut login = info.redis_settings().clone();
            if let Some(user) = &user {
                login = login.set_username(user);
            }
            if let Some(password) = &password {
                login = login.set_password(password);
            }
            sentinels.push(info.set_redis_settings(login));
        }
        let data = self.info(self.login, self.hosts[0], db)?;
        Ok(Address { footing: Footing::Sentinel { service: service.to_owned(), sentinels }, place, data })
    }

    fn cluster(self, place: String) -> Result<Address, String> {
        if !matches!(self.path[..], [] | ["0"]) || self.query.is_some() {
            return Err("has something behind its hosts; a cluster has one database and no further options".to_owned());
        }
        let seeds = self.hosts.iter().map(|host| self.info(self.login, host, "")).collect::<Result<Vec<_>, _>>()?;
        let data = seeds[0].clone();
        Ok(Address { footing: Footing::Cluster { seeds }, place, data })
    }
}

/// The URL of one server without its secrets.
fn place(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return "redis".to_owned() };
    // Both fail only for URLs that cannot carry credentials.
    parsed.set_username("").unwrap_or_default();
    parsed.set_password(None).unwrap_or_default();
    parsed.set_query(None);
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(info: &ConnectionInfo) -> String {
        info.addr().to_string()
    }

    #[test]
    fn sentinels_have_a_login_of_their_own_and_the_data_have_theirs() {
        let url = "redis+sentinel://app:p%40ss@a:1,[::1]:2,c/jobs/3?sentinel_user=watch&sentinel_password=s%26s";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.place, "redis+sentinel://a:1,[::1]:2,c/jobs/3");
        let Footing::Sentinel { service, sentinels } = &address.footing else { panic!("{address:?}") };
        assert_eq!(service, "jobs");
        assert_eq!(sentinels.iter().map(addr).collect::<Vec<_>>(), ["a:1", "::1:2", "c:26379"]);
        let login = sentinels[0].redis_settings();
        assert_eq!((login.username(), login.password()), (Some("watch"), Some("s&s")));
        let master = address.data_at("10.0.0.7", 6380);
        let login = master.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("app"), Some("p@ss"), 3));
        assert_eq!(addr(&master), "10.0.0.7:6380");
        let quiet = Address::parse("redis+sentinel://:secret@a/jobs").unwrap();
        let Footing::Sentinel { sentinels, .. } = &quiet.footing else { panic!("{quiet:?}") };
        assert_eq!(sentinels[0].redis_settings().password(), None, "the data's password is not shown to Sentinels");
    }

    #[test]
    fn a_cluster_is_a_list_of_nodes_and_tls_holds_for_all() {
        let address = Address::parse("rediss+cluster://:secret@a:7001,b").unwrap();
        assert_eq!(address.place, "rediss+cluster://a:7001,b");
        let Footing::Cluster { seeds } = &address.footing else { panic!("{address:?}") };
        assert_eq!(seeds.iter().map(addr).collect::<Vec<_>>(), ["a:7001", "b:6379"]);
        let found = address.data_at("c", 9);
        assert!(matches!(found.addr(), ConnectionAddr::TcpTls { .. }));
        assert_eq!(found.redis_settings().password(), Some("secret"));
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for (url, word) in [
            ("http://:hunter2@a", "redis+cluster://"),
            ("redis+sentinel://:hunter2@a:1,b:2", "service"),
            ("redis+sentinel://:hunter2@a:1/s/0/more", "service"),
            ("redis+sentinel://:hunter2@a:1/s/x", "expected"),
            ("redis+sentinel://:hunter2@a:x/s", "a:x"),
            ("redis+sentinel://:hunter2@a:1/s?password=hunter2", "sentinel_password"),
            ("redis+cluster://:hunter2@a:1,,b:2", "\"\""),
            ("redis+cluster://:hunter2@", "\"\""),
            ("redis+cluster://:hunter2@a:1/7", "one database"),
            ("redis+cluster://:hunter2@a:1?protocol=resp3", "options"),
            ("redis+other://:hunter2@a:1", "expected"),
        ] {
            let said = Address::parse(url).unwrap_err();
            assert!(said.contains(word) && !said.contains("hunter2"), "{url}: {said}");
        }
    }
}
