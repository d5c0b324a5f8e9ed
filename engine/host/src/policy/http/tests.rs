//! Which grants are read, and which requests they allow.

use super::*;

fn grant(yaml: &str) -> HttpGrant {
    crate::policy::yaml::read(yaml).unwrap().0
}

fn refusal(yaml: &str) -> String {
    crate::policy::yaml::read::<HttpGrant>(yaml)
        .unwrap_err()
        .to_string()
}

fn target(method: &str, uri: &str) -> RequestTarget {
    RequestTarget::new(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap()
}

#[test]
fn a_host_alone_covers_every_method_and_path_of_it() {
    let grant = grant("https://API.example.org");
    assert!(grant.covers(&target("GET", "https://api.example.org/")));
    assert!(grant.covers(&target("PURGE", "https://api.example.org:443/a?b")));
    for other in [
        "http://api.example.org/",
        "https://api.example.org:8443/",
        "https://example.org/",
        "https://api.example.org.evil.org/",
        "https://api.example.org./",
    ] {
        assert!(!grant.covers(&target("GET", other)), "{other}");
    }
    assert!(!grant.covers(&target("CONNECT", "https://api.example.org/")));
}

#[test]
fn methods_and_paths_narrow_a_grant() {
    let grant = grant("{host: api.example.org, methods: [GET, HEAD], paths: [/v1/, /status]}");
    let covers = |method, path| grant.covers(&target(method, &format!("https://api.example.org{path}")));
    for path in [
        "/v1/",
        "/v1/a/b?c=../d",
        "/status",
        "/status/all",
        "/v1/a..b",
        "/v1/a%20b",
    ] {
        assert!(covers("GET", path), "{path}");
    }
    assert!(covers("HEAD", "/v1/a") && !covers("POST", "/v1/a"));
    for path in [
        "/",
        "/v1",
        "/v10/",
        "/statuses",
        "/v1/../admin",
        "/v1/%2E%2e/admin",
        "/v1/..;x/admin",
        "/v1/a%2f..%2fadmin",
        "/v1/a%5c..",
        "/v1/%252e%252e/admin",
        "/v1/./a",
        "/v1//admin",
        "//v1/a",
        "/v1/a%00",
        "/v1/a%00/../b",
        "/v1/a%0d%0ab",
        "/v1/a%7f",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%e0%80%af..",
        "/v1/a%c0%afb",
        "/v1/a%f0%80%80%af",
        "/v1/a%ed%a0%80",
        "/v1/a%ff",
        "/v1/%ef%bc%8e%ef%bc%8e/admin",
        "/v1/a%ef%bc%8f..",
        "/v1/a%e2%88%95b",
        "/v1/%25%32%65",
        "/v1/a%u002e",
        "/v1/a%2",
        "/v1/a%",
        "/v1/.../admin",
        "/v1/..%20/admin",
        "/v1/..%3bx/admin",
        "/v1/..%09/admin",
        "/v1/%5c..",
    ] {
        assert!(!covers("GET", path), "{path}");
    }
}

#[test]
fn a_name_leads_to_no_private_address_that_its_grant_does_not_name() {
    let check = |grant: &HttpGrant, address: &str| grant.check(address.parse().unwrap());
    let name = grant("http://localhost:8080");
    assert_eq!(check(&name, "127.0.0.1"), Err("a loopback address"));
    assert_eq!(check(&name, "93.184.216.34"), Ok(()));
    let named = grant("{host: \"http://billing.internal\", private: [10.0.0.0/8, \"::1\"]}");
    assert!(check(&named, "10.9.8.7").is_ok() && check(&named, "::1").is_ok());
    assert_eq!(check(&named, "169.254.169.254"), Err("a link-local address"));
    let literal = grant("http://127.0.0.1:8080");
    assert!(check(&literal, "127.0.0.1").is_ok() && check(&literal, "127.0.0.2").is_err());
    assert!(check(&grant("http://[::1]"), "::1").is_ok());
}

#[test]
fn a_grant_is_shown_in_one_line() {
    let shown = |yaml: &str| grant(yaml).to_string();
    assert_eq!(shown("api.example.org"), "https://api.example.org");
    assert_eq!(
        shown(
            "{host: \"http://[FD00::1]:81\", methods: [GET, POST], paths: [/a, /b/], private: [10.0.0.0/8]}"
        ),
        "GET, POST http://[fd00::1]:81/a and /b/ (private: 10.0.0.0/8)"
    );
}

#[test]
fn an_invalid_grant_is_refused_with_the_valid_form() {
    for (yaml, expected) in [
        ("ftp://a.org", "for http or https"),
        ("https://*.a.org", "name each"),
        ("https://a.org/v1?x", "{host: \"https://a.org\", paths: [\"/…\"]}"),
        ("https://me:hunter2@a.org", "`https://***@a.org` has a user name"),
        ("{host: a.org, exact: [v1]}", "`v1` is not a valid path"),
        ("{host: a.org, exact: []}", "an empty list allows nothing"),
        ("https://a.org:0", "no port from 1 to 65535"),
        ("https://a.org:70000", "no port from 1 to 65535"),
        ("https://", "is not a valid host"),
        ("https://a b", "is not a valid host"),
        ("[a]", "a host, as in https://api.example.org"),
        ("{host: a.org, methods: [get]}", "write it in capitals"),
        ("{host: a.org, methods: [CONNECT]}", "cannot be granted"),
        ("{host: a.org, methods: []}", "an empty list allows nothing"),
        ("{host: a.org, paths: [v1]}", "`v1` is not a valid path"),
        ("{host: a.org, paths: [/a/../b]}", "is not a valid path"),
        (
            "{host: a.org, private: [home]}",
            "`home` is not an address or network",
        ),
    ] {
        let refusal = refusal(yaml);
        assert!(refusal.contains(expected), "{yaml}: {refusal}");
    }
}

#[test]
fn an_exact_path_covers_itself_alone() {
    let grant = grant("{host: a.org, exact: [/, /status], paths: [/v1/]}");
    let covers = |path: &str| grant.covers(&target("GET", &format!("https://a.org{path}")));
    assert!(covers("/") && covers("/?a=b") && covers("/status") && covers("/v1/x"));
    assert!(!covers("/a") && !covers("/status/") && !covers("/statuses") && !covers("/v2/"));
    assert_eq!(grant.to_string(), "https://a.org/v1/ (exactly: /, /status)");
}

#[test]
fn the_line_to_add_covers_the_request_and_no_other() {
    let grants = [
        vec![],
        vec![grant("{host: a.org, methods: [GET]}")],
        vec![
            grant("{host: a.org, paths: [/v1/]}"),
            grant("{host: a.org, exact: [/]}"),
        ],
    ];
    for (method, path) in [
        ("GET", "/"),
        ("DELETE", "/v1/x"),
        ("POST", "/v2/"),
        ("M-SEARCH", "/a'b\"c*{d}"),
    ] {
        let wanted = target(method, &format!("https://a.org{path}?y=z"));
        for has in &grants {
            if has.iter().any(|grant| grant.covers(&wanted)) {
                continue;
            }
            let line = wanted.to_add("shop", has);
            assert_eq!(line.starts_with("It has "), !has.is_empty(), "{line}");
            let (_, policy) = line.split_once("policy: ").unwrap();
            let policy = crate::Policy::parse(policy).unwrap();
            let own = crate::HostSettings::default().call_limits();
            let rules = policy.rules(&own, &[]).unwrap();
            let [added] = &*rules[0].grants.http else {
                panic!("{line}")
            };
            assert!(added.covers(&wanted), "{line}");
            for other in ["/", "/v1/x", "/v1/x/", "/v1/x/y", "/v2/", "/v2/a", "/other"] {
                let is_it = other == path;
                assert_eq!(
                    added.covers(&target(method, &format!("https://a.org{other}"))),
                    is_it,
                    "{line}"
                );
                assert!(
                    !added.covers(&target("PUT", &format!("https://a.org{other}"))),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn no_policy_entry_is_suggested_where_no_narrow_grant_covers_the_request() {
    let line = target("GET", "https://a.org/a/%2e%2e/b").to_add("shop", &[]);
    assert!(
        line.contains("Ask for the path as the server reads it") && !line.contains("plugins:"),
        "{line}"
    );
    let line = target("get", "https://a.org/").to_add("shop", &[]);
    assert!(line.contains("write it in capitals"), "{line}");
}

#[test]
fn a_password_in_a_request_is_not_logged() {
    let refused =
        RequestTarget::new(&Method::GET, &"https://me:hunter2@a.org/".parse().unwrap()).unwrap_err();
    assert_eq!(refused, "`***@a.org` has a user name, which no grant covers");
}
