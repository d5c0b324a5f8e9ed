(module (memory 1) (table 10 funcref) (func (export "run") (local i32 i64 f32) (block (loop (br_if 1 (i32.const 1)))))
  (data (i32.const 0) "some data") (elem (i32.const 0) func 0))
