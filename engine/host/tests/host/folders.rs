//! Components with a granted folder that open more in it than they may.

use heddle_kernel::FailureKind;

use super::*;

/// The body of a round; `$folder` is the granted folder, `$last` the last one that was opened.
fn attack(round: &str) -> String {
    format!(
        r#"(component
        (import "wasi:filesystem/types@0.2.0" (instance $types
            (export "descriptor" (type $descriptor (sub resource)))
            (export "directory-entry-stream" (type $entries (sub resource)))
            (type $e (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
                "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop"
                "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory"
                "insufficient-space" "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty"
                "no-such-device" "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy"
                "cross-device"))
            (export "error-code" (type $error (eq $e)))
            (type $p (flags "symlink-follow")) (export "path-flags" (type $path (eq $p)))
            (type $o (flags "create" "directory" "exclusive" "truncate")) (export "open-flags" (type $open (eq $o)))
            (type $d (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
                "mutate-directory"))
            (export "descriptor-flags" (type $flags (eq $d)))
            (export "[method]descriptor.open-at" (func (param "self" (borrow $descriptor)) (param "path-flags" $path)
                (param "path" string) (param "open-flags" $open) (param "flags" $flags)
                (result (result (own $descriptor) (error $error)))))
            (export "[method]descriptor.read-directory" (func (param "self" (borrow $descriptor))
                (result (result (own $entries) (error $error)))))))
        (alias export $types "descriptor" (type $descriptor))
        (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
            (alias outer 1 $descriptor (type $d'))
            (export "descriptor" (type $d (eq $d')))
            (export "get-directories" (func (result (list (tuple (own $d) string)))))))
        (core module $libc
            (memory (export "memory") 2)
            (global $next (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.get $next)
                (global.set $next (i32.add (global.get $next) (local.get 3)))))
        (core instance $libc (instantiate $libc))
        (core func $folders (canon lower (func $preopens "get-directories") (memory $libc "memory")
            (realloc (func $libc "realloc"))))
        (core func $open (canon lower (func $types "[method]descriptor.open-at") (memory $libc "memory")))
        (core func $list (canon lower (func $types "[method]descriptor.read-directory") (memory $libc "memory")))
        (core func $close (canon resource.drop $descriptor))
        (core module $m
            (import "libc" "memory" (memory 2))
            (import "h" "folders" (func $folders (param i32)))
            (import "h" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
            (import "h" "list" (func $list (param i32 i32)))
            (import "h" "close" (func $close (param i32)))
            (global $folder (mut i32) (i32.const 0))
            (global $last (mut i32) (i32.const 0))
            ;; Opens a path of this length, `.` again and again, from the last one; it gives the error's number and 1.
            (func $next (param $len i32) (result i32)
                (call $open (global.get $last) (i32.const 1) (i32.const 32768) (local.get $len) (i32.const 2) (i32.const 1)
                    (i32.const 0))
                (if (i32.load8_u (i32.const 0)) (then (return (i32.add (i32.load8_u (i32.const 4)) (i32.const 1)))))
                (global.set $last (i32.load (i32.const 4)))
                (i32.const 0))
            (func $round (result i32) (local $before i32) {round})
            (func (export "attack") (param $rounds i32) (result i32) (local $n i32)
                (loop $fill
                    (i32.store16 (i32.add (i32.const 32768) (i32.shl (local.get $n) (i32.const 1))) (i32.const 0x2f2e))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $fill (i32.lt_u (local.get $n) (i32.const 8000))))
                (local.set $n (i32.const 0))
                (call $folders (i32.const 0))
                (global.set $folder (i32.load (i32.load (i32.const 0))))
                (global.set $last (global.get $folder))
                (loop $more
                    (if (call $round) (then (return (i32.const 1000000))))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $n) (local.get $rounds))))
                (local.get $n)))
        (core instance $c (instantiate $m (with "libc" (instance $libc)) (with "h" (instance
            (export "folders" (func $folders)) (export "open" (func $open)) (export "list" (func $list))
            (export "close" (func $close))))))
        (func $attack (param "rounds" u32) (result u32) (canon lift (core func $c "attack")))
        (export "attack" (func $attack)))"#
    )
}

/// Opens a folder in the last one, and leaves the last one open.
const DEEPER: &str = "(call $next (i32.const 1))";

/// The same, and closes the last one.
const ON: &str = "(local.set $before (global.get $last))
    (if (call $next (i32.const 1)) (then (return (i32.const 1))))
    (call $close (local.get $before)) (i32.const 0)";

/// A host with the attack, whose folder has this many entries.
async fn host_of(round: &str, entries: usize) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..entries {
        std::fs::write(folder.path().join(format!("entry-{n}")), "").unwrap();
    }
    let policy = format!("plugins: {{folders: {{dirs: [{:?}]}}}}", folder.path());
    let host = Host::new(granting(&policy)).unwrap();
    let bytes = wat::parse_str(attack(round)).unwrap();
    register(&host, bytes.into(), Some("folders")).await.unwrap();
    (host, folder)
}

async fn rounds(host: &Host, rounds: usize) -> Result<Json, Failure> {
    call_tool(host, "folders/attack", &format!(r#"{{"rounds": {rounds}}}"#)).await
}

#[tokio::test]
async fn an_instance_has_so_many_files_open_and_no_more() {
    let (host, _folder) = host_of(DEEPER, 0).await;
    for _ in 0..10 {
        let failure = rounds(&host, 10_000).await.unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.message),
            (
                FailureKind::Limit,
                "`folders/attack` had more files open than its limit of 256 (open_files)"
            )
        );
        // The granted folder is one of them.
        assert_eq!(rounds(&host, 255).await.unwrap().get(), "255");
    }
}

#[tokio::test]
async fn files_that_are_closed_do_not_count() {
    let (host, _folder) = host_of(ON, 0).await;
    assert_eq!(rounds(&host, 1000).await.unwrap().get(), "1000");
}

#[tokio::test]
async fn lists_of_folders_count_as_open_files() {
    let list = "(call $list (global.get $folder) (i32.const 0)) (i32.load8_u (i32.const 0))";
    let (host, _folder) = host_of(list, 1000).await;
    assert_eq!(rounds(&host, 255).await.unwrap().get(), "255");
    let failure = rounds(&host, 256).await.unwrap_err();
    assert!(failure.message.contains("(open_files)"), "{failure}");
}

#[tokio::test]
async fn a_path_has_a_limited_length_and_number_of_parts() {
    let of = |len: usize| format!("(i32.sub (call $next (i32.const {len})) (i32.const 19))");
    // The error `name-too-long` has number nineteen.
    for len in [600, 5000, 16_000] {
        let (host, _folder) = host_of(&of(len), 0).await;
        assert_eq!(rounds(&host, 3).await.unwrap().get(), "3", "{len}");
    }
    let (host, _folder) = host_of("(call $next (i32.const 255))", 0).await;
    assert_eq!(rounds(&host, 3).await.unwrap().get(), "3");
}
