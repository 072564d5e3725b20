// One function that makes `tsc` an assertion library.

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/**
 * `exactly<Type>()(value)` compiles for a value of that very type only: neither `any` nor a wider
 * or narrower type passes.
 */
export declare function exactly<Expected>(): <Actual>(
  value: Actual,
  ...difference: Equal<Actual, Expected> extends true ? [] : [expected: Expected]
) => void
