//! wasmtime calls this limiter before a linear memory or a table grows.

use wasmtime::ResourceLimiterAsync;

use super::Sandbox;

#[wasmtime_wasi::async_trait]
impl ResourceLimiterAsync for Sandbox {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let Self { memory, table, .. } = self;
        Ok(memory.may_grow(table, current, desired, maximum).await)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.may_grow_table(current, desired, maximum))
    }
}
