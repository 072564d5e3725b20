//! The end of the classes' instances, when they are collected as garbage.

/// Gives a class a finalizer that a panic does not leave: it would end the process, since JavaScript's garbage collector calls
/// the finalizer. The class needs `#[napi(custom_finalize)]`.
macro_rules! contained_finalizer {
    ($class:ty) => {
        impl napi::bindgen_prelude::ObjectFinalize for $class {
            fn finalize(self, _: napi::Env) -> napi::Result<()> {
                // Nobody is left to be told of a panic; its message stands on standard error.
                drop(pglisten_core::base::panic::contained(
                    stringify!($class),
                    move || {
                        let _collected = self;
                        pglisten_core::fail_point!("finalizer");
                    },
                ));
                Ok(())
            }
        }
    };
}

pub(crate) use contained_finalizer;

#[cfg(test)]
mod tests {
    use std::ptr;

    use napi::Env;
    use napi::bindgen_prelude::ObjectFinalize as _;

    struct Panicking;

    impl Drop for Panicking {
        fn drop(&mut self) {
            panic!("while it is collected");
        }
    }

    struct Class(Panicking);

    contained_finalizer!(Class);

    #[test]
    fn a_panic_does_not_leave_the_finalizer() {
        let nowhere = Env::from_raw(ptr::null_mut());
        assert!(Class(Panicking).finalize(nowhere).is_ok());
    }
}
