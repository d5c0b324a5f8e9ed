//! Sets of types: the types that a part of an expression may have.
//!
//! A value of the state is any JSON, so the check works with the set of types that a part may have. An
//! operator that fits no pair of them is an error; an operator that fits some pair is left to the evaluation.

use std::fmt;

/// A set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOL: Self = Self(1 << 1);
    pub(super) const INT: Self = Self(1 << 2);
    pub(super) const UINT: Self = Self(1 << 3);
    pub(super) const DOUBLE: Self = Self(1 << 4);
    pub(super) const STRING: Self = Self(1 << 5);
    pub(super) const BYTES: Self = Self(1 << 6);
    pub(super) const LIST: Self = Self(1 << 7);
    pub(super) const MAP: Self = Self(1 << 8);
    pub(super) const TYPE: Self = Self(1 << 9);

    pub(super) const WHOLE: Self = Self::INT.or(Self::UINT);
    pub(super) const NUMBER: Self = Self::WHOLE.or(Self::DOUBLE);
    pub(super) const TEXT: Self = Self::STRING.or(Self::BYTES);
    pub(super) const ITEMS: Self = Self::LIST.or(Self::MAP);
    pub(super) const KEY: Self = Self::BOOL.or(Self::NUMBER).or(Self::STRING);
    /// The types of JSON.
    pub(super) const JSON: Self = Self::NULL.or(Self::KEY).or(Self::ITEMS);
    pub(super) const ANY: Self = Self::JSON.or(Self::BYTES).or(Self::TYPE);

    /// The types in either set.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The types in both sets.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the sets have a type in common.
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each type of the set, as a set of one.
    fn each(self) -> impl Iterator<Item = Self> {
        (0..10)
            .map(|bit| Self(1 << bit))
            .filter(move |kind| self.meets(*kind))
    }
}

impl fmt::Display for Kinds {
    /// Formats the set for an author: "a number", "a list or an object".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Kinds, &str); 11] = [
            (Kinds::NUMBER, "a number"),
            (Kinds::WHOLE, "a whole number"),
            (Kinds::DOUBLE, "a double"),
            (Kinds::INT, "an int"),
            (Kinds::UINT, "a uint"),
            (Kinds::NULL, "null"),
            (Kinds::BOOL, "a bool"),
            (Kinds::STRING, "a string"),
            (Kinds::BYTES, "bytes"),
            (Kinds::LIST, "a list"),
            (Kinds::MAP, "an object"),
        ];
        let mut left = *self;
        let mut names = Vec::new();
        for (kinds, name) in NAMES {
            if left.and(kinds) == kinds {
                names.push(name);
                left = Self(left.0 & !kinds.0);
            }
        }
        if left.meets(Self::TYPE) {
            names.push("a type");
        }
        f.write_str(&names.join(" or "))
    }
}

/// The types that a part of an expression may have, and those of its items if it is a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    pub(super) kinds: Kinds,
    pub(super) items: Kinds,
}

impl Type {
    pub(super) const ANY: Self = Self::of(Kinds::ANY);
    /// Any JSON.
    pub(super) const JSON: Self = Self {
        kinds: Kinds::JSON,
        items: Kinds::JSON,
    };
    pub(super) const BOOL: Self = Self::of(Kinds::BOOL);

    /// One of `kinds`, with items of any type.
    pub(super) const fn of(kinds: Kinds) -> Self {
        Self {
            kinds,
            items: Kinds::ANY,
        }
    }

    /// A list of `items`.
    pub(super) const fn list(items: Kinds) -> Self {
        Self {
            kinds: Kinds::LIST,
            items,
        }
    }

    /// One or the other.
    pub(super) const fn or(self, other: Self) -> Self {
        let items = match (self.kinds.meets(Kinds::LIST), other.kinds.meets(Kinds::LIST)) {
            (true, false) => self.items,
            (false, true) => other.items,
            _ => self.items.or(other.items),
        };
        Self {
            kinds: self.kinds.or(other.kinds),
            items,
        }
    }

