(component
  (type $r (resource (rep i32)))
  (core func $new (canon resource.new $r))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (func (export "make") (result i32) i32.const 7 call $new)
    (func (export "get") (param i32) (result i32) local.get 0))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
  (export $counter "counter" (type $r))
  (func (export "[constructor]counter") (result (own $counter)) (canon lift (core func $i "make")))
  (func (export "[method]counter.get") (param "self" (borrow $counter)) (result u32) (canon lift (core func $i "get")))
  (func (export "[static]counter.limit") (result u32) (canon lift (core func $i "make"))))
