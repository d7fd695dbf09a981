//! Takes the model that `SMIDGEN_MODEL` names.

fn main() {
    smidgen_built_in_model::build_in();
}