    /// The types of a loop's variable: those of a list's items or an object's keys.
    pub(super) fn looped(self) -> Self {
        let mut kinds = Kinds::NONE;
        if self.kinds.meets(Kinds::LIST) {
            kinds = kinds.or(self.items);
        }
        if self.kinds.meets(Kinds::MAP) {
            kinds = kinds.or(Kinds::KEY);
        }
        if kinds == Kinds::NONE {
            Self::ANY
        } else {
            Self::of(kinds)
        }
    }
}

/// An operator on two evaluated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Operator {
    /// The operator with this name in the parser's tree.
    pub(super) fn named(name: &str) -> Option<Self> {
        use cel::common::ast::operators as op;
        Some(match name {
            op::ADD => Self::Add,
            op::SUBSTRACT => Self::Subtract,
            op::MULTIPLY => Self::Multiply,
            op::DIVIDE => Self::Divide,
            op::MODULO => Self::Remainder,
            op::EQUALS => Self::Equal,
            op::NOT_EQUALS => Self::NotEqual,
            op::LESS => Self::Less,
            op::LESS_EQUALS => Self::LessOrEqual,
            op::GREATER => Self::Greater,
            op::GREATER_EQUALS => Self::GreaterOrEqual,
            op::IN => Self::In,
            _ => return None,
        })
    }

    /// The sign of the operator.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
        }
    }

    /// The types of the result for `left` and `right`; empty if the operator fits no pair of them.
    pub(super) fn result(self, left: Kinds, right: Kinds) -> Kinds {
        left.each()
            .flat_map(|left| right.each().map(move |right| self.result_of_one(left, right)))
            .fold(Kinds::NONE, Kinds::or)
    }

    fn result_of_one(self, left: Kinds, right: Kinds) -> Kinds {
        let both = |kinds: Kinds| left.meets(kinds) && right.meets(kinds);
        match self {
            Self::Add if left == right && left.meets(Kinds::TEXT.or(Kinds::LIST)) => left,
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide if both(Kinds::NUMBER) => {
                number_of(left, right)
            }
            Self::Remainder if both(Kinds::WHOLE) => number_of(left, right),
            Self::Equal | Self::NotEqual => {
                let comparable =
                    left == right || both(Kinds::NUMBER) || left == Kinds::NULL || right == Kinds::NULL;
                if comparable { Kinds::BOOL } else { Kinds::NONE }
            }
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
                if both(Kinds::NUMBER) || (left == right && left.meets(Kinds::TEXT.or(Kinds::BOOL))) =>
            {
                Kinds::BOOL
            }
            Self::In if right == Kinds::LIST => Kinds::BOOL,
            Self::In if right == Kinds::MAP && left.meets(Kinds::KEY) => Kinds::BOOL,
            _ => Kinds::NONE,
        }
    }

    /// A hint if the operator fits no pair of `left` and `right`.
    pub(super) fn hint(self, left: Kinds, right: Kinds) -> &'static str {
        let one_is = |kinds: Kinds| left.and(kinds) == left || right.and(kinds) == right;
        match self {
            Self::Add if one_is(Kinds::STRING) => "; string(…) makes a string of a value",
            Self::Remainder if one_is(Kinds::DOUBLE) => "; int(…) drops the fraction",
            Self::In if right == Kinds::STRING => "; a part of a string is found by text.contains(part)",
            Self::Equal => "; it would never hold",
            Self::NotEqual => "; it would always hold",
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
                if one_is(Kinds::STRING) && one_is(Kinds::NUMBER) =>
            {
                "; double(…) reads a number from a string"
            }
            _ => "",
        }
    }
}

/// The type of a calculation. A whole number and a double give a double, since JSON may write the double 1.0
/// as 1.
fn number_of(left: Kinds, right: Kinds) -> Kinds {
    if left == Kinds::DOUBLE || right == Kinds::DOUBLE {
        Kinds::DOUBLE
    } else if left == right {
        left
    } else {
        Kinds::WHOLE
    }
}
