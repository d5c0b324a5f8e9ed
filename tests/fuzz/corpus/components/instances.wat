(component
  (core module $m (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0)) (func (export "f") (result i32) i32.const 1))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m))
  (core instance $i (instantiate $m))
  (func (export "one") (result u32) (canon lift (core func $i "f"))))
