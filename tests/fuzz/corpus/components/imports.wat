(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
    (type $t (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type (eq $t)))))
  (alias export $random "get-random-u64" (func $draw))
  (core func $draw (canon lower (func $draw)))
  (core module $m
    (import "" "draw" (func $draw (result i64)))
    (func (export "roll") (result i64) call $draw))
  (core instance $i (instantiate $m (with "" (instance (export "draw" (func $draw))))))
  (func (export "roll") (result u64) (canon lift (core func $i "roll"))))
