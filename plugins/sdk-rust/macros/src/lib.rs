//! The attributes of `heddle-plugin`.
