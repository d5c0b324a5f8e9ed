//! Sources of plugins: files, folders and registries, with the command, against a real registry.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use heddle_tests::{
    Server, component, heddle,
    registry::Registry,
    stub::{Reply, Stub, authority},
};
use serde_json::{Value, json};

/// A server, and a folder in which commands run.
struct Workspace {
    server: Server,
    environment: Vec<(&'static str, String)>,
}

impl Workspace {
    fn new() -> Self {
        let server = Server::start();
        // No credentials of the user who runs the tests.
        let nowhere = server.folder().join("docker").display().to_string();
        let environment = vec![("DOCKER_CONFIG", nowhere)];
        Self { server, environment }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(heddle())
            .args(arguments)
            .current_dir(self.server.folder())
            .env("HEDDLE_SERVER", format!("http://{}", self.server.address))
            .env_remove("HEDDLE_OCI_USER")
            .env_remove("HEDDLE_OCI_PASSWORD")
            .env_remove("HEDDLE_OCI_REGISTRY")
            .env("SSL_CERT_FILE", authority())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the command runs")
    }

    /// The output of a command that succeeds.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("stdout is text")
    }

    /// The stderr of a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        self.fails(arguments, 1)
    }

    /// The stderr of a command with invalid arguments.
    fn usage_error(&self, arguments: &[&str]) -> String {
        self.fails(arguments, 2)
    }

    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("stderr is text")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.server.folder().join(name)
    }

    /// The lock file.
    fn lock(&self) -> Value {
        let text = std::fs::read_to_string(self.file("heddle.lock")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Writes a component named `NAME@VERSION`.
    fn write(&self, file: &str, identity: &str) -> String {
        let mut bytes = std::fs::read(component("fixtures/raw-tool")).unwrap();
        let section = "heddle-plugin";
        let len = |len: usize| u8::try_from(len).unwrap();
        bytes.extend([0, len(1 + section.len() + identity.len()), len(section.len())]);
        bytes.extend(section.bytes().chain(identity.bytes()));
        let path = self.file(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

/// The digest at the end of the output of `push`.
fn digest(pushed: &str) -> &str {
    pushed
        .trim()
        .split_once('@')
        .expect("a reference with a digest")
        .1
}

#[test]
fn files_and_folders_are_added_even_if_one_is_refused() {
    let workspace = Workspace::new();
    workspace.write("many/a.wasm", "one@1.0.0");
    workspace.write("many/b.wasm", "two@2.0.0");
    let third = workspace.write("third.wasm", "three@3.0.0");
    assert_eq!(
        workspace.ok(&["plugin", "add", "many", &third]),
        "one@1.0.0\ntwo@2.0.0\nthree@3.0.0\n"
    );
    std::fs::write(workspace.file("many/aa.wasm"), "(component)").unwrap();
    let printed = workspace.refused(&["plugin", "add", "many", "nowhere.wasm"]);
    assert!(
        printed.contains("many/aa.wasm: this is WebAssembly text"),
        "{printed}"
    );
    assert!(
        printed.contains("nowhere.wasm: cannot read") && printed.contains("2 of 4"),
        "{printed}"
    );
    let printed = workspace.usage_error(&["plugin", "add", "many", "--name", "x"]);
    assert!(printed.contains("--name x applies to one plugin"), "{printed}");
    std::fs::create_dir(workspace.file("empty")).unwrap();
    assert!(
        workspace
            .refused(&["plugin", "add", "empty"])
            .contains("no .wasm file")
    );
    assert!(
        workspace
            .usage_error(&["plugin", "add", "https://example.org/a.wasm"])
            .contains("download the component first")
    );
    // Adding a plugin prints its requested permissions and its grants.
    let printed = workspace.run(&["plugin", "add", &third]).stderr;
    let printed = String::from_utf8(printed).unwrap();
    assert!(
        printed.contains("requests") && printed.contains("granted   nothing"),
        "{printed}"
    );
}

#[test]
fn a_component_is_pushed_pulled_and_pinned() {
    let (registry, workspace) = (Registry::start(), Workspace::new());
    let tag = registry.reference("tools/shop:1");
    let file = workspace.write("shop.wasm", "shop@1.0.0");
    let first = workspace.ok(&["plugin", "push", &file, &tag]);
    assert_eq!(
        first,
        workspace.ok(&["plugin", "push", &file, &tag]),
        "the same is the same"
    );

    assert_eq!(workspace.ok(&["plugin", "add", &tag]), "shop@1.0.0\n");
    let pins = workspace.lock();
    let pin = &pins["plugins"][0];
    let plugin = workspace.server.get("/v1/plugins/shop/1.0.0").ok();
    let expected = json!({
        "reference": tag,
        "manifest": digest(&first),
        "component": format!("sha256:{}", plugin["digest"].as_str().unwrap()),
        "plugin": "shop@1.0.0",
    });
    assert_eq!(*pin, expected);
    let graph = workspace
        .server
        .create(&json!({"nodes": {"t": {"uses": "shop/as-given"}}}));
    assert_eq!(workspace.server.run(&graph, &json!({}))["status"], "finished");

    // The tag moves; the pinned digest stays until an explicit update.
    let newer = workspace.write("shop.wasm", "shop@1.1.0");
    let second = workspace.ok(&["plugin", "push", &newer, &tag]);
    let again = workspace.run(&["plugin", "add", &tag]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), "shop@1.0.0\n");
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(
        printed.contains(&format!("has moved to {}", digest(&second))) && printed.contains("--update"),
        "{printed}"
    );
    assert_eq!(workspace.lock(), pins);
    assert_eq!(workspace.ok(&["plugin", "add", &tag, "--update"]), "shop@1.1.0\n");
    assert_eq!(workspace.lock()["plugins"][0]["manifest"], digest(&second));

    // By digest, with another lock file.
    let exact = first.trim();
    assert_eq!(
        workspace.ok(&["plugin", "add", exact, "--lock", "other.lock"]),
        "shop@1.0.0\n"
    );
}

#[test]
fn a_lock_file_adds_exactly_its_plugins_to_another_server() {
    let (registry, workspace) = (Registry::start(), Workspace::new());
    let printed = workspace.refused(&["plugin", "add", "--locked"]);
    assert!(printed.contains("heddle.lock pins no component"), "{printed}");
    let (one, two) = (registry.reference("one:latest"), registry.reference("two:latest"));
    let file = workspace.write("one.wasm", "one@1.0.0");
    workspace.ok(&["plugin", "push", &file, &one]);
    let nameless = component("fixtures/raw-tool").display().to_string();
    workspace.ok(&["plugin", "push", &nameless, &two]);
    workspace.ok(&["plugin", "add", &two, "--name", "given"]);
    workspace.ok(&["plugin", "add", &one]);
    // Both tags move in the meantime.
    let moved = workspace.write("one.wasm", "one@9.0.0");
    workspace.ok(&["plugin", "push", &moved, &one]);
    workspace.ok(&["plugin", "push", &moved, &two]);

    let other = Workspace::new();
    std::fs::copy(workspace.file("heddle.lock"), other.file("heddle.lock")).unwrap();
    assert_eq!(
        other.ok(&["plugin", "add", "--locked"]),
        "one@1.0.0\ngiven@0.0.0\n"
    );
    assert_eq!(other.lock(), workspace.lock());
    let printed = other.run(&["plugin", "add", "--locked", "--update"]);
    assert_eq!(
        printed.status.code(),
        Some(2),
        "the two contradict one another: {printed:?}"
    );
}

#[test]
fn content_changed_in_the_registry_is_refused() {
    let (registry, workspace) = (Registry::start(), Workspace::new());
    let tag = registry.reference("tools/shop:1");
    let file = workspace.write("shop.wasm", "shop@1.0.0");
    let pushed = workspace.ok(&["plugin", "push", &file, &tag]);
    let manifest = registry.file(digest(&pushed));
    let written: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(written["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(
        written["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    assert_eq!(
        written["annotations"]["org.opencontainers.image.version"],
        "1.0.0"
    );
    let layer = written["layers"][0]["digest"].as_str().unwrap();
    let blob = registry.file(layer);
    let whole = std::fs::read(&blob).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    let longer = [&*whole, b"\0"].concat();
    for (tampered, printed) in [
        (&*other, "has the digest sha256:"),
        (&*longer, "has more than"),
        (&whole[..whole.len() - 1], "has the digest sha256:"),
    ] {
        std::fs::write(&blob, tampered).unwrap();
        let refused = workspace.refused(&["plugin", "add", &tag]);
        assert!(
            refused.contains(printed) && refused.contains(layer) && refused.contains("was not added"),
            "{refused}"
        );
    }
    std::fs::write(&blob, &whole).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("1.0.0", "1.0.1")).unwrap();
    let refused = workspace.refused(&["plugin", "add", pushed.trim()]);
    assert!(refused.contains(&registry.address), "{refused}");
    workspace.server.get("/v1/plugins/shop").problem(404);
    assert!(
        !workspace.file("heddle.lock").exists(),
        "what was refused is not pinned"
    );
}

#[test]
fn a_registry_with_users_requires_credentials() {
    let (registry, mut workspace) = (Registry::start_with_users(), Workspace::new());
    let tag = registry.reference("shop:1");
    let file = workspace.write("shop.wasm", "shop@1.0.0");
    workspace
        .environment
        .push(("HEDDLE_OCI_USER", "heddle".to_owned()));
    assert!(
        workspace
            .refused(&["plugin", "add", &tag])
            .contains("only one of")
    );
    workspace
        .environment
        .push(("HEDDLE_OCI_PASSWORD", "guessed".to_owned()));
    let refused = workspace.refused(&["plugin", "push", &file, &tag]);
    assert!(
        refused.contains(&format!("HEDDLE_OCI_REGISTRY={}", registry.address)),
        "{refused}"
    );
    workspace
        .environment
        .push(("HEDDLE_OCI_REGISTRY", registry.address.clone()));
    let refused = workspace.refused(&["plugin", "push", &file, &tag]);
    assert!(
        refused.contains("the user `heddle`") && !refused.contains("guessed"),
        "{refused}"
    );
    workspace
        .environment
        .push(("HEDDLE_OCI_PASSWORD", "secret".to_owned()));
    workspace.ok(&["plugin", "push", &file, &tag]);
    assert_eq!(workspace.ok(&["plugin", "add", &tag]), "shop@1.0.0\n");

    // The file of `docker login` works too; this is base64 of heddle:secret.
    workspace.environment.retain(|(name, _)| *name == "DOCKER_CONFIG");
    let config = json!({"auths": {&registry.address: {"auth": "aGVkZGxlOnNlY3JldA=="}}});
    std::fs::create_dir(workspace.file("docker")).unwrap();
    std::fs::write(workspace.file("docker/config.json"), config.to_string()).unwrap();
    assert_eq!(workspace.ok(&["plugin", "add", &tag]), "shop@1.0.0\n");
}

/// A registry with scripted responses.
struct Fake(Stub);

impl Fake {
    /// The requests with the user and the password. An anonymous token is not a secret.
    fn credentials(&self) -> Vec<String> {
        let requests = self.0.requests().into_iter();
        let has_user = |text: &str| text.starts_with("Basic ");
        let signed = requests.filter(|request| request.header("authorization").is_some_and(has_user));
        signed
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    fn reference(&self) -> String {
        format!("oci://{}/shop:1", self.0.address)
    }
}

/// Credentials `heddle:secret` for these registries.
fn workspace_with(registries: &str) -> Workspace {
    let mut workspace = Workspace::new();
    for (name, value) in [
        ("HEDDLE_OCI_USER", "heddle"),
        ("HEDDLE_OCI_PASSWORD", "secret"),
        ("HEDDLE_OCI_REGISTRY", registries),
    ] {
        workspace.environment.push((name, value.to_owned()));
    }
    workspace
}

fn challenge(realm: &str) -> Reply {
    let bearer = format!("Bearer realm=\"{realm}\",service=\"tests\"");
    Reply::new(401, "text/plain", "").with("www-authenticate", &bearer)
}

#[test]
fn credentials_go_to_no_other_registry() {
    let other = Fake(Stub::start(|_| {
        Reply::new(401, "text/plain", "").with("www-authenticate", "Basic realm=x")
    }));
    let workspace = workspace_with("registry.example.org");
    let refused = workspace.refused(&["plugin", "add", &other.reference()]);
    assert!(refused.contains("HEDDLE_OCI_REGISTRY"), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
    assert_eq!(other.credentials(), [""; 0]);
}

#[test]
fn credentials_go_over_plain_http_to_nobody() {
    let asks = |realm: String| {
        Fake(Stub::start(move |_| match realm.as_str() {
            "" => Reply::new(401, "text/plain", "").with("www-authenticate", "Basic realm=x"),
            realm => challenge(realm),
        }))
    };
    let tokens = Fake(Stub::start(|_| Reply::json(&json!({"token": "t"}))));
    let realm = format!("http://{}/token", tokens.0.address);
    for registry in [asks(String::new()), asks(realm.clone())] {
        let workspace = workspace_with(&registry.0.address.to_string());
        for arguments in [
            &["plugin", "add", "--plain-http", &registry.reference()][..],
            // The registry is on this machine, but with credentials TLS is used.
            &["plugin", "add", &registry.reference()],
        ] {
            let refused = workspace.refused(arguments);
            assert!(!refused.contains("secret"), "{refused}");
        }
        assert_eq!(registry.credentials(), [""; 0]);
    }
    // Also if a registry names such a token server or redirects to one.
    let named = Fake(Stub::start_tls({
        let realm = realm.clone();
        move |_| challenge(&realm)
    }));
    let workspace = workspace_with(&named.0.address.to_string());
    let refused = workspace.refused(&["plugin", "add", &named.reference()]);
    assert!(refused.contains("does not use TLS"), "{refused}");
    assert_eq!((named.credentials(), tokens.credentials()), (vec![], vec![]));
}

#[test]
fn credentials_go_to_another_server_of_tokens_only_where_it_is_listed() {
    let tokens = Fake(Stub::start_tls(|_| Reply::json(&json!({"token": "t"}))));
    let realm = format!("https://{}/token", tokens.0.address);
    let registry = Fake(Stub::start_tls(move |_| challenge(&realm)));
    let address = registry.0.address.to_string();
    let refused = workspace_with(&address).refused(&["plugin", "add", &registry.reference()]);
    let listed = format!("{address},{}", tokens.0.address);
    assert!(
        refused.contains(&format!("HEDDLE_OCI_REGISTRY={listed}")),
        "{refused}"
    );
    assert_eq!(tokens.credentials(), [""; 0]);
    workspace_with(&listed).refused(&["plugin", "add", &registry.reference()]);
    let [token] = &tokens.credentials()[..] else {
        panic!("{:?}", tokens.credentials())
    };
    assert!(
        token.starts_with("GET /token?scope=repository%3Ashop%3Apull"),
        "{token}"
    );
}

#[test]
fn credentials_follow_no_redirect_and_no_upload_to_another_host() {
    let other = Fake(Stub::start_tls(|_| Reply::json(&json!({"token": "t"}))));
    let elsewhere = format!("https://{}/elsewhere", other.0.address);
    let registry = Fake(Stub::start_tls(move |request| {
        let is_signed = request.header("authorization").is_some();
        match (&*request.method, &*request.path) {
            (_, "/v2/") if !is_signed => {
                Reply::new(401, "text/plain", "").with("www-authenticate", "Basic realm=x")
            }
            ("POST", _) => Reply::new(202, "text/plain", "").with("location", &elsewhere),
            ("HEAD", _) => Reply::new(404, "text/plain", ""),
            _ => Reply::new(307, "text/plain", "").with("location", &elsewhere),
        }
    }));
    let workspace = workspace_with(&registry.0.address.to_string());
    workspace.refused(&["plugin", "add", &registry.reference()]);
    let file = workspace.write("shop.wasm", "shop@1.0.0");
    workspace.run(&["plugin", "push", &file, &registry.reference()]);
    assert!(
        !registry.credentials().is_empty(),
        "the registry itself got the credentials"
    );
    let requests = other.0.requests();
    assert!(
        requests.iter().any(|request| request.method == "PUT"),
        "the upload was sent there"
    );
    assert_eq!(other.credentials(), [""; 0]);
}

#[test]
fn an_unavailable_registry_item_is_reported_with_the_reason() {
    let (registry, workspace) = (Registry::start(), Workspace::new());
    let nothing = registry.reference("nothing:1");
    let refused = workspace.refused(&["plugin", "add", &nothing]);
    assert!(
        refused.contains(&format!("{nothing} does not exist")),
        "{refused}"
    );
    let refused = workspace.refused(&["plugin", "add", "oci://127.0.0.1:1/shop:1"]);
    assert!(
        refused.contains("no answer from 127.0.0.1:1") && refused.contains("refused"),
        "{refused}"
    );
    let refused = workspace.usage_error(&["plugin", "add", "oci://shop:1"]);
    assert!(refused.contains("has no registry"), "{refused}");
    // A registry on another machine is contacted over TLS by default; this one has none.
    let far = nothing.replace("127.0.0.1", "127.0.0.1.nip.invalid");
    let refused = workspace.refused(&["plugin", "add", &far]);
    assert!(refused.contains("--plain-http"), "{refused}");
    let text = workspace.file("text.wasm").display().to_string();
    std::fs::write(&text, "no component").unwrap();
    let refused = workspace.refused(&["plugin", "push", &text, &nothing]);
    assert!(
        refused.contains("text.wasm: this is not WebAssembly"),
        "{refused}"
    );
    let file = workspace.write("shop.wasm", "shop@1.0.0");
    let pushed = workspace.ok(&["plugin", "push", &file, &registry.reference("shop:1")]);
    let refused = workspace.usage_error(&["plugin", "push", &file, pushed.trim()]);
    assert!(refused.contains("name a tag"), "{refused}");
}

#[test]
fn a_plugin_is_inspected_before_and_after_it_is_added() {
    let workspace = Workspace::new();
    let nameless = workspace.file("nameless.wasm").display().to_string();
    std::fs::copy(component("fixtures/raw-tool"), &nameless).unwrap();
    let screen = workspace.ok(&["plugin", "inspect", &nameless]);
    for printed in [
        "nameless@0.0.0  a file, not registered",
        "granted   nothing",
        "tool  as-given  read-only",
        "Gives back its input",
    ] {
        assert!(screen.contains(printed), "`{printed}` is not in\n{screen}");
    }
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    workspace.server.get("/v1/plugins/nameless").problem(404);

    assert_eq!(workspace.ok(&["plugin", "add", &nameless]), "nameless@0.0.0\n");
    let plugin: Value =
        serde_json::from_str(&workspace.ok(&["plugin", "inspect", "nameless", "--json"])).unwrap();
    assert_eq!(plugin, workspace.server.get("/v1/plugins/nameless/0.0.0").ok());
    let file = workspace.write("newer.wasm", "nameless@1.0.0");
    workspace.ok(&["plugin", "add", &file]);
    let screen = workspace.ok(&["plugin", "inspect", "nameless"]);
    assert!(
        screen.starts_with("nameless@1.0.0\n") && screen.contains("versions  also 0.0.0"),
        "{screen}"
    );
    let printed = workspace.refused(&["plugin", "inspect", "nameless@3.0.0"]);
    assert!(printed.contains("its versions are 1.0.0, 0.0.0"), "{printed}");
}

#[test]
fn a_plugin_is_removed_unless_something_needs_it() {
    let workspace = Workspace::new();
    for version in ["1.0.0", "2.0.0"] {
        let file = workspace.write("shop.wasm", &format!("shop@{version}"));
        workspace.ok(&["plugin", "add", &file]);
    }
    let graph = workspace
        .server
        .create(&json!({"nodes": {"t": {"uses": "shop/as-given@2"}}}));
    let printed = workspace.refused(&["plugin", "remove", "shop"]);
    assert!(printed.contains(&graph), "{printed}");
    assert_eq!(workspace.ok(&["plugin", "remove", "shop@1.0.0"]), "shop@1.0.0\n");
    assert_eq!(
        workspace.ok(&["plugin", "remove", "shop", "--force"]),
        "shop@2.0.0\n"
    );
    assert!(workspace.refused(&["plugin", "remove", "shop"]).contains("shop"));
}
