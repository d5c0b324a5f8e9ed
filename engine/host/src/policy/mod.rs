//! What an operator grants to plugins, and the limits of their calls.
//!
//! Without a policy nothing is granted and the host's own limits apply. An entry belongs to a plugin's name, and so to
//! every version of that plugin. The policy file ([`document`]) is read once, at the start; each registered plugin then
//! holds the [`Rules`] of its name. Policies that are set over the API while the host runs are in [`set`].

mod address;
mod dirs;
mod document;
mod env;
mod grants;
mod http;
mod limits;
mod narrowed;
mod node_grants;
mod pins;
mod protected;
mod rules;
mod secrets;
mod set;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    dirs::{DirGrant, to_add as dir_to_add},
    grants::Missing,
    http::Asked,
    limits::{By, CallLimits, Limit, Limits, MEMORY_CEILING},
    narrowed::{Narrowed, Narrowing},
    node_grants::NodeGrants,
    rules::Rules,
    secrets::{Secret, names_one as names_secret, put_in as put_secrets_in, to_add as secret_to_add},
    set::{SetPolicies, may_be_set, rules as rules_of},
};
pub use self::{
    document::{Policy, PolicyError},
    protected::Protected,
};
