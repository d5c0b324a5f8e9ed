//! Heddle's HTTP and WebSocket interface, its docs and its page.
