(component
  (core module $m
    (func (export "f") (param i32) (result i32) (local i32 i32 i32 i32 i32 i32 i32 i32)
      (loop (loop (loop (loop
        (br_if 0 (local.tee 1 (i32.add (local.get 1) (local.get 2))))
        (br_if 1 (local.tee 3 (i32.mul (local.get 3) (local.get 4)))))
        (br_if 0 (local.tee 5 (i32.xor (local.get 5) (local.get 6))))))) local.get 1))
  (core instance $i (instantiate $m))
  (func (export "spin") (param "n" u32) (result u32) (canon lift (core func $i "f"))))
