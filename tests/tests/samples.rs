//! The samples give right answers on their input. What is right was worked out independently:
//! each sample's README says how.
