//! The SDK's copy of the contract is the contract.

#[test]
fn the_copy_of_the_contract_is_identical() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/node.wit");
    let contract = std::fs::read_to_string(root).expect("the repository has the contract");
    let copy = include_str!("../wit/node.wit");
    assert!(contract == copy, "wit/node.wit changed: copy it to guest-sdk/rust/wit/node.wit");
}
