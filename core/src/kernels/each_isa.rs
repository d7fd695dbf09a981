//! Functions that are compiled for each instruction set and dispatch themselves.

/// Defines a function whose body is compiled for each instruction set (see [`isa`](super::isa)) and runs with the one in use. In the
/// body, the constant named in angle brackets is the number of channels that fill two vector registers. All borrows are `'a`; what the
/// body calls in its loops is `#[inline(always)]`.
macro_rules! each_isa {
    ($(#[$doc:meta])* fn $name:ident<$wide:ident>($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        fn $name<'a>($($argument: $type),*) {
            struct Call<'a> { $($argument: $type,)* borrows: core::marker::PhantomData<&'a ()> }
            impl<'a> crate::kernels::isa::Kernel for Call<'a> {
                #[inline(always)]
                fn run<const $wide: usize, const TILE: usize>(self) {
                    let Self { $($argument,)* borrows: _ } = self;
                    $body
                }
            }
            crate::kernels::isa::dispatch(Call { $($argument,)* borrows: core::marker::PhantomData });
        }
    };
}
pub(crate) use each_isa;
