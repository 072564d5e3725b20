//! Tells cargo how to link a Node addon on each platform.
fn main() {
    napi_build::setup();
}
