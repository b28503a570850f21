//! The scenarios that there must be: those of the reference's sections A, B, C, D, E and G.

use std::collections::BTreeSet;

/// Their ids, in the reference's order.
pub const IDS: [&str; 66] = [
    "S01", "S04", "S05", "S06", "S07", "S08", "S09", "S10", "S11", "S13", "S14", "S16", "S17", "S18", "S21", "S22",
    "S25", "S26", "S27", "S28", "S30", "S31", "S32", "S33", "S34", "S35", "S37", "S38", "S39", "S41", "S42", "S43",
    "S44", "S45", "S47", "S52", "S55", "S58", "S59", "S60", "S61", "S63", "S64", "S65", "S66", "S68", "S70", "S71",
    "S73", "S76", "G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13", "G14", "G15",
    "G16",
];

/// What is wrong with the ids that the files have: missing, unknown and repeated ones.
pub fn faults<'a>(found: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut missing: BTreeSet<&str> = IDS.into_iter().collect();
    let mut faults = Vec::new();
    for id in found {
        if !missing.remove(id) {
            let fault = if IDS.contains(&id) { "is there twice" } else { "is not one of the reference's" };
            faults.push(format!("scenario {id} {fault}"));
        }
    }
    faults.extend(missing.into_iter().map(|id| format!("scenario {id} is missing")));
    faults
}
