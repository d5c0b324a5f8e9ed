(component (import "acme:other/thing@1.0.0" (instance (export "f" (func (param "a" (list (list (list string)))))))))
