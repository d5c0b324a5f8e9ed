(component
  (core module $m (func (export "f") (param i32) (result i32) local.get 0))
  (core instance $i (instantiate $m))
  (func $f (param "n" u32) (result u32) (canon lift (core func $i "f")))
  (component $c
    (import "f" (func $f (param "n" u32) (result u32)))
    (export "count" (func $f)))
  (instance $out (instantiate $c (with "f" (func $f))))
  (export "acme:counts/counts@1.2.0" (instance $out)))
