(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local i32)
      global.get $next local.set 4 global.get $next local.get 3 i32.add i32.const 15 i32.add i32.const -16 i32.and
      global.set $next local.get 4)
    (func (export "echo") (param i32 i32) (result i32)
      i32.const 16 local.get 0 i32.store i32.const 20 local.get 1 i32.store i32.const 16)
    (func (export "done") (param i32)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "echo") (param "text" string) (result string)
    (canon lift (core func $i "echo") (memory $memory) (realloc $realloc) string-encoding=utf8
      (post-return (func $i "done"))))
  (func (export "list") (param "items" (list u64)) (result (list u64))
    (canon lift (core func $i "echo") (memory $memory) (realloc $realloc))))
