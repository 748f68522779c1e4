//! Names for people: `adjective-noun-1234`.

use rand::seq::IndexedRandom as _;

const ADJECTIVES: [&str; 32] = [
    "amber", "autumn", "black", "blue", "bold", "brave", "bright", "calm", "clear", "cold",
    "copper", "dawn", "dusky", "early", "green", "hidden", "icy", "late", "misty", "morning",
    "old", "polished", "proud", "quiet", "red", "silent", "small", "snowy", "still", "white",
    "wild", "young",
];
const NOUNS: [&str; 32] = [
    "bird",
    "brook",
    "cloud",
    "dew",
    "dream",
    "feather",
    "field",
    "fire",
    "flower",
    "fog",
    "forest",
    "frost",
    "glade",
    "grass",
    "harbour",
    "hill",
    "lake",
    "leaf",
    "meadow",
    "moon",
    "night",
    "paper",
    "pine",
    "pond",
    "rain",
    "resonance",
    "river",
    "sea",
    "shadow",
    "sky",
    "stone",
    "wave",
];

/// A random name.
pub fn friendly() -> String {
    let mut random = rand::rng();
    let adjective = ADJECTIVES.choose(&mut random).copied().unwrap_or("plain");
    let noun = NOUNS.choose(&mut random).copied().unwrap_or("host");
    format!("{adjective}-{noun}-{:04}", rand::random_range(0..10_000))
}
