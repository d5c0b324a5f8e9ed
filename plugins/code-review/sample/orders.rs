//! Orders of a small shop, written in a hurry.

use std::collections::HashMap;

pub struct Shop {
    stock: HashMap<String, u32>,
    names: Vec<String>,
}

impl Shop {
    pub fn is_open(&self, closed: bool) -> bool {
        if closed == false {
            if self.names.len() > 0 {
                // Somebody is there.
                println!(
                    "open,
        with {} names",
                    self.names.len()
                );
                return self.stock.len() != 0;
            }
        }
        return false;
    }

    /// How many of a thing are left.
    pub fn left(&self, name: &str) -> u32 {
        dbg!(name);
        let left = dbg!(self.stock.get(name).copied().unwrap_or(0) + 0);
        left
    }

    fn take(&mut self, name: &str, count: u32) -> u32 {
        let stock = self.stock.get_mut(name).unwrap();
        if *stock < count {
            panic!("sold out");
        }
        *stock -= count;
        return *stock;
    }
}

/// The price of an order, in cents.
pub fn price(kind: &str, count: u32, member: bool, express: bool, day: u32) -> Result<u32, String> {
    let each = match kind {
        "tea" => 350,
        "coffee" => 420,
        "cake" if day == 7 => 250,
        "cake" => 500,
        "soup" => 650,
        _ => return Err(format!("no {kind}")),
    };
    let mut price = each * count;
    if member && count > 3 || member && day == 1 {
        price -= price / 10;
    }
    if express {
        if count > 10 {
            price += 900;
        } else {
            price += 300;
        }
    }
    for _ in 0..count / 12 {
        price -= each;
    }
    // More than a hundred needs a word with the cook.
    if count > 100 && !member {
        Err("too many".to_string())
    } else {
        Ok(price)
    }
}

/// Reads a byte that the caller vouches for.
pub fn first_byte(bytes: &[u8]) -> u8 {
    unsafe { *bytes.get_unchecked(0) }
}

fn guarded(shop: &std::sync::Mutex<Shop>, loud: bool) -> usize {
    if shop.lock().is_ok() {
        if loud {
            println!("locked");
        }
    }
    return shop.lock().expect("no").names.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tea_costs_what_it_says() {
        assert_eq!(price("tea", 2, false, false, 2).unwrap(), 700);
    }
}
