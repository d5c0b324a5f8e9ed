//! Components that make the host hold memory for them: it counts against their memory limit.

use heddle_kernel::FailureKind;

use super::*;

/// The imports and the memory of the attacks. Each attack is a function body that does one round; the function returns
/// how many rounds it did.
fn attack(round: &str) -> String {
    format!(
        r#"(component
        (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type $error (sub resource)))))
        (alias export $errors "error" (type $error))
        (import "wasi:io/streams@0.2.0" (instance $streams
            (export "output-stream" (type $output (sub resource)))
            (alias outer 1 $error (type $e'))
            (export "error" (type $error' (eq $e')))
            (type $e (variant (case "last-operation-failed" (own $error')) (case "closed")))
            (export "stream-error" (type $stream-error (eq $e)))
            (export "[method]output-stream.check-write" (func (param "self" (borrow $output))
                (result (result u64 (error $stream-error)))))
            (export "[method]output-stream.write-zeroes" (func (param "self" (borrow $output)) (param "len" u64)
                (result (result (error $stream-error)))))))
        (alias export $streams "output-stream" (type $output))
        (import "wasi:http/types@0.2.0" (instance $http
            (export "fields" (type $fields (sub resource)))
            (export "outgoing-request" (type $request (sub resource)))
            (export "outgoing-body" (type $body (sub resource)))
            (alias outer 1 $output (type $o))
            (export "output-stream" (type $output (eq $o)))
            (type $h (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
            (export "header-error" (type $header-error (eq $h)))
            (type $m (variant (case "get") (case "head") (case "post") (case "put") (case "delete") (case "connect")
                (case "options") (case "trace") (case "patch") (case "other" string)))
            (export "method" (type $method (eq $m)))
            (export "[constructor]fields" (func (result (own $fields))))
            (export "[method]fields.append" (func (param "self" (borrow $fields)) (param "name" string)
                (param "value" (list u8)) (result (result (error $header-error)))))
            (export "[method]fields.clone" (func (param "self" (borrow $fields)) (result (own $fields))))
            (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $request))))
            (export "[method]outgoing-request.set-method" (func (param "self" (borrow $request))
                (param "method" $method) (result (result))))
            (export "[method]outgoing-request.set-authority" (func (param "self" (borrow $request))
                (param "authority" (option string)) (result (result))))
            (export "[method]outgoing-request.body" (func (param "self" (borrow $request))
                (result (result (own $body)))))
            (export "[method]outgoing-body.write" (func (param "self" (borrow $body))
                (result (result (own $output)))))
            (type $os (option string)) (type $o8 (option u8)) (type $o16 (option u16)) (type $o32 (option u32))
            (type $o64 (option u64))
            (type $dns (record (field "rcode" $os) (field "info-code" $o16)))
            (export "DNS-error-payload" (type $dns' (eq $dns)))
            (type $alert (record (field "alert-id" $o8) (field "alert-message" $os)))
            (export "TLS-alert-received-payload" (type $alert' (eq $alert)))
            (type $size (record (field "field-name" $os) (field "field-size" $o32)))
            (export "field-size-payload" (type $size' (eq $size)))
            (type $os' (option $size'))
            (type $code (variant (case "DNS-timeout") (case "DNS-error" $dns') (case "destination-not-found")
                (case "destination-unavailable") (case "destination-IP-prohibited") (case "destination-IP-unroutable")
                (case "connection-refused") (case "connection-terminated") (case "connection-timeout")
                (case "connection-read-timeout") (case "connection-write-timeout") (case "connection-limit-reached")
                (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $alert')
                (case "HTTP-request-denied") (case "HTTP-request-length-required") (case "HTTP-request-body-size" $o64)
                (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
                (case "HTTP-request-header-section-size" $o32) (case "HTTP-request-header-size" $os')
                (case "HTTP-request-trailer-section-size" $o32) (case "HTTP-request-trailer-size" $size')
                (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" $o32)
                (case "HTTP-response-header-size" $size') (case "HTTP-response-body-size" $o64)
                (case "HTTP-response-trailer-section-size" $o32) (case "HTTP-response-trailer-size" $size')
                (case "HTTP-response-transfer-coding" $os) (case "HTTP-response-content-coding" $os)
                (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error")
                (case "loop-detected") (case "configuration-error") (case "internal-error" $os)))
            (export "error-code" (type $error-code (eq $code)))
            (type $trailers (option (own $fields)))
            (export "[static]outgoing-body.finish" (func (param "this" (own $body)) (param "trailers" $trailers)
                (result (result (error $error-code)))))))
        (alias export $http "fields" (type $fields))
        (core module $libc
            (memory (export "memory") 16)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $libc (instantiate $libc))
        (core func $fields (canon lower (func $http "[constructor]fields")))
        (core func $append (canon lower (func $http "[method]fields.append") (memory $libc "memory")))
        (core func $clone (canon lower (func $http "[method]fields.clone")))
        (core func $drop-fields (canon resource.drop $fields))
        (core func $request (canon lower (func $http "[constructor]outgoing-request")))
        (core func $set-method (canon lower (func $http "[method]outgoing-request.set-method")
            (memory $libc "memory")))
        (core func $set-authority (canon lower (func $http "[method]outgoing-request.set-authority")
            (memory $libc "memory")))
        (core func $body (canon lower (func $http "[method]outgoing-request.body") (memory $libc "memory")))
        (core func $write (canon lower (func $http "[method]outgoing-body.write") (memory $libc "memory")))
        (core func $finish (canon lower (func $http "[static]outgoing-body.finish") (memory $libc "memory")
            (realloc (func $libc "realloc"))))
        (core func $check (canon lower (func $streams "[method]output-stream.check-write") (memory $libc "memory")))
        (core func $zeroes (canon lower (func $streams "[method]output-stream.write-zeroes")
            (memory $libc "memory")))
        (core module $m
            (import "libc" "memory" (memory 16))
            (import "h" "fields" (func $fields (result i32)))
            (import "h" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
            (import "h" "clone" (func $clone (param i32) (result i32)))
            (import "h" "drop-fields" (func $drop-fields (param i32)))
            (import "h" "request" (func $request (param i32) (result i32)))
            (import "h" "set-method" (func $set-method (param i32 i32 i32 i32) (result i32)))
            (import "h" "set-authority" (func $set-authority (param i32 i32 i32 i32) (result i32)))
            (import "h" "body" (func $body (param i32 i32)))
            (import "h" "write" (func $write (param i32 i32)))
            (import "h" "check" (func $check (param i32 i32)))
            (import "h" "finish" (func $finish (param i32 i32 i32 i32)))
            (import "h" "zeroes" (func $zeroes (param i32 i64 i32)))
            (func $round (param $n i32) (local $a i32) (local $b i32) {round})
            (func (export "attack") (param $rounds i32) (result i32) (local $n i32)
                (memory.fill (i32.const 4096) (i32.const 97) (i32.const 1000000))
                (loop $more
                    (call $round (local.get $n))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $n) (local.get $rounds))))
                (local.get $n)))
        (core instance $c (instantiate $m (with "libc" (instance $libc)) (with "h" (instance
            (export "fields" (func $fields)) (export "append" (func $append)) (export "clone" (func $clone))
            (export "drop-fields" (func $drop-fields)) (export "request" (func $request))
            (export "set-method" (func $set-method)) (export "set-authority" (func $set-authority))
            (export "body" (func $body)) (export "write" (func $write)) (export "check" (func $check))
            (export "zeroes" (func $zeroes)) (export "finish" (func $finish))))))
        (func $attack (param "rounds" u32) (result u32) (canon lift (core func $c "attack")))
        (export "attack" (func $attack)))"#
    )
}

/// Fields with one field of 120 kB.
const FIELDS: &str = "(local.set $a (call $fields))
    (call $append (local.get $a) (i32.const 4096) (i32.const 1) (i32.const 4096) (i32.const 120000) (i32.const 0))";

async fn host_of(round: &str, settings: HostSettings) -> Host {
    let host = Host::new(settings).unwrap();
    let bytes = wat::parse_str(attack(round)).unwrap();
    register(&host, bytes.into(), Some("held")).await.unwrap();
    host
}

async fn rounds(host: &Host, rounds: u32) -> Result<Json, Failure> {
    call_tool(host, "held/attack", &format!(r#"{{"rounds": {rounds}}}"#)).await
}

/// Each attack ends at the limit, and repeatedly, so that what was counted must have been returned.
async fn is_refused(round: &str, most: u32) {
    let settings = HostSettings {
        total_memory_bytes: Some(256 << 20),
        ..settings()
    };
    let host = host_of(round, settings).await;
    for _ in 0..5 {
        let failure = rounds(&host, most).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Limit, "{failure}");
        let expected = "`held/attack` needed more memory than its limit of 64 MiB (memory, the server's default): it used \
                    1.0 MiB itself, and the host held ";
        assert!(
            failure.message.starts_with(expected)
                && failure.message.contains("header fields, bodies, streams"),
            "{failure}"
        );
    }
    assert_eq!(rounds(&host, 10).await.unwrap().get(), "10");
}

#[tokio::test]
async fn header_fields_count() {
    is_refused(FIELDS, 1000).await;
}

#[tokio::test]
async fn copies_of_header_fields_count() {
    let copies = format!(
        "(if (i32.eqz (local.get $n)) (then {FIELDS} (i32.store (i32.const 64) (local.get $a))))
         (drop (call $clone (i32.load (i32.const 64))))"
    );
    is_refused(&copies, 1000).await;
}

#[tokio::test]
async fn header_fields_that_the_guest_drops_do_not_count() {
    let round = format!("{FIELDS} (call $drop-fields (local.get $a))");
    let host = host_of(&round, settings()).await;
    assert_eq!(rounds(&host, 2000).await.unwrap().get(), "2000");
}

#[tokio::test]
async fn bodies_that_are_never_sent_count() {
    let round = "(local.set $a (call $request (call $fields)))
        (call $body (local.get $a) (i32.const 0))
        (call $write (i32.load (i32.const 4)) (i32.const 0))
        (local.set $b (i32.load (i32.const 4)))
        (call $check (local.get $b) (i32.const 0))
        (call $zeroes (local.get $b) (i64.load (i32.const 8)) (i32.const 0))";
    is_refused(round, 3000).await;
}

#[tokio::test]
async fn a_body_takes_no_more_than_its_stream_allows() {
    let round = "(local.set $a (call $request (call $fields)))
        (call $body (local.get $a) (i32.const 0))
        (call $write (i32.load (i32.const 4)) (i32.const 0))
        (call $zeroes (i32.load (i32.const 4)) (i64.const 65537) (i32.const 0))";
    let host = host_of(round, settings()).await;
    let failure = rounds(&host, 1).await.unwrap_err();
    assert!(failure.message.contains("cannot write more zeroes"), "{failure}");
}

#[tokio::test]
async fn trailers_of_bodies_count() {
    let finished = format!(
        "{FIELDS}
        (local.set $b (call $request (call $fields)))
        (call $body (local.get $b) (i32.const 16))
        (call $finish (i32.load (i32.const 20)) (i32.const 1) (local.get $a) (i32.const 64))"
    );
    // The bodies alone take 40 MB.
    is_refused(&finished, 300).await;
}

#[tokio::test]
async fn the_names_of_methods_and_hosts_count() {
    let method = "(drop (call $set-method (call $request (call $fields)) (i32.const 9) (i32.const 4096)
        (i32.const 1000000)))";
    is_refused(method, 100).await;
}
