//! What an operator grants to plugins, and the limits of their calls.
//!
//! Without a policy nothing is granted and the host's own limits apply. An entry belongs to a plugin's name, and so to
//! every version of that plugin. The policy file ([`document`]) is read once, at the start; each registered plugin then
//! holds the [`Rules`] of its name. Policies that are set over the API while the host runs are in [`api_policies`].

mod address;
mod api_policies;
mod concurrency;
mod dirs;
mod document;
mod env;
mod grants;
mod http;
mod limits;
mod node_bounds;
mod node_grants;
mod pins;
mod protected;
mod rules;
mod secrets;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use self::{
    api_policies::{ApiPolicies, check_settable, rules as rules_for},
    dirs::{DirGrant, to_add as dir_policy_entry},
    grants::NotGranted,
    http::RequestTarget,
    limits::{CallLimits, Limit, LimitSource, Limits, MEMORY_CEILING},
    node_bounds::{NodeBounds, NodeBoundsCache},
    node_grants::NodeGrants,
    rules::Rules,
    secrets::{
        Secret, put_in as insert_secrets, refers_to_one as refers_to_secret, to_add as secret_policy_entry,
    },
};
pub use self::{
    document::{Policy, PolicyError},
    protected::Protected,
};
