//! The `factory` program: arguments in, exit code out.

fn main() {
    factory::sandbox::helper_door();
}
